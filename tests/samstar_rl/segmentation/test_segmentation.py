from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import Floor, ProposalEngine, ProposalsError
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import PromptSettings, Settings

ALL = Settings(points_per_side=8, pred_iou_thresh=0, stability_score_thresh=0)


@pytest.fixture(scope="module")
def frame():
    return Frame(np.random.default_rng(0).random((70, 90)), pixel_size_nm=2.0, id="noise")


@pytest.fixture(scope="module")
def proposals(blob_sam, frame):
    return ProposalEngine(blob_sam, arithmetic="stock").propose(frame, PromptSettings(8))


gates = st.fixed_dictionaries(
    {
        "min_diameter": st.floats(0, 1),
        "max_diameter": st.floats(0.1, 2),
        "min_circularity": st.floats(0, 1),
        "min_solidity": st.floats(0, 1),
        "max_aspect_ratio": st.floats(1, 10),
        "min_contrast": st.floats(0, 0.3),
    }
)


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gates, st.sampled_from([0, 20, 100]))
def test_gates_keep_what_lies_within_them(proposals, gates, min_area):
    length = 40.0
    ungated = filter_proposals(proposals, ALL.replace(min_mask_region_area=min_area))
    gated = filter_proposals(
        proposals, ALL.replace(min_mask_region_area=min_area, **gates), length_unit_px=length
    )
    table = ungated.table
    within = (
        (table.equivalent_diameter_area >= gates["min_diameter"] * length)
        & (table.equivalent_diameter_area <= gates["max_diameter"] * length)
        & (table.circularity >= gates["min_circularity"])
        & (table.solidity >= gates["min_solidity"])
        & (table.aspect_ratio <= gates["max_aspect_ratio"])
        & (np.abs(table.contrast) >= gates["min_contrast"])
    )
    np.testing.assert_array_equal(gated.kept, ungated.kept[within])
    np.testing.assert_array_equal(gated.mask_ids, ungated.mask_ids[within])


def _plausibility(table):
    """Another number for each mask, unlike its predicted IoU."""
    return np.abs(np.sin(1.0 + 3.0 * table.ids))


EVIDENCE = SimpleNamespace(likeness=_plausibility)


def test_min_plausibility_keeps_what_is_likely_enough(proposals):
    before = filter_proposals(proposals, ALL)
    after = filter_proposals(proposals, ALL.replace(min_plausibility=0.4), evidence=EVIDENCE)
    likely = _plausibility(before.table) >= 0.4
    assert 0 < likely.sum() < len(before)
    np.testing.assert_array_equal(after.kept, before.kept[likely])


def test_min_plausibility_needs_to_know_the_sample(proposals):
    with pytest.raises(ValueError, match=r"segment with a task.*min_plausibility=0"):
        filter_proposals(proposals, ALL.replace(min_plausibility=0.4))


@pytest.mark.parametrize("min_plausibility", [0.0, 0.1])
@pytest.mark.parametrize("max_overlap", [0.0, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_max_overlap_goes_by_predicted_iou_and_by_plausibility_where_it_is_known(
    proposals, max_overlap, min_plausibility
):
    permissive = ALL.replace(box_nms_thresh=0.9, min_plausibility=min_plausibility)
    before = filter_proposals(proposals, permissive, evidence=EVIDENCE)
    after = filter_proposals(
        proposals, permissive.replace(max_overlap=max_overlap), evidence=EVIDENCE
    )
    shared = before.overlap_matrix
    areas = np.maximum(before.table.area, 1)
    expected: list[int] = []
    quality = proposals.iou_pred[before.kept]
    if min_plausibility > 0:
        quality = quality * _plausibility(before.table)
    for k in np.argsort(-quality, kind="stable"):
        limit = max_overlap * np.minimum(areas[k], areas[expected])
        if (shared[k, expected] <= limit).all():
            expected.append(int(k))
    np.testing.assert_array_equal(after.kept, before.kept[np.sort(expected)])


@pytest.mark.parametrize("max_overlap", [0.2, 0.5, 0.9])
def test_the_gate_of_overlaps_says_how_the_rest_overlaps(max_overlap):
    rng = np.random.default_rng(0)
    masks = np.zeros((60, 80, 90), dtype=bool)
    for mask, x, y in zip(masks, rng.integers(0, 70, 60), rng.integers(0, 60, 60), strict=True):
        mask[y : y + rng.integers(4, 20), x : x + rng.integers(4, 20)] = True
    frame = Frame(rng.random((80, 90)), id="boxes")
    proposals = Segmentation.from_masks(masks, frame).proposals
    settings = Settings(
        pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1, max_overlap=max_overlap
    )
    found = filter_proposals(proposals, settings)
    anew = found.part(np.arange(len(found)))
    assert len(anew.overlapping[0]) > 0
    for one, other in zip(found.overlapping, anew.overlapping, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_pictures_agree_with_the_masks(proposals):
    segmentation = filter_proposals(
        proposals, ALL.replace(box_nms_thresh=0.5, min_mask_region_area=9)
    )
    masks = np.array([segmentation.mask(k) for k in range(len(segmentation))])
    assert len(masks) > 5
    np.testing.assert_array_equal(segmentation.union(), masks.any(axis=0))
    flat = masks.reshape(len(masks), -1).astype(int)
    np.testing.assert_array_equal(segmentation.overlap_matrix, flat @ flat.T)
    np.testing.assert_array_equal(segmentation.table.area, flat.sum(axis=1))
    for k, mask in enumerate(masks):
        (x0, y0, x1, y1), window = segmentation.mask_in_box(k)
        np.testing.assert_array_equal(mask[y0:y1, x0:x1], window)


def test_labels_show_the_smaller_or_the_better_on_top():
    large, small = np.zeros((2, 40, 40), dtype=bool)
    large[5:35, 5:35] = True
    small[10:15, 10:15] = True
    segmentation = Segmentation.from_masks([small, large], Frame(np.zeros((40, 40))))
    labels = segmentation.to_labels()
    assert labels[12, 12] == 1
    assert labels[30, 30] == 2
    segmentation.proposals.iou_pred[0] = 0.1
    assert segmentation.to_labels("score")[12, 12] == 2
    with pytest.raises(ValueError, match="'area' or 'score'"):
        segmentation.to_labels("size")


def test_a_label_image_becomes_a_segmentation_and_back():
    labels = np.zeros((30, 40), dtype=np.int32)
    labels[2:9, 3:8], labels[15:25, 20:38] = 4, 9
    segmentation = Segmentation.from_labels(labels, Frame(np.zeros((30, 40)), 1.5, "truth"))
    np.testing.assert_array_equal(segmentation.to_labels(), np.searchsorted([0, 4, 9], labels))
    assert segmentation.frame_id == "truth"
    assert segmentation.pixel_size_nm == 1.5


def test_wrong_shapes_are_refused():
    frame = Frame(np.zeros((30, 40)))
    with pytest.raises(ValueError, match=r"\(30, 40\)"):
        Segmentation.from_masks([np.zeros((40, 30), dtype=bool)], frame)
    with pytest.raises(ValueError, match=r"\(30, 40\)"):
        Segmentation.from_labels(np.zeros((40, 30), dtype=int), frame)


def test_settings_that_ask_for_more_than_is_there_are_refused(blob_sam, frame, proposals):
    with pytest.raises(ProposalsError, match="points_per_side=9"):
        filter_proposals(proposals, ALL.replace(points_per_side=9))
    with pytest.raises(ProposalsError, match=r"stability_score_offset=0.7.*0.25, 0.5, 1, 1.5, 2"):
        filter_proposals(proposals, ALL.replace(stability_score_offset=0.7))
    engine = ProposalEngine(blob_sam, arithmetic="stock")
    high = engine.propose(frame, PromptSettings(8), floor=Floor(0.5, 0.2))
    with pytest.raises(ProposalsError, match="lower the floor"):
        filter_proposals(high, ALL)


def test_a_floor_changes_nothing_above_it(blob_sam, frame, proposals):
    engine = ProposalEngine(blob_sam, arithmetic="stock")
    high = engine.propose(frame, PromptSettings(8), floor=Floor(0.4, 0.2))
    assert 0 < len(high) < len(proposals)
    settings = ALL.replace(pred_iou_thresh=0.45, stability_score_thresh=0.3)
    np.testing.assert_array_equal(
        filter_proposals(high, settings).to_labels(),
        filter_proposals(proposals, settings).to_labels(),
    )


def test_cleaned_masks_do_not_pile_up(proposals):
    settings = ALL.replace(min_mask_region_area=50)
    filter_proposals(proposals, settings)
    n_masks = len(proposals.masks)
    for area in (50, 51, 50):
        filter_proposals(proposals, settings.replace(min_mask_region_area=area))
    assert len(proposals.masks) <= n_masks + 5
