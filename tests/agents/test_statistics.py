from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from samstar_rl.agents.judging.statistics import (
    Estimate,
    cells_of,
    difference_interval,
    mean_interval,
    paired_cells,
    ratio_interval,
)


def make_rows(values, tuner="a"):
    """Rows of (seeds, streams, frames) values."""
    rows = [
        {"tuner": tuner, "seed": seed, "stream": stream, "frame_index": 10 * stream + frame,
         "score": value}
        for seed, streams in enumerate(values)
        for stream, frames in enumerate(streams)
        for frame, value in enumerate(frames)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    covered = 0
    for number in range(200):
        streams = rng.normal(size=12)  # what differs between streams dominates
        cells = streams + 0.1 * rng.normal(size=(3, 12))
        estimate = mean_interval(cells, seed=number)
        covered += estimate.low <= 0.0 <= estimate.high
    assert 0.85 <= covered / 200 <= 0.99


def test_frames_of_a_stream_do_not_count_as_independent():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(1, 4, 1)) + 0.01 * rng.normal(size=(1, 4, 100))
    estimate = mean_interval(cells_of(make_rows(values), "score"))
    assert estimate.high - estimate.low > 0.5


def test_pairing_removes_what_both_share():
    shared = np.random.default_rng(3).normal(size=(1, 6, 4))
    ours, theirs = make_rows(shared + 0.1), make_rows(shared, "b")
    gain = mean_interval(paired_cells(ours, theirs, "score"))
    assert gain.value == pytest.approx(0.1) and gain.above(0.09)


def test_one_seed_is_paired_with_each_of_many():
    values = np.random.default_rng(4).random((3, 4, 2))
    cells = paired_cells(make_rows(values), make_rows(values[:1], "b"), "score")
    assert cells.shape == (3, 4)
    with pytest.raises(ValueError, match="3 seeds cannot be paired with 2"):
        paired_cells(make_rows(values), make_rows(values[:2], "b"), "score")


def test_other_frames_cannot_be_paired():
    values = np.zeros((1, 2, 3))
    with pytest.raises(ValueError, match="different frames"):
        paired_cells(make_rows(values), make_rows(values[:, :1], "b"), "score")


def test_a_ratio_of_equals_is_one():
    cells = np.random.default_rng(5).random((1, 5))
    ratio = ratio_interval(cells, cells)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.0, 1.0, 1.0))
    twice = ratio_interval(np.repeat(2 * cells, 3, axis=0), cells)
    assert (twice.low, twice.high) == pytest.approx((2.0, 2.0))


def test_seeds_of_two_tuners_may_differ_in_number():
    rng = np.random.default_rng(6)
    shared, noise = rng.normal(size=(1, 6, 4)), rng.normal(0, 0.02, (5, 1, 1))
    ours, theirs = make_rows(shared + 0.1 + noise), make_rows(shared + noise[:3], "b")
    gain = difference_interval(ours, theirs, "score")
    assert gain.value == pytest.approx(0.1 + noise.mean() - noise[:3].mean())
    assert gain.low < gain.value < gain.high and gain.above(0.04)
    with pytest.raises(ValueError, match="different frames"):
        difference_interval(ours, make_rows(shared[:, :2], "b"), "score")


def test_an_estimate_reads_as_value_and_interval():
    assert str(Estimate(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert not Estimate(0.5, -0.1, 0.75).above()
