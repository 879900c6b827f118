from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.utils.amg import remove_small_regions

from samstar_rl.masks.region_cleaning import RegionCleaner
from samstar_rl.masks.store import MaskStore


@st.composite
def frames_with_masks(draw):
    """Speckles and blobs: many holes and islands, also at the frame's border."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = []
    for _ in range(3):
        noise = rng.random((height, width)).astype(np.float32)
        if draw(st.booleans()):
            noise = cv2.GaussianBlur(noise, (0, 0), draw(st.sampled_from([0.5, 1.0, 2.0])))
        mask = noise > np.quantile(noise, draw(st.sampled_from([0.02, 0.2, 0.5, 0.8, 0.98, 1.0])))
        if draw(st.booleans()):
            mask[: draw(st.integers(0, height))] = False
            mask[:, : draw(st.integers(0, width))] = False
        masks.append(mask)
    return masks


def stock(mask, min_area):
    filled, changed_holes = remove_small_regions(mask, min_area, mode="holes")
    cleaned, changed_islands = remove_small_regions(filled, min_area, mode="islands")
    return cleaned, changed_holes or changed_islands


@settings(max_examples=100, deadline=None)
@given(frames_with_masks(), st.lists(st.integers(1, 700), min_size=1, max_size=5))
def test_cleaning_equals_the_stock_one(masks, thresholds):
    store = MaskStore.from_windows(masks[0].shape, [((0, 0), mask) for mask in masks])
    cleaner = RegionCleaner(store)
    for min_area in [*thresholds, 3, 3]:
        ids, changed = cleaner.clean(np.arange(len(masks)), min_area)
        for mask, cleaned_id, is_changed in zip(masks, ids, changed, strict=True):
            expected, expected_changed = stock(mask, min_area)
            np.testing.assert_array_equal(store.mask(cleaned_id), expected)
            assert is_changed == expected_changed


def test_a_mask_without_small_parts_keeps_its_id():
    mask = np.zeros((30, 40), dtype=bool)
    mask[5:15, 5:15] = True
    store = MaskStore.from_windows(mask.shape, [((0, 0), mask)])
    ids, changed = RegionCleaner(store).clean(np.arange(1), 50)
    assert ids.tolist() == [0]
    assert not changed.any()
    assert len(store) == 1


def test_thresholds_with_the_same_outcome_share_one_mask():
    mask = np.zeros((30, 40), dtype=bool)
    mask[5:25, 5:25] = True
    mask[10:13, 10:13] = False
    store = MaskStore.from_windows(mask.shape, [((0, 0), mask)])
    cleaner = RegionCleaner(store)
    ids = {int(cleaner.clean(np.arange(1), min_area)[0][0]) for min_area in (10, 50, 100, 399)}
    assert ids == {1}
    assert store.areas[1] == 400
