from __future__ import annotations

import math
from dataclasses import replace

import pytest
from synthetic_bank import SyntheticBank

from samstar_rl.agents.benchmark.conditions import Conditions, sam_seconds
from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.search.gazes import gazes_of
from samstar_rl.agents.tuners.fixed import ForeignStaticTuner
from samstar_rl.agents.tuners.rule import RuleTuner
from samstar_rl.bank.build import build_for_task
from samstar_rl.bank.simulated import SimulatedStreams, with_gaze, with_ladder
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.metrics import f1_at
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameContext, FrameEvaluator


@pytest.fixture(scope="module")
def task():
    return with_gaze(load_task("particles"), zooms=(1.0, 2.0), most_prompts=24)


@pytest.fixture(scope="module")
def banks(task, tmp_path_factory):
    """Two banks of three and two streams of two frames, by the embedded SAM."""
    folder, engine = tmp_path_factory.mktemp("banks"), ProposalEngine(load_sam("tiny"))
    streams = SimulatedStreams(n_streams=3, n_frames=2, size_px=96)
    return [
        build_for_task(task, own.streams(task), folder / name, engine)
        for name, own in (
            ("train", streams), ("test", replace(streams, n_streams=2, first_seed=100_000))
        )
    ]  # fmt: skip


@pytest.fixture
def conditions(task, banks, tmp_path):
    budgets = (75.0, math.inf)
    return Conditions(task, *banks, budgets, steps=300, n_evaluations=10, folder=tmp_path)


@pytest.mark.parametrize("name", ["static-search", "evolved", "mlp"])
def test_what_is_learned_spends_its_evaluations_and_answers_at_once(conditions, name):
    prepared = CONTENDERS[name].prepare(conditions, 0)
    if name != "mlp":  # which is fitted once
        evaluations = [point[0] for point in prepared.curve]
        assert evaluations[0] == 0 and evaluations == sorted(evaluations)
    assert 0 < prepared.evaluations <= conditions.steps
    assert prepared.learned_from == (conditions.bank,) and sam_seconds(conditions.bank) > 0
    for budget in conditions.budgets:
        rows = conditions.judge.judge(prepared.at(budget), budget=budget)
        # policies try filters on what SAM decoded, which costs nothing
        n_evaluations, is_policy = rows["n_evaluations"], CONTENDERS[name].is_policy
        assert len(rows) == 4 and n_evaluations.between(2, 15).all() == is_policy
        assert is_policy or (n_evaluations == 1).all()
        assert (rows["cost"] <= budget).all()


def test_without_a_gaze_to_move_the_fitted_gaze_is_the_static_settings(tmp_path):
    grid = with_ladder(load_task("particles"), [8, 16])
    bank = SyntheticBank(grid, n_streams=3, n_frames=2)
    conditions = Conditions(grid, bank, bank, (75.0,), steps=20, n_evaluations=4, folder=tmp_path)
    assert CONTENDERS["mlp"].prepare(conditions, 0).at(75.0).settings == grid.static


def test_the_oracle_takes_the_best_of_all_gazes_at_each_budget(conditions, task):
    prepared = CONTENDERS["oracle"].prepare(conditions, 0)
    source, truth = BankFrame(conditions.test, 0), conditions.judge.truth(0)
    for budget in conditions.budgets:
        rows = conditions.judge.judge(prepared.at(budget), budget=budget)
        found = [
            f1_at(
                FrameEvaluator(source, conditions.objective, cost_limit=budget)(gaze).segmentation,
                truth,
            )
            for gaze in gazes_of(task)
        ]
        assert rows["f1"][0] == pytest.approx(max(found))


def test_settings_of_a_streams_first_frames_are_kept_in_it(conditions):
    prepared = CONTENDERS["frozen-start"].prepare(conditions, 0)
    assert 0 < prepared.evaluations <= conditions.n_evaluations * 4
    frozen = conditions.judge.judge(prepared.at(75.0), budget=75.0)
    assert (frozen.groupby("stream")["setting_pred_iou_thresh"].nunique() == 1).all()


def test_a_search_at_a_budget_pays_for_all_that_it_looks_at(conditions):
    prepared = CONTENDERS["genetic"].prepare(conditions, 0)
    rows = conditions.judge.judge(prepared.at(75.0), budget=75.0)
    free = conditions.judge.judge(prepared.at(math.inf))
    assert (rows["cost"] <= 75).all() and (rows["n_evaluations"] > 1).all()
    assert free["cost"].mean() > rows["cost"].mean()


def test_the_rule_comes_closer_to_smaller_particles_as_far_as_it_is_paid_for(conditions, task):
    def zoom(diameter_px, budget):
        aimed = load_task("size").with_targets(size={"median_diameter": diameter_px})
        tuner = RuleTuner(with_gaze(aimed, zooms=(1.0, 2.0, 4.0), most_prompts=24), view_cost=36.0)
        source = BankFrame(conditions.test, 0)
        evaluator = FrameEvaluator(source, conditions.objective, cost_limit=budget)
        unit = tuner.task.length_unit_px(source.frame)
        tuner.task = tuner.task.with_targets(size={"median_diameter": diameter_px / unit})
        return tuner.propose(FrameContext(evaluator)).zoom

    side = conditions.test.frame(0).image.shape[0]
    seen_at_24 = 24 * side / 256
    assert zoom(seen_at_24, math.inf) == 1.0
    assert zoom(seen_at_24 / 4, math.inf) == 4.0
    assert zoom(seen_at_24 / 4, 300) == 2.0  # sixteen tiles would cost more
    assert zoom(seen_at_24 / 4, 75) == 1.0


def test_lengths_of_another_task_come_in_the_unit_of_this_one(conditions):
    foreign = load_task("size")  # in nm; this task counts in shares of the frame
    tuner = ForeignStaticTuner(foreign, conditions.task)
    source = conditions.judge.frames.source(0)
    evaluator = FrameEvaluator(source, Objective(conditions.task))
    settings = tuner.propose(FrameContext(evaluator))
    side_nm = source.frame.short_side_px * source.frame.pixel_size_nm
    assert settings.min_diameter == pytest.approx(foreign.static.min_diameter / side_nm)
    assert settings.pred_iou_thresh == foreign.static.pred_iou_thresh
