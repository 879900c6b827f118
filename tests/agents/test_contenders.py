from __future__ import annotations

import pytest
from synthetic_bank import SyntheticBank

from samstar_rl.agents.benchmark.arena import Arena, sam_seconds
from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.benchmark.transfer import ForeignStaticTuner
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.tuner import FrameContext, FrameEvaluator, Objective


@pytest.fixture
def arena(tmp_path):
    task = load_task("particles")
    bank = SyntheticBank(task, n_streams=3, n_frames=2)
    test = SyntheticBank(task, n_streams=2, n_frames=2, seed=1)
    return Arena(task, bank, test, steps=200, n_evaluations=10, folder=tmp_path)


@pytest.mark.parametrize("name", ["static-search", "evolved"])
def test_what_is_learned_never_ends_below_the_static_settings_on_validation(arena, name):
    ready = CONTENDERS[name](arena, 0)
    evaluations = [point[0] for point in ready.curve]
    assert evaluations[0] == 0 and evaluations == sorted(evaluations)
    assert 0 < ready.evaluations <= arena.steps
    assert ready.learned_from == (arena.bank,) and sam_seconds(arena.bank) > 0
    rows = arena.judge.judge(ready.tuner)
    assert len(rows) == 4 and (rows["n_evaluations"] == 1).all()


def test_what_is_scripted_for_a_stream_is_used_on_it(arena):
    ready = CONTENDERS["oracle"](arena, 0)
    rows = arena.judge.judge(ready.tuner)
    static = arena.judge.judge(CONTENDERS["static"](arena, 0).tuner)
    assert (rows["f1"] >= static["f1"] - 1e-9).all()
    for name, n_frames in (("frozen-first", 1), ("frozen-start", 6)):
        ready = CONTENDERS[name](arena, 0)
        shortest = min(len(stream) for stream in arena.streams)
        most = arena.n_evaluations * len(arena.streams) * min(n_frames, shortest)
        assert 0 < ready.evaluations <= most
        frozen = arena.judge.judge(ready.tuner)
        assert (frozen.groupby("stream")["setting_pred_iou_thresh"].nunique() == 1).all()


def test_lengths_of_another_task_come_in_the_unit_of_this_one(arena):
    foreign = load_task("size")  # in nm, 1 nm a px here; this task counts in shares of the frame
    tuner = ForeignStaticTuner(foreign, arena.task)
    source = arena.judge.frames.source(0)
    evaluator = FrameEvaluator(source, Objective(arena.task))
    settings = tuner.propose(FrameContext(evaluator))
    side = source.frame.short_side_px
    assert settings.min_diameter == pytest.approx(foreign.static.min_diameter / side)
    assert settings.pred_iou_thresh == foreign.static.pred_iou_thresh
