"""A gaze that the user fixes, and milliseconds turned into cost."""

import numpy as np
import pytest

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame
from samstar_rl.segmenter import Segmenter
from samstar_rl.settings import Settings
from samstar_rl.simulator import SimulatedStream
from samstar_rl.tuning.budget import DEFAULT_N_PROMPTS, DeadlineBudget, GazeOptions

GRID = Settings(points_per_side=16, crop_n_layers=1)


def test_what_is_fixed_takes_the_place_of_what_was_chosen():
    assert GazeOptions().apply(GRID) == GRID
    fixed = GazeOptions(n_prompts=64).apply(GRID)
    assert (fixed.n_prompts, fixed.zoom, fixed.crop_n_layers) == (64, 1, 0)
    assert GazeOptions(zoom=3).apply(GRID).n_prompts == DEFAULT_N_PROMPTS
    assert GazeOptions(zoom=3).apply(Settings(n_prompts=20)).n_prompts == 20
    assert GazeOptions(budget_ms=100).apply(GRID).n_prompts == 4096


@pytest.mark.parametrize("wrong", [{"n_prompts": 3}, {"zoom": 17}, {"budget_ms": 0}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(SamstarError, match=next(iter(wrong))):
        GazeOptions(**wrong)


class Paced:
    """An engine's clock: so many milliseconds a frame and a unit of cost."""

    def __init__(self, deadline_ms, constant_ms, pace_ms, view_cost=36.0):
        self.budget = DeadlineBudget(deadline_ms, view_cost)
        self.constant_ms, self.pace_ms, self.view_cost = constant_ms, pace_ms, view_cost
        self.take(view_cost + 120)

    def take(self, cost, jitter=1.0):
        looking = (cost - self.view_cost) * self.pace_ms * jitter
        took = self.constant_ms * jitter + looking
        self.budget.observe(cost, took, looking)
        return took

    def frame(self, jitter=1.0):
        cost = self.budget.cost_limit()
        return cost, self.take(cost, jitter)


def test_the_budget_uses_the_time_and_keeps_the_deadline():
    clock = Paced(500, 120, 1.6)
    first, _ = clock.frame()
    assert 36 < first < 36 + (500 - 120) / 1.6
    costs, took = zip(*(clock.frame() for _ in range(20)), strict=True)
    assert max(took) <= 500.5
    assert costs[-1] == pytest.approx(36 + (500 - 120) / 1.6, rel=0.02)


def test_a_machine_that_slows_down_is_followed():
    clock = Paced(500, 100, 1.0)
    for _ in range(10):
        clock.frame()
    clock.pace_ms = 4.0
    took = [clock.frame()[1] for _ in range(40)]
    assert took[0] > 500 and max(took[20:]) <= 550


def test_frames_that_differ_have_a_reserve():
    rng = np.random.default_rng(0)
    clock = Paced(400, 80, 1.5)
    took = [clock.frame(jitter=rng.uniform(0.8, 1.2))[1] for _ in range(300)]
    assert np.mean(np.array(took[32:]) > 1.1 * 400) <= 0.02
    assert np.median(took) > 0.6 * 400


def test_too_short_a_deadline_leaves_the_whole_frames_view():
    assert Paced(50, 120, 1.6).budget.cost_limit() == 36.0


def test_a_frame_gets_its_first_prompts_where_they_hardly_make_it_late():
    # 130 ms are at most 1.1 times 120 ms, with 8 prompts of 1.2 ms; the reserve leaves none
    assert Paced(120, 120, 1.2).budget.cost_limit() == 36.0 + 8.0
    assert Paced(110, 120, 1.2).budget.cost_limit() == 36.0


def test_it_hurries_where_there_is_time_for_few_prompts():
    assert not Paced(500, 120, 1.6).budget.hurry()
    budget = Paced(110, 120, 1.2).budget
    assert budget.hurry() and budget.hurries and not budget.is_calibrated
    budget.observe(36.0 + 8, 80, 10)
    assert not budget.hurry() and budget.hurries
    assert budget.cost_limit() > 36.0 + 8.0


@pytest.fixture(scope="module")
def frame():
    item = next(iter(SimulatedStream("particles", size=192, seed=0)))
    return Frame(item.frame.image, item.frame.pixel_size_nm, "one")


def test_a_fixed_gaze_reaches_the_record(frame):
    result = Segmenter.load("particles", gaze=GazeOptions(n_prompts=40, zoom=2))(frame)
    record = result.to_record()
    assert record["settings"]["n_prompts"] == 40 and record["settings"]["zoom"] == 2
    assert record["prompts_decoded"] == 40
    assert record["cost"] == 40 + 36 * record["views"]
    assert record["stopped_by"] == "n_prompts" and record["cost_limit"] is None


def test_a_frame_out_of_time_says_what_was_left_out(frame):
    segmenter = Segmenter.load("particles", gaze=GazeOptions(zoom=3, budget_ms=1))
    result = segmenter(frame)
    record = result.to_record()
    assert record["stopped_by"] == "budget" and record["cost"] <= record["cost_limit"] == 36.0
    assert any("stopped by its budget, " in note for note in record["notes"])
    # the pace was measured on the first frame: from the next one on the foreground is cut short
    later = segmenter(Frame(frame.image, frame.pixel_size_nm, "two"))
    assert not any("estimated quickly" in note for note in record["notes"])
    assert any("estimated quickly" in note for note in later.to_record()["notes"])
    # a replay with that budget gives the same
    limit = record["cost_limit"]
    again = segmenter.engine.propose(frame, result.settings.prompt, cost_limit=limit)
    assert again.effort is not None and again.effort.cost == record["cost"]


def test_the_pace_is_measured_with_tiles_before_the_first_frame(frame):
    segmenter = Segmenter.load("particles", gaze=GazeOptions(budget_ms=60_000))
    record = segmenter(frame).to_record()
    assert record["cost_limit"] > 36 + 100
    (beyond, took_ms, looking_ms), _ = segmenter.budget._measured
    # 40 prompts and at least two tiles
    assert beyond >= 40 + 2 * 36 and 0 < looking_ms < took_ms
