"""Unions counted by runs are those counted by pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from samstar_rl.masks.pixel_runs import PixelCount, merged, window_runs
from samstar_rl.masks.store import MaskStore

SHAPE = (23, 31)


@st.composite
def windows(draw):
    y0, x0 = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
    height, width = draw(st.integers(1, SHAPE[0] - y0)), draw(st.integers(1, SHAPE[1] - x0))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return (x0, y0), rng.random((height, width)) < draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))


@given(st.lists(windows(), max_size=6), st.floats(0, 1))
def test_union_and_what_it_shares_with_a_mask(items, density):
    painted = np.zeros(SHAPE, dtype=bool)
    for (x, y), window in items:
        painted[y : y + window.shape[0], x : x + window.shape[1]] |= window
    other = np.random.default_rng(7).random(SHAPE) < density
    store = MaskStore.from_windows(SHAPE, items)
    starts, stops = merged(store.runs(np.arange(len(store))))
    assert (stops - starts).sum() == painted.sum()
    assert (starts[1:] > stops[:-1]).all()
    assert PixelCount(other).within(starts, stops) == (painted & other).sum()


def test_runs_end_where_rows_end():
    runs = window_runs(np.ones((2, 3), dtype=bool), 0, 0, 3)
    assert [(int(run) >> 32, int(run) & 0xFFFFFFFF) for run in runs] == [(0, 3), (3, 6)]


def test_runs_are_forgotten_when_they_take_too_much(monkeypatch):
    store = MaskStore.from_windows(SHAPE, [((0, 0), np.eye(20, dtype=bool))] * 5)
    before = store.runs(np.arange(5))
    monkeypatch.setattr("samstar_rl.masks.store.CACHE_BYTES", 200)
    fresh = MaskStore.from_windows(SHAPE, [((0, 0), np.eye(20, dtype=bool))] * 5)
    np.testing.assert_array_equal(fresh.runs(np.arange(5)), before)
    assert len(fresh._runs) == 1
