"""Agreement with ground truth, against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from samstar_rl.frames.frame import Frame
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.truth.metrics import (
    Truth,
    agreement,
    count_error,
    f1_at,
    mean_ap,
    mean_diameter_error,
    panoptic_quality,
)

SHAPE = (40, 60)


def box(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def labels_of(*masks: np.ndarray) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.int32)
    for label, mask in enumerate(masks, start=1):
        labels[mask] = label
    return labels


A, B, C = box(2, 2, 12, 12), box(2, 20, 12, 30), box(20, 40, 30, 50)


def segmentation(*masks: np.ndarray) -> Segmentation:
    return Segmentation.from_masks(list(masks), Frame(np.zeros(SHAPE, np.float32)))


def test_truth_agrees_with_itself() -> None:
    measures = agreement(segmentation(A, B, C), labels_of(A, B, C))
    assert (measures.f1, measures.mean_ap, measures.panoptic_quality) == (1.0, 1.0, 1.0)
    assert (measures.count_error, measures.mean_diameter_error) == (0.0, 0.0)


def test_plain_arrays_and_segmentations_agree() -> None:
    masks = np.stack([A, box(2, 21, 12, 31), box(0, 0, 40, 60)])
    truth = labels_of(A, B, C)
    assert agreement(masks, truth) == agreement(segmentation(*masks), truth)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([], 0.0),
        ([A], 2 / 4),
        ([A, A], 2 / 5),  # a duplicate is a false positive
        ([A, B, C, box(35, 0, 40, 5)], 6 / 7),
        ([A | B, C], 4 / 5),  # merged, it has IoU 0.5 with both, and may stand for one of them
    ],
)
def test_f1(masks: list[np.ndarray], expected: float) -> None:
    truth = labels_of(A, B, C)
    assert f1_at(segmentation(*masks), truth) == pytest.approx(expected)


def test_threshold_is_inclusive_and_checked() -> None:
    half = box(2, 2, 7, 12)
    truth = labels_of(A)
    assert f1_at(segmentation(half), truth, iou=0.5) == 1.0
    assert f1_at(segmentation(half), truth, iou=0.51) == 0.0
    with pytest.raises(ValueError, match="threshold"):
        f1_at(segmentation(half), truth, iou=0.0)


def test_overlapping_masks_are_matched_one_to_one() -> None:
    """Two masks fit A, one of them also fits B: the largest matching finds both particles."""
    a, b = box(0, 0, 10, 10), box(0, 10, 10, 20)
    both = box(0, 0, 10, 20)  # IoU 0.5 with each
    assert f1_at(segmentation(both, a), labels_of(a, b)) == 1.0


def test_mean_ap_and_panoptic_quality_by_hand() -> None:
    shifted = box(2, 4, 12, 14)  # 80 of 120 px: IoU 2/3
    truth = labels_of(A, B)
    found = segmentation(shifted, B)
    # IoU 2/3 is reached at 0.5, 0.55, 0.6, 0.65: TP 2 of 2; above: 1 / (1 + 1 + 1)
    assert mean_ap(found, truth) == pytest.approx((4 * 1 + 6 * 1 / 3) / 10)
    assert panoptic_quality(found, truth) == pytest.approx((2 / 3 + 1) / 2)


def test_counts_and_diameters() -> None:
    truth = labels_of(A, B)
    assert count_error(segmentation(A), truth) == -0.5
    assert count_error(segmentation(A, B, C), truth) == 0.5
    small = box(2, 2, 7, 7)
    assert mean_diameter_error(segmentation(small), truth) == pytest.approx(-0.5)
    assert np.isnan(mean_diameter_error(segmentation(), truth))


def test_nothing_found_and_nothing_there() -> None:
    empty = np.zeros(SHAPE, dtype=np.int32)
    measures = agreement(segmentation(), empty)
    assert (measures.f1, measures.mean_ap, measures.panoptic_quality) == (1.0, 1.0, 1.0)
    assert f1_at(segmentation(A), empty) == 0.0
    assert count_error(segmentation(A), empty) == 1.0


def test_labels_need_not_be_consecutive_and_may_fill_the_plane() -> None:
    labels = np.full(SHAPE, 7)
    labels[:, 30:] = 40
    assert f1_at(segmentation(labels == 7, labels == 40), labels) == 1.0


def test_truth_is_checked() -> None:
    with pytest.raises(ValueError, match="integer"):
        Truth(np.zeros(SHAPE))
    with pytest.raises(ValueError, match="do not fit"):
        f1_at(segmentation(A), np.zeros((5, 5), int))


def test_random_masks_agree_with_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(SHAPE, dtype=np.int32)
    for label in range(1, 9):
        y, x = rng.integers(0, 30, 2)
        labels[y : y + 9, x : x + 9] = label
    masks = [np.roll(labels == label, rng.integers(-4, 5), axis=1) for label in range(1, 9)]
    truth = Truth(labels)
    expected = np.zeros((len(masks), len(truth)))
    for k, mask in enumerate(masks):
        for t, label in enumerate(np.unique(labels)[1:]):
            particle = labels == label
            expected[k, t] = (mask & particle).sum() / (mask | particle).sum()
    np.testing.assert_allclose(truth.ious(segmentation(*masks)).toarray(), expected)
