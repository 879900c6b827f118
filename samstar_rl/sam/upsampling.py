"""From SAM's low-resolution logits to full resolution, one particle's window at a time.

`Sam.postprocess_masks` interpolates twice, to the size of SAM's input and, after cutting off the
padding, to that of the picture. Both steps are linear and separable, so that together they are

    full = rows @ logits @ columns^T

with two sparse matrices that are computed once. A window of ``full`` needs only its own rows and
columns of them. The weights are those of torch's kernel, bit for bit; the sums are taken in another
order, which moves logits by about 1e-6 of their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F

Logits = NDArray[np.float32]
STOCK_CHANNELS = 3
# windows that a dense product takes more multiplications for than this are multiplied sparsely
MOST_DENSE_PRODUCTS = 2_000_000


@dataclass(frozen=True)
class _Axis:
    """Interpolation along one axis.

    ``weights`` (full, low) are what each pixel takes from each logit; ``reach`` (low, 2) is the
    half-open range of pixels that a logit reaches, ``taps`` (full, 2) the half-open range of logits
    that a pixel looks at.
    """

    weights: Logits
    sparse: csr_array
    reach: NDArray[np.intp]
    taps: NDArray[np.intp]

    @classmethod
    @lru_cache(maxsize=16)  # the tiles of a frame are alike, and so are a stream's frames
    def build(cls, low: int, padded: int, used: int, full: int) -> _Axis:
        """Compose both interpolations: low -> padded, cut to used, -> full."""
        both = _interpolation(used, full) @ _interpolation(low, padded)[:used]
        weights = both.astype(np.float32)
        reach, taps = _nonzero_ranges(weights.T), _nonzero_ranges(weights)
        return cls(weights, csr_array(weights), reach, taps)

    def span(self, low_first: int, low_last: int) -> tuple[slice, slice]:
        """Pixels reached by a range of logits (ends included), and all logits that those need."""
        reached = self.reach[low_first : low_last + 1]
        reached = reached[reached[:, 0] < reached[:, 1]]
        if len(reached) == 0:
            return slice(0, 0), slice(0, 0)
        first, stop = int(reached[:, 0].min()), int(reached[:, 1].max())
        taps = self.taps[first:stop]
        return slice(first, stop), slice(int(taps[:, 0].min()), int(taps[:, 1].max()))


def _interpolation(low: int, high: int) -> NDArray[np.float64]:
    """The (high, low) matrix of torch's bilinear interpolation along one axis."""
    basis = torch.eye(low).view(1, low, low, 1)
    columns = F.interpolate(basis, (high, 1), mode="bilinear", align_corners=False)
    return columns[0, :, :, 0].numpy().T.astype(np.float64)


def _nonzero_ranges(matrix: NDArray[np.float32]) -> NDArray[np.intp]:
    """First and one past the last nonzero column of each row; both 0 where there is none."""
    nonzero = matrix != 0
    first = nonzero.argmax(axis=1)
    stop = matrix.shape[1] - nonzero[:, ::-1].argmax(axis=1)
    return np.where(nonzero.any(axis=1)[:, None], np.stack([first, stop], axis=1), 0)


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

    def window(self, low: Logits, threshold: float) -> tuple[tuple[int, int], Logits]:
        """Upsample where a mask can be: the smallest window that holds every logit above threshold.

        Parameters
        ----------
        low : (h, w) float32 array
            Logits as SAM's decoder gives them.
        threshold : float
            Pixels outside of the window have no logit above it.

        Returns
        -------
        corner : tuple of int
            x and y of the window in the picture.
        logits : (h', w') float32 array
            May be empty.
        """
        above = low > threshold
        low_rows = np.flatnonzero(above.any(axis=1))
        if len(low_rows) == 0:
            return (0, 0), np.zeros((0, 0), dtype=np.float32)
        low_columns = np.flatnonzero(above.any(axis=0))
        rows, row_taps = self._rows.span(int(low_rows[0]), int(low_rows[-1]))
        columns, column_taps = self._columns.span(int(low_columns[0]), int(low_columns[-1]))
        multiply = self._multiply_densely
        if (rows.stop - rows.start) * (row_taps.stop - row_taps.start) * (
            columns.stop - columns.start
        ) > MOST_DENSE_PRODUCTS:
            multiply = self._multiply_sparsely
        return (columns.start, rows.start), multiply(low, rows, row_taps, columns, column_taps)

    def _multiply_densely(
        self, low: Logits, rows: slice, row_taps: slice, columns: slice, column_taps: slice
    ) -> Logits:
        """Quick for small windows, where a sparse matrix is mostly bookkeeping."""
        vertical = self._rows.weights[rows, row_taps] @ low[row_taps, column_taps]
        return np.asarray(vertical @ self._columns.weights[columns, column_taps].T)

    def _multiply_sparsely(
        self, low: Logits, rows: slice, row_taps: slice, columns: slice, column_taps: slice
    ) -> Logits:
        """Quick for large windows: a pixel looks at four logits or fewer along each axis."""
        horizontal = self._columns.sparse[columns] @ np.ascontiguousarray(low.T)
        return np.asarray(self._rows.sparse[rows] @ np.ascontiguousarray(horizontal.T))

    def full(self, low: Tensor) -> Tensor:
        """Upsample (n, h, w) logits to (n, H, W) in the stock arithmetic, bit for bit.

        With one thread torch rounds differently when it gets other than three channels at a time.
        The stock generator always has the three masks of a prompt, so others come in threes too.
        """
        n_missing = -len(low) % STOCK_CHANNELS
        threes = torch.cat([low, low[:1].expand(n_missing, -1, -1)])
        threes = threes.unflatten(0, (-1, STOCK_CHANNELS))
        full = self._sam.postprocess_masks(threes, self.input_size, self.picture_size)
        return full.flatten(0, 1)[: len(low)]
