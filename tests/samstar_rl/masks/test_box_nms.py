"""Suppression against torchvision's, box for box."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.ops import nms

from samstar_rl.masks import box_nms as suppression
from samstar_rl.masks.box_nms import BoxSuppression, meeting, standing

CORNERS = arrays(np.int64, st.tuples(st.integers(1, 60), st.just(4)), elements=st.integers(0, 30))


def torchvision_keeps(boxes, ranks, iou_thresh):
    scores = torch.linspace(1, 0, len(boxes))[ranks]
    kept = nms(torch.from_numpy(boxes)[ranks], scores, iou_thresh)
    return ranks[kept.numpy()]


@settings(max_examples=200, deadline=None)
@given(CORNERS, st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_the_same_boxes_as_torchvision(corners, thresholds, seed):
    boxes = np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])],
        axis=1,
    ).astype(np.float32)
    ours = BoxSuppression(boxes)
    rng = np.random.default_rng(seed)
    for iou_thresh in thresholds:
        ranks = np.flatnonzero(rng.random(len(boxes)) < 0.7)
        np.testing.assert_array_equal(
            ours.keep(ranks, iou_thresh), torchvision_keeps(boxes, ranks, iou_thresh)
        )


@pytest.mark.parametrize("iou_thresh", [0.01, 0.1, 0.5, 0.7])
def test_thousands_of_boxes_and_a_full_memory(iou_thresh, monkeypatch):
    monkeypatch.setattr(suppression, "CACHE_BYTES", 10_000)
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 400, (4000, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (4000, 2))], axis=1).astype(np.float32)
    ours = BoxSuppression(boxes)
    for _ in range(3):
        ranks = np.flatnonzero(rng.random(len(boxes)) < 0.5)
        np.testing.assert_array_equal(
            ours.keep(ranks, iou_thresh), torchvision_keeps(boxes, ranks, iou_thresh)
        )


@pytest.mark.parametrize("n_boxes", [0, 1, 40, 256, 257, 400])
def test_boxes_meet_where_they_share_more_than_an_edge(n_boxes):
    rng = np.random.default_rng(n_boxes)
    low = rng.integers(0, 100, (n_boxes, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 12, (n_boxes, 2))], axis=1)
    one, other = meeting(boxes)
    expected = [
        (a, b)
        for a in range(n_boxes)
        for b in range(a + 1, n_boxes)
        if (boxes[a, :2] < boxes[b, 2:]).all() and (boxes[b, :2] < boxes[a, 2:]).all()
    ]
    assert sorted(zip(one.tolist(), other.tolist(), strict=True)) == expected
    assert (np.diff(one) >= 0).all()
    assert n_boxes < 40 or len(expected) > 10


def test_what_falls_drops_nothing_itself():
    # 0 drops 1, so that 2 stands, which drops 3
    stands = standing(5, np.array([0, 1, 2]), np.array([1, 2, 3]))
    assert stands.tolist() == [True, False, True, False, True]


def test_nothing_to_suppress():
    boxes = np.array([[0, 0, 2, 2]], dtype=np.float32)
    assert len(BoxSuppression(boxes).keep(np.zeros(0, dtype=np.intp), 0.5)) == 0
