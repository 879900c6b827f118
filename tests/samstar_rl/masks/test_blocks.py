from __future__ import annotations

import numpy as np
import pytest

from samstar_rl.masks.blocks import SIDE_PX, BlockMasks
from samstar_rl.masks.store import MaskStore, pack_window, tight_box


def block(masks):
    """Masks (N, H, W) in blocks, those of one kind being told by their pixels."""
    n, height, width = masks.shape
    n_rows, n_columns = -(-height // SIDE_PX), -(-width // SIDE_PX)
    padded = np.zeros((n, n_rows * SIDE_PX, n_columns * SIDE_PX), dtype=bool)
    padded[:, :height, :width] = masks
    beyond = padded.copy()
    beyond[:, height:] = beyond[:, :, width:] = True
    cells, full = (
        one.reshape(n, n_rows, SIDE_PX, n_columns, SIDE_PX).swapaxes(2, 3)
        for one in (padded, beyond)
    )
    inside = full.all(axis=(3, 4))
    owner, row, column = np.nonzero(cells.any(axis=(3, 4)) & ~inside)
    bits = np.packbits(cells[owner, row, column], axis=2)
    return BlockMasks((height, width), inside, owner, row, column, bits)


@pytest.fixture(params=[(96, 128), (75, 131), (20, 33)])
def masks(request):
    height, width = request.param
    y, x = np.mgrid[:height, :width]
    drawn = [
        np.ones((height, width), dtype=bool),
        np.zeros((height, width), dtype=bool),
        (x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 2.5) ** 2,
        (x == width - 1) & (y == height - 1),
        (x > 3) & (x < width - 2) & (y > 1) & ((x - 9) ** 2 + (y - 9) ** 2 > 30),
    ]
    return np.stack(drawn)


def test_masks_in_blocks_have_the_areas_boxes_and_pixels_of_the_masks(masks):
    found = block(masks)
    np.testing.assert_array_equal(found.areas, masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(found.boxes, [tight_box(mask) for mask in masks])
    for number, mask in enumerate(masks):
        x0, y0, x1, y1 = found.boxes[number]
        np.testing.assert_array_equal(found.window(number), mask[y0:y1, x0:x1])


def test_a_store_draws_windows_when_they_are_asked_for(masks):
    found, drawn = block(masks), []

    def draw(number):
        drawn.append(number)
        return found.window(number)

    held = [lambda number=number: draw(number) for number in range(len(masks))]
    store = MaskStore(found.shape, found.boxes, found.areas, held)
    assert not drawn
    np.testing.assert_array_equal(store.mask(2), masks[2])
    np.testing.assert_array_equal(store.mask(2), masks[2])
    assert drawn == [2]
    assert store.packed(2) == pack_window(found.window(2))


@pytest.mark.parametrize("count", [0, 2])
def test_masks_without_an_outline_and_no_masks_at_all_are_counted(count):
    found = block(np.ones((count, 64, 96), dtype=bool))
    assert len(found.owner) == 0
    np.testing.assert_array_equal(found.areas, np.full(count, 64 * 96))
    np.testing.assert_array_equal(found.boxes, np.tile([0, 0, 96, 64], (count, 1)))
