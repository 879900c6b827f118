from __future__ import annotations

import pytest
from synthetic_bank import SyntheticBank

from samstar_rl.agents.benchmark.conditions import Conditions, sam_seconds
from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.tuners.fixed import ForeignStaticTuner
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameContext, FrameEvaluator


@pytest.fixture
def conditions(tmp_path):
    task = load_task("particles")
    bank = SyntheticBank(task, n_streams=3, n_frames=2)
    test = SyntheticBank(task, n_streams=2, n_frames=2, seed=1)
    return Conditions(task, bank, test, steps=200, n_evaluations=10, folder=tmp_path)


@pytest.mark.parametrize("name", ["static-search", "evolved", "mlp"])
def test_what_is_learned_spends_its_budget_and_answers_at_once(conditions, name):
    prepared = CONTENDERS[name].prepare(conditions, 0)
    if name != "mlp":  # which is fitted once
        evaluations = [point[0] for point in prepared.curve]
        assert evaluations[0] == 0 and evaluations == sorted(evaluations)
    assert 0 < prepared.evaluations <= conditions.steps
    assert prepared.learned_from == (conditions.bank,) and sam_seconds(conditions.bank) > 0
    rows = conditions.judge.judge(prepared.tuner)
    assert len(rows) == 4 and (rows["n_evaluations"] == 1).all()


def test_what_is_scripted_for_a_stream_is_used_on_it(conditions):
    prepared = CONTENDERS["oracle"].prepare(conditions, 0)
    rows = conditions.judge.judge(prepared.tuner)
    static = conditions.judge.judge(CONTENDERS["static"].prepare(conditions, 0).tuner)
    assert (rows["f1"] >= static["f1"] - 1e-9).all()
    for name, n_frames in (("frozen-first", 1), ("frozen-start", 6)):
        prepared = CONTENDERS[name].prepare(conditions, 0)
        shortest = min(len(stream) for stream in conditions.streams)
        most = conditions.n_evaluations * len(conditions.streams) * min(n_frames, shortest)
        assert 0 < prepared.evaluations <= most
        frozen = conditions.judge.judge(prepared.tuner)
        assert (frozen.groupby("stream")["setting_pred_iou_thresh"].nunique() == 1).all()


def test_lengths_of_another_task_come_in_the_unit_of_this_one(conditions):
    foreign = load_task("size")  # in nm, 1 nm a px here; this task counts in shares of the frame
    tuner = ForeignStaticTuner(foreign, conditions.task)
    source = conditions.judge.frames.source(0)
    evaluator = FrameEvaluator(source, Objective(conditions.task))
    settings = tuner.propose(FrameContext(evaluator))
    side = source.frame.short_side_px
    assert settings.min_diameter == pytest.approx(foreign.static.min_diameter / side)
    assert settings.pred_iou_thresh == foreign.static.pred_iou_thresh
