from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samstar_rl.masks import store as masks
from samstar_rl.masks.store import MaskStore, pack_window, unpack_bits

windows = hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(windows)
def test_packing_is_undone_by_unpacking(window):
    bits = unpack_bits(pack_window(window), *window.shape)
    unpacked = np.unpackbits(bits, axis=1, count=window.shape[1]).astype(bool)
    np.testing.assert_array_equal(unpacked, window)


@given(windows, st.integers(0, 9), st.integers(0, 9))
def test_a_store_gives_back_its_masks(window, x, y):
    full = np.zeros((50, 50), dtype=bool)
    full[y : y + window.shape[0], x : x + window.shape[1]] = window
    store = MaskStore.from_windows(full.shape, [((x, y), window)])
    np.testing.assert_array_equal(store.mask(0), full)
    assert store.areas[0] == window.sum()


def random_store(n_masks=60, seed=0):
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(n_masks):
        window = rng.random((rng.integers(1, 30), rng.integers(1, 70))) < 0.7
        items.append(((int(rng.integers(0, 140)), int(rng.integers(0, 80))), window))
    return MaskStore.from_windows((110, 210), items)


def shared_by_hand(store):
    flat = np.array([store.mask(k).ravel() for k in range(len(store))]).astype(np.int64)
    return flat @ flat.T


def test_meeting_masks_are_those_whose_boxes_share_pixels():
    store = random_store()
    ids = np.random.default_rng(3).permutation(len(store))[: len(store) // 2]
    x0, y0, x1, y1 = store.boxes[ids].T
    across = (x0[:, None] < x1) & (x0 < x1[:, None])
    along = (y0[:, None] < y1) & (y0 < y1[:, None])
    first, second = store.meeting(ids)
    expected = np.argwhere(np.triu(across & along, 1))
    found = np.column_stack([first, second])
    np.testing.assert_array_equal(found[np.lexsort((second, first))], expected)


@pytest.mark.parametrize("max_single_pairs", [0, 10**9])
def test_intersections_are_counted_alike_singly_and_in_bulk(monkeypatch, max_single_pairs):
    monkeypatch.setattr(masks, "MAX_SINGLE_PAIRS", max_single_pairs)
    store = random_store()
    expected = shared_by_hand(store)
    some = np.array([5, 3, 40])
    np.testing.assert_array_equal(store.intersections(some), expected[np.ix_(some, some)])
    seven = np.full(3, 7)
    np.testing.assert_array_equal(store.shared(seven, some), expected[7, some])
    np.testing.assert_array_equal(store.shared(some, seven), expected[some, 7])
    everything = np.arange(len(store))
    np.testing.assert_array_equal(store.intersections(everything), expected)


def test_intersections_survive_growth_and_a_full_memory(monkeypatch):
    monkeypatch.setattr(masks, "PAIR_BYTES", 0)
    store, other = random_store(), random_store(seed=1)
    for _ in range(2):
        store.intersections(np.arange(9))
        other.intersections(np.arange(9))
        store.add([((4, 4), np.ones((9, 9), dtype=bool))])
        everything = np.arange(len(store))
        np.testing.assert_array_equal(store.intersections(everything), shared_by_hand(store))


def test_the_opened_windows_stay_within_their_budget(monkeypatch):
    monkeypatch.setattr(masks, "CACHE_BYTES", 100)
    store = random_store()
    for _ in range(2):
        for mask_id in range(len(store)):
            assert store.window(mask_id).sum() == store.areas[mask_id]
    assert sum(bits.nbytes for bits in store._opened.values()) <= 300
