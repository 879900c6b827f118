from __future__ import annotations

import json
import math

import pytest
from synthetic_bank import SyntheticBank

from samstar_rl.agents.search.gazes import evaluate_gazes, gazes_of
from samstar_rl.agents.studies.headroom import (
    BY_SCORE,
    BY_TRUTH,
    FIXED,
    FIXED_BY_TRUTH,
    WAYS,
    draw_headroom,
    measure_headroom,
    verdict,
)
from samstar_rl.bank.build import build_for_task
from samstar_rl.bank.simulated import SimulatedStreams, with_gaze
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.metrics import Truth, f1_at
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator

BUDGETS = (75.0, 200.0, math.inf)


@pytest.fixture(scope="module")
def task():
    return with_gaze(load_task("particles"), zooms=(1.0, 2.0), most_prompts=24)


@pytest.fixture(scope="module")
def bank(task, tmp_path_factory):
    streams = SimulatedStreams(n_streams=2, n_frames=2, size_px=96, survey=1)
    folder = tmp_path_factory.mktemp("headroom") / "bank"
    return build_for_task(task, streams.streams(task), folder, ProposalEngine(load_sam("tiny")))


@pytest.fixture(scope="module")
def measured(bank, task):
    return measure_headroom(bank, Objective(task), BUDGETS)


def test_all_gazes_are_evaluated_as_if_each_were_alone(bank, task):
    objective, gazes = Objective(task), gazes_of(task)
    assert len(gazes) == 20 and {g.zoom for g in gazes} == {1.0, 2.0}
    assert {gaze.n_prompts for gaze in gazes} >= {12, 24}
    source, truth = BankFrame(bank, 0), Truth(bank.truth(0))
    values = evaluate_gazes(source, objective, gazes, BUDGETS, truth)
    for b, budget in enumerate(BUDGETS):
        for g in (0, 7, 19):
            alone = FrameEvaluator(source, objective, cost_limit=budget)(gazes[g])
            assert values.reward[b, g] == pytest.approx(alone.reward)
            assert values.cost[b, g] == alone.cost <= budget
            assert values.f1[b, g] == pytest.approx(f1_at(alone.segmentation, truth))
    # at 75 no second tile is looked at, whatever was asked for
    assert values.n_evaluations < 3 * len(gazes)


def test_who_sees_the_truth_is_never_worse(measured):
    assert [one.budget for one in measured] == list(BUDGETS)
    for one in measured:
        f1 = {way: estimate.value for way, estimate in one.f1.items()}
        assert set(f1) == set(WAYS)
        assert f1[BY_TRUTH] == max(f1.values())
        assert f1[FIXED_BY_TRUTH] >= f1[FIXED]
        gain = one.gains[f"{BY_SCORE} - {FIXED}"]
        assert gain.value == pytest.approx(f1[BY_SCORE] - f1[FIXED])
        assert max(cost.value for cost in one.cost.values()) <= one.budget


def test_the_verdict_and_the_figure_come_of_it(measured, tmp_path):
    sentences = verdict(measured)
    assert "at a budget of 75" in sentences[0] and "without limit" in sentences[-1]
    draw_headroom({"drift": measured, "survey": measured}).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    json.dumps([one.to_dict() for one in measured], allow_nan=False)


def test_what_cannot_be_said_is_refused(task):
    objective = Objective(task)
    with pytest.raises(ValueError, match="labels"):
        measure_headroom(SyntheticBank(task, n_streams=2, truth=False), objective, BUDGETS)
    with pytest.raises(ValueError, match="at least 2 streams"):
        measure_headroom(SyntheticBank(task, n_streams=1), objective, BUDGETS)
