"""From SAM's low-resolution logits to masks at full resolution, where their outlines are.

`Sam.postprocess_masks` interpolates twice, to the size of SAM's input and, after cutting off the
padding, to that of the picture. Both steps are linear and separable, so that together they are

    full = rows @ logits @ columns^T

with two banded matrices that are computed once. A block of ``full`` needs only its own rows and
columns of them, and lies between the least and the greatest of the few logits that these look at:
most blocks are decided by those. The weights are those of torch's kernel, bit for bit; the sums are
taken in another order, which moves logits by about 1e-6 of their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch.nn import functional as F

from samstar_rl.masks.blocks import SIDE_PX, BlockMasks, area_inside, count_bits

Logits = NDArray[np.float32]
Index = NDArray[np.intp]
STOCK_CHANNELS = 3

BLOCKS_AT_ONCE = 64
"""Blocks whose logits lie in a core's cache together."""
ROUNDING = 1e-3
"""More than interpolation takes logits beyond those that it is between, by rounding."""


@dataclass(frozen=True)
class _Axis:
    """Interpolation along one axis, block by block.

    Attributes
    ----------
    length : int
        Pixels.
    first, stop : (T,) int arrays
        The logits that each block's pixels look at.
    taps : (T, K) int array
        Those logits, and others to make them K.
    weights : (T, SIDE_PX, K) float32 array
        What each pixel takes from each of ``taps``; nothing beyond the last pixel.
    transposed : (T, K, SIDE_PX) float32 array
        The same in the order in which columns are multiplied.
    """

    length: int
    first: Index
    stop: Index
    taps: NDArray[np.intp]
    weights: Logits
    transposed: Logits

    @classmethod
    @lru_cache(maxsize=16)  # the tiles of a frame are alike, and so are a stream's frames
    def build(cls, low: int, padded: int, used: int, full: int) -> _Axis:
        """Compose both interpolations: low -> padded, cut to used, -> full."""
        to_padded, to_full = _interpolation(low, padded)[:used], _interpolation(used, full)
        # Two taps each: no product of matrices, after which the threads of a BLAS would wait busily
        # for more while SAM decodes.
        near = (to_full != 0).argmax(axis=1)
        far = np.minimum(near + 1, used - 1)
        rows = np.arange(full)
        share = np.where(far > near, to_full[rows, far], 0.0)
        both = to_full[rows, near, None] * to_padded[near] + share[:, None] * to_padded[far]
        weights = both.astype(np.float32)
        n_blocks = -(-full // SIDE_PX)
        weights = np.pad(weights, ((0, n_blocks * SIDE_PX - full), (0, 0)))
        weights = weights.reshape(n_blocks, SIDE_PX, low)
        is_looked_at = (weights != 0).any(axis=1)
        first = is_looked_at.argmax(axis=1)
        stop = low - is_looked_at[:, ::-1].argmax(axis=1)
        n_taps = int((stop - first).max())
        taps = np.minimum(first, low - n_taps)[:, None] + np.arange(n_taps)
        weights = np.take_along_axis(weights, taps[:, None], axis=2)
        transposed = np.ascontiguousarray(weights.transpose(0, 2, 1))
        return cls(full, first, stop, taps, weights, transposed)


def _interpolation(low: int, high: int) -> NDArray[np.float64]:
    """The (high, low) matrix of torch's bilinear interpolation along one axis."""
    basis = torch.eye(low).view(1, low, low, 1)
    columns = F.interpolate(basis, (high, 1), mode="bilinear", align_corners=False)
    return columns[0, :, :, 0].numpy().T.astype(np.float64)


class LogitUpsampler:
    """Upsample the logits of one picture (a frame or a crop of it).

    Parameters
    ----------
    sam : Sam
    input_size : tuple of int
        Height and width of the picture as SAM saw it, without padding.
    picture_size : tuple of int
        Height and width of the picture in px.
    """

    def __init__(
        self, sam: Sam, input_size: tuple[int, int], picture_size: tuple[int, int]
    ) -> None:
        self._sam = sam
        self.input_size = input_size
        self.picture_size = picture_size
        embedding = sam.prompt_encoder.image_embedding_size
        padded = sam.image_encoder.img_size
        self._rows, self._columns = (
            _Axis.build(4 * grid, padded, used, full)
            for grid, used, full in zip(embedding, input_size, picture_size, strict=True)
        )

    def masks(
        self, low: Logits, threshold: float, cuts: Sequence[float] = ()
    ) -> tuple[BlockMasks, NDArray[np.int64]]:
        """Bring masks to full size, and count their pixels at other cut-offs as well.

        Parameters
        ----------
        low : (N, h, w) float32 array
            Logits as SAM's decoder gives them.
        threshold : float
            Pixels of a mask have logits above it.
        cuts : sequence of float
            Cut-offs to count at.

        Returns
        -------
        masks : BlockMasks
            In the picture.
        counts : (N, len(cuts)) int array
            Pixels with logits above each cut-off.
        """
        levels = np.array([threshold, *cuts], dtype=np.float32)
        # Blocks that lie on one side of all cut-offs; the others are crossed.
        reached = self._blocks(np.bitwise_or, low > levels.min() - ROUNDING) > 0
        filled = self._blocks(np.bitwise_and, low > levels.max() + ROUNDING)
        inside = filled == self._columns.stop - self._columns.first
        owner, row, column = np.nonzero(reached & ~inside)
        bits = np.empty((len(owner), SIDE_PX, SIDE_PX // 8), dtype=np.uint8)
        counts = np.tile(area_inside(inside, self.picture_size)[:, None], len(cuts))
        crossed = np.empty((len(owner), len(cuts)), dtype=np.int64)
        for start in range(0, len(owner), BLOCKS_AT_ONCE):
            part = slice(start, start + BLOCKS_AT_ONCE)
            logits = self._logits(low, owner[part], row[part], column[part])
            bits[part] = np.packbits(logits > levels[0], axis=2)
            for k, cut in enumerate(levels[1:]):
                crossed[part, k] = count_bits(np.packbits(logits > cut, axis=2))
        np.add.at(counts, owner, crossed)
        return BlockMasks(self.picture_size, inside, owner, row, column, bits), counts

    def _blocks(self, combine: np.ufunc, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Count columns of logits that a block looks at and of which any or all are chosen.

        That is, by `numpy.bitwise_or` or `numpy.bitwise_and` of the rows that it looks at. Chosen
        are (N, h, w), w a multiple of 64; the result is (N, R, C).
        """
        words = np.packbits(np.ascontiguousarray(chosen), axis=2).view(np.uint64)
        looked_at = map(slice, self._rows.first.tolist(), self._rows.stop.tolist())
        by_row = [combine.reduce(words[:, rows], axis=1) for rows in looked_at]
        columns = np.unpackbits(np.stack(by_row, axis=1).view(np.uint8), axis=2)
        before = np.zeros((*columns.shape[:2], columns.shape[2] + 1), dtype=np.int16)
        np.cumsum(columns, axis=2, out=before[:, :, 1:])
        return before[:, :, self._columns.stop] - before[:, :, self._columns.first]

    def _logits(self, low: Logits, owner: Index, row: Index, column: Index) -> Logits:
        """Logits (B, SIDE_PX, SIDE_PX) of blocks; infinitely low beyond the picture."""
        rows, columns = self._rows, self._columns
        seen = low[owner[:, None, None], rows.taps[row, :, None], columns.taps[column, None]]
        product = rows.weights[row] @ seen @ columns.transposed[column]
        logits = np.asarray(product, dtype=np.float32)
        # the last blocks go beyond the picture
        logits[row == len(rows.taps) - 1, (rows.length - 1) % SIDE_PX + 1 :] = -np.inf
        logits[column == len(columns.taps) - 1, :, (columns.length - 1) % SIDE_PX + 1 :] = -np.inf
        return logits

    def full(self, low: Logits) -> Logits:
        """Upsample (n, h, w) logits to (n, H, W) in the stock arithmetic, bit for bit.

        With one thread torch rounds differently when it gets other than three channels at a time.
        The stock generator always has the three masks of a prompt, so others come in threes too.
        """
        n_missing = -len(low) % STOCK_CHANNELS
        threes = np.concatenate([low, low[:1].repeat(n_missing, axis=0)])
        batches = torch.from_numpy(threes).to(self._sam.device).unflatten(0, (-1, STOCK_CHANNELS))
        full = self._sam.postprocess_masks(batches, self.input_size, self.picture_size)
        return full.flatten(0, 1)[: len(low)].cpu().numpy()
