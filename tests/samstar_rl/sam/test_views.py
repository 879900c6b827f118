"""Tiles cover a frame, overlap enough, and hold what lies deepest in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samstar_rl.sam.views import SMALLEST_TILE_PX, deepest_tile, tile_boxes


@given(
    height=st.integers(64, 3000),
    width=st.integers(64, 3000),
    zoom=st.sampled_from([1.5, 2, 3, 4, 6, 8, 12, 16]),
    largest=st.floats(0, 200),
)
def test_tiles_cover_the_frame_and_overlap(height, width, zoom, largest):
    boxes = tile_boxes((height, width), zoom, largest)
    if len(boxes) == 0:
        assert max(height, width) / zoom <= SMALLEST_TILE_PX or max(height, width) <= 64
        return
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    pitch = max(max(height, width) / zoom, SMALLEST_TILE_PX)
    wanted = min(max(largest, 0.1 * pitch), 0.5 * pitch)
    for first, last, length in ((0, 2, width), (1, 3, height)):
        spans = np.unique(boxes[:, [first, last]], axis=0)
        assert spans[0, 0] == 0 and spans[-1, 1] == length
        overlaps = spans[:-1, 1] - spans[1:, 0]
        assert (overlaps >= wanted - 1.5).all()
    assert ((boxes[:, 2:] - boxes[:, :2]).max(axis=1) <= pitch + wanted + 1).all()


def test_no_tiles_without_a_zoom():
    assert tile_boxes((512, 512), 1, 30).shape == (0, 4)
    assert tile_boxes((64, 64), 4, 10).shape == (0, 4)


@pytest.mark.parametrize(
    ("point", "tile"), [((5, 5), 0), ((95, 5), 1), ((5, 95), 2), ((95, 95), 3), ((40, 60), 2)]
)
def test_a_point_belongs_to_the_tile_in_which_it_lies_deepest(point, tile):
    boxes = tile_boxes((200, 200), 2, 20)
    scaled = np.array([point], dtype=float) * 2
    assert deepest_tile(boxes, scaled, (200, 200)).tolist() == [tile]
