from __future__ import annotations

import numpy as np
import pytest
from synthetic_bank import N_CHANNELS, SyntheticBank

from samstar_rl.agents.judging.judge import Judge, summarise
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuners.fixed import RandomTuner, default_tuner
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.agents.tuners.search import SearchTuner
from samstar_rl.envs import StreamEnv
from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.envs.observation.builder import ObservationBuilder
from samstar_rl.settings import Settings
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameContext, FrameEvaluator, StaticTuner, run_tuner


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


@pytest.fixture(scope="module")
def bank(task):
    return SyntheticBank(task, n_streams=2, n_frames=3)


@pytest.fixture(scope="module")
def objective(task):
    return Objective(task)


def tune(tuner, bank, objective):
    return list(run_tuner(tuner, [BankFrame(bank, i) for i in bank.streams[0]], objective))


def test_default_settings_are_sams(bank, objective):
    assert default_tuner().settings == Settings()
    (tuned, *_) = tune(default_tuner(), bank, objective)
    assert tuned.evaluation.settings == Settings()
    assert tuned.expense.n_evaluations == 1
    assert tuned.expense.n_prompts_decoded == 32 * 32


@pytest.mark.parametrize("algorithm", ["genetic", "refined"])
def test_search_is_never_worse_than_static_and_spends_its_budget(algorithm, task, bank, objective):
    static = tune(StaticTuner(task.static), bank, objective)
    searched = tune(SearchTuner(task, algorithm, n_evaluations=60), bank, objective)
    for one, other in zip(static, searched, strict=True):
        assert other.evaluation.reward >= one.evaluation.reward
        assert 1 < other.expense.n_evaluations <= 60
        assert other.expense.n_probe_prompts == 0


def test_prompts_are_charged_once_for_each_choice(task, bank, objective):
    evaluator = FrameEvaluator(BankFrame(bank, 0), objective)
    for threshold in (0.1, 0.2, 0.3):
        evaluator(task.static.replace(points_per_side=8, pred_iou_thresh=threshold))
    evaluator(task.static.replace(points_per_side=16))
    assert evaluator.expense.n_prompts_decoded == 8 * 8 + 16 * 16
    assert evaluator.expense.n_evaluations == 4
    evaluator(task.static.replace(points_per_side=16))
    assert evaluator.expense.n_evaluations == 4


def test_looking_at_the_features_is_charged(task, bank, objective):
    evaluator = FrameEvaluator(BankFrame(bank, 0), objective)
    context = FrameContext(evaluator)
    assert evaluator.expense.n_prompts_decoded == 0
    _ = context.features
    assert evaluator.expense.n_prompts_decoded == 16


def test_warm_search_begins_with_the_last_population(task, bank, objective):
    tuner = SearchTuner(task, n_evaluations=60, warm=True)
    tune(tuner, bank, objective)
    assert len(tuner._survivors) == 20
    tuner.reset()
    assert tuner._survivors is None


def test_random_settings_lie_within_the_bounds(task, bank, objective):
    for tuned in tune(RandomTuner(task, seed=1), bank, objective):
        settings = tuned.evaluation.settings
        assert settings.prompt in task.space.prompts()


def test_policy_tuner_sees_what_the_environment_shows(task, bank):
    env = StreamEnv(task, bank, window=3)
    seen = []

    def act(observation):
        seen.append(observation)
        return np.full(task.space.n, 0.1, dtype=np.float32)

    tuner = PolicyTuner(act, ObservationBuilder(task, N_CHANNELS))
    tune(tuner, bank, env.objective)
    observation, _ = env.reset(seed=0, options={"start": 0})
    for own in seen:
        np.testing.assert_allclose(own, observation, atol=1e-6)
        observation, *_ = env.step(np.full(task.space.n, 0.1, dtype=np.float32))


def test_known_frames_give_the_same_observation(task, bank, objective):
    frames = BankFrames(bank, task)
    looked_up, computed = [], []
    for seen, given in ((looked_up, frames), (computed, None)):
        tuner = PolicyTuner(
            lambda o, seen=seen: seen.append(o) or np.zeros(task.space.n, np.float32),
            frames.builder,
            frames=given,
        )
        list(run_tuner(tuner, map(frames.source, bank.streams[0]), objective))
    np.testing.assert_array_equal(looked_up, computed)


def test_judge_measures_against_truth_and_charges(task, bank, objective):
    rows = Judge(bank, objective).judge(StaticTuner(task.static), seed=7)
    assert len(rows) == len(bank)
    assert set(rows["seed"]) == {7}
    assert rows["f1"].between(0, 1).all()
    assert (rows["n_evaluations"] == 1).all()
    assert (rows["cost"] == rows["n_prompts"]).all()  # views of this bank cost nothing
    assert (rows["budget"] == np.inf).all() and (rows["stopped_by"] == "grid").all()
    summary = summarise(rows)
    assert summary["score"][0] == pytest.approx(rows["score"].mean())


def test_judge_does_without_truth(task, objective):
    bank = SyntheticBank(task, n_streams=1, n_frames=2, truth=False)
    rows = Judge(bank, objective).judge(StaticTuner(task.static))
    assert "f1" not in rows.columns


def test_static_search_beats_where_it_starts(task, bank, objective):
    sources = [BankFrame(bank, i) for i in range(len(bank))]
    rounds = []
    found = search_static(
        sources, objective, n_evaluations=300, seed=0, on_round=lambda *point: rounds.append(point)
    )
    static = np.mean([FrameEvaluator(s, objective)(task.static).reward for s in sources])
    mean = np.mean([FrameEvaluator(s, objective)(found.settings).reward for s in sources])
    assert found.reward == pytest.approx(mean)
    assert found.reward >= static
    assert found.n_evaluations <= 300
    assert [point[0] for point in rounds] == sorted(point[0] for point in rounds)


def test_static_search_needs_a_budget(task, bank, objective):
    with pytest.raises(ValueError, match="too few"):
        search_static([BankFrame(bank, 0)] * 6, objective, n_evaluations=7)


def test_unknown_algorithm_is_refused(task):
    with pytest.raises(ValueError, match="genetic, refined"):
        SearchTuner(task, "annealing")
