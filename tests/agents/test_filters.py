from __future__ import annotations

import pytest
from synthetic_bank import SyntheticBank

from samstar_rl.agents import ChooseFilters, PolicyTuner, make_tuner
from samstar_rl.agents.tuners.filters import LEAST_GAIN
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmenter import Segmenter
from samstar_rl.sources.simulated import SimulatedSource
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.evaluable_frames import BankFrame, LiveFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator, StaticTuner, run_tuner, tune_frame


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


@pytest.fixture(scope="module")
def frame():
    return next(iter(SimulatedSource("particles", seed=3, size=192, length=1)))


def tune(tuner, task, bank):
    return list(run_tuner(tuner, [BankFrame(bank, i) for i in bank.streams[0]], Objective(task)))


def test_filters_move_and_the_gaze_stays(task):
    bank = SyntheticBank(task, n_streams=1, n_frames=6)
    static = task.static.replace(min_plausibility=0.05, pred_iou_thresh=0.6)
    before = tune(StaticTuner(static), task, bank)
    after = tune(ChooseFilters(StaticTuner(static), task.space), task, bank)
    for one, other in zip(before, after, strict=True):
        assert other.evaluation.reward >= one.evaluation.reward
        assert other.expense.cost == one.expense.cost and other.expense.n_evaluations > 7
        settings = other.evaluation.settings
        assert settings.pred_iou_thresh >= 0.6
        moved = {"pred_iou_thresh": 0.6, "min_plausibility": 0.05}
        assert settings.replace(**moved) == static


def test_the_best_of_what_was_tried_is_taken(task):
    bank = SyntheticBank(task, n_streams=1, n_frames=1)
    (chosen,) = tune(ChooseFilters(StaticTuner(task.static), task.space), task, bank)
    evaluator = FrameEvaluator(BankFrame(bank, 0), Objective(task))
    for value in task.space.spread("min_plausibility", 7):
        assert (
            chosen.evaluation.reward + LEAST_GAIN
            >= evaluator(task.static.replace(min_plausibility=value)).reward
        )


def test_a_gaze_that_the_user_has_fixed_is_fixed_once(task):
    evaluator = FrameEvaluator(
        BankFrame(SyntheticBank(task, n_streams=1, n_frames=1), 0),
        Objective(task),
        fix=lambda settings: settings.replace(n_prompts=2 * settings.n_prompts),
    )
    static = task.static.replace(n_prompts=40)
    tuned = tune_frame(ChooseFilters(StaticTuner(static), task.space), evaluator)
    assert tuned.evaluation.settings.n_prompts == tuned.expense.n_prompts_decoded == 80


def test_a_little_more_reward_moves_no_filter(task):
    """In an empty field whatever is found gains a little."""
    least, gain = task.space.limits("min_plausibility")[0], LEAST_GAIN / 2

    class Context:
        frame = SyntheticBank(task, n_streams=1, n_frames=1).frame(0)

        def reward(self, settings):
            return 0.02 + gain * (settings.min_plausibility == pytest.approx(least))

    own = task.static.replace(min_plausibility=0.5)
    tuner = ChooseFilters(StaticTuner(own), task.space)
    assert tuner.propose(Context()) == own
    gain = 2 * LEAST_GAIN
    assert tuner.propose(Context()).min_plausibility == pytest.approx(least)


def test_a_task_that_fixes_its_filters_keeps_them(task):
    bank = SyntheticBank(task, n_streams=1, n_frames=1)
    content = task.to_dict()
    content["settings"] = {name: content["settings"][name] for name in ("n_prompts", "zoom")}
    fixed = Task.from_dict(content)
    (tuned,) = tune(ChooseFilters(StaticTuner(fixed.static), fixed.space), fixed, bank)
    assert tuned.expense.n_evaluations == 1 and tuned.evaluation.settings == fixed.static


def test_live_frames_are_decoded_once(task, frame, monkeypatch):
    calls, propose = [], ProposalEngine.propose
    monkeypatch.setattr(
        ProposalEngine, "propose", lambda *a, **k: calls.append(k["floor"]) or propose(*a, **k)
    )
    careless = task.static.replace(min_plausibility=0.05)
    result = Segmenter.load(task, ChooseFilters(StaticTuner(careless), task.space))(frame)
    assert len(calls) == 1
    assert result.n_evaluations > 7
    assert result.score.total >= Segmenter.load(task, careless)(frame).score.total
    # what other filters choose is what decoding for them would have given
    found = result.segmentation
    anew = Segmenter.load(task, found.settings)(frame)
    assert anew.segmentation.to_labels().tolist() == found.to_labels().tolist()
    assert anew.score.total == pytest.approx(result.score.total)


def test_masks_that_were_not_kept_are_decoded_anew(task, frame):
    source = LiveFrame(ProposalEngine(load_sam("tiny")), frame)
    gauge = Objective(task).physics.gauge(frame)
    strict = source.segment(task.static.replace(pred_iou_thresh=0.9), **gauge)
    loose = source.segment(task.static.replace(pred_iou_thresh=0.3), **gauge)
    again = source.segment(task.static.replace(pred_iou_thresh=0.9), **gauge)
    assert loose.proposals is not strict.proposals and again.proposals is loose.proposals
    assert again.to_labels().tolist() == strict.to_labels().tolist()
    cheap = source.segment(task.static.replace(pred_iou_thresh=0.9), **gauge, cost_limit=50.0)
    assert cheap.proposals.cost <= 50


def test_static_settings_have_their_filters_chosen_where_asked_for(task):
    tuner = make_tuner("static-filters", task)
    assert isinstance(tuner, ChooseFilters) and tuner.name == "static-filters"
    assert tuner.inner.settings == task.static


def test_policies_that_ship_have_their_filters_chosen():
    tuner = make_tuner("particles", load_task("particles"))
    assert isinstance(tuner, ChooseFilters) and isinstance(tuner.inner, PolicyTuner)
    assert tuner.name == "particles" and not tuner.searches
