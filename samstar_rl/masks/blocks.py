"""Many masks of one picture in square blocks: what is uniform is not looked at pixel by pixel.

Most of a large mask's blocks lie wholly inside or outside of it. Only those that its outline may
cross have pixels of their own, a bit each, which are counted for all masks at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]

SIDE_PX = 32
"""Side of a block: a row of it is a word of 32 bits."""


@dataclass(frozen=True, eq=False)
class BlockMasks:
    """N masks of a picture of (H, W) px, in R x C blocks.

    Parameters
    ----------
    shape : (int, int)
        H and W.
    inside : (N, R, C) bool array
        Blocks that lie wholly inside of a mask.
    owner, row, column : (B,) int arrays
        Of the blocks with pixels of their own: the mask, rising, and the block.
    bits : (B, SIDE_PX, SIDE_PX / 8) uint8 array
        Their pixels as `numpy.packbits` packs them; 0 beyond the picture.
    """

    shape: tuple[int, int]
    inside: NDArray[np.bool_]
    owner: Index
    row: Index
    column: Index
    bits: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.inside)

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each mask, (N,)."""
        crossed = np.bincount(self.owner, count_bits(self.bits), minlength=len(self))
        return crossed.astype(np.int64) + area_inside(self.inside, self.shape)

    @cached_property
    def boxes(self) -> NDArray[np.int32]:
        """x0, y0, x1, y1 of each mask, half-open and tight; all 0 for an empty one; (N, 4)."""
        # Outermost rows and columns that are set in each block with pixels of its own.
        rows = self.bits.view(np.uint32)[..., 0]
        set_rows = rows != 0
        some_row = np.bitwise_or.reduce(rows, axis=1)
        set_columns = np.unpackbits(some_row.view(np.uint8)).reshape(set_rows.shape)
        some = set_rows.any(axis=1)
        ends = [self.owner[some]]
        for block, is_set in ((self.column, set_columns), (self.row, set_rows)):
            first = is_set[some].argmax(axis=1)
            last = SIDE_PX - is_set[some, ::-1].argmax(axis=1)
            ends += [SIDE_PX * block[some] + first, SIDE_PX * block[some] + last]
        # Blocks wholly inside end with the block or the picture.
        owner, row, column = np.nonzero(self.inside)
        whole = [owner]
        for block, length in ((column, self.shape[1]), (row, self.shape[0])):
            whole += [SIDE_PX * block, np.minimum(SIDE_PX * (block + 1), length)]
        of, x0, x1, y0, y1 = (np.concatenate(pair) for pair in zip(ends, whole, strict=True))
        low = np.full((2, len(self)), max(self.shape), dtype=np.intp)
        high = np.zeros((2, len(self)), dtype=np.intp)
        for axis, (first, last) in enumerate(((x0, x1), (y0, y1))):
            np.minimum.at(low[axis], of, first)
            np.maximum.at(high[axis], of, last)
        boxes = np.concatenate([low, high]).T.astype(np.int32)
        return np.where(high[0][:, None] > 0, boxes, 0)

    def window(self, number: int) -> NDArray[np.bool_]:
        """The pixels of a mask in its box, boolean (h, w)."""
        x0, y0, x1, y1 = self.boxes[number].tolist()
        if x1 == 0:
            return np.zeros((0, 0), dtype=bool)
        top, left = y0 // SIDE_PX, x0 // SIDE_PX
        inside = self.inside[number, top : -(-y1 // SIDE_PX), left : -(-x1 // SIDE_PX)]
        n_rows, n_columns = inside.shape
        canvas = np.zeros((n_rows, SIDE_PX, n_columns, SIDE_PX), dtype=bool)
        canvas[...] = inside[:, None, :, None]
        # Blocks beyond the box have no pixel that is set.
        first, stop = np.searchsorted(self.owner, [number, number + 1])
        row, column = self.row[first:stop] - top, self.column[first:stop] - left
        met = (row >= 0) & (row < n_rows) & (column >= 0) & (column < n_columns)
        pixels = np.unpackbits(self.bits[first:stop][met], axis=2).view(np.bool_)
        canvas[row[met], :, column[met]] = pixels
        whole = canvas.reshape(n_rows * SIDE_PX, n_columns * SIDE_PX)
        y, x = y0 - SIDE_PX * top, x0 - SIDE_PX * left
        return whole[y : y + y1 - y0, x : x + x1 - x0]


def count_bits(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels that are set in each block of (B, SIDE_PX, SIDE_PX / 8) bits, (B,)."""
    words = bits.reshape(len(bits), SIDE_PX * SIDE_PX // 8).view(np.uint64)
    return np.bitwise_count(words).sum(axis=1, dtype=np.int64)


def area_inside(inside: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Pixels of a picture (H, W) in the chosen blocks (N, R, C) of it, (N,)."""
    heights, widths = (
        np.minimum(SIDE_PX, length - SIDE_PX * np.arange(count))
        for length, count in zip(shape, inside.shape[1:], strict=True)
    )
    return (inside @ widths) @ heights
