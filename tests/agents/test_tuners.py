from __future__ import annotations

import numpy as np
import pytest
from synthetic_bank import N_CHANNELS, VIEW_COST, SyntheticBank

from samstar_rl.agents.judging.judge import Judge, summarise
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuners.fixed import RandomTuner, default_tuner
from samstar_rl.agents.tuners.policy import LookingTuner, PolicyTuner
from samstar_rl.agents.tuners.search import SearchTuner
from samstar_rl.bank.simulated import with_ladder
from samstar_rl.envs import StreamEnv, StreamOptions, TuningEnv
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
    bank = SyntheticBank(with_ladder(objective.task, [32]), n_streams=1, n_frames=1)
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


def test_each_zoom_is_charged_for_its_longest_prefix_and_the_whole_frame_once(
    task, bank, objective
):
    evaluate = FrameEvaluator(BankFrame(bank, 0), objective)
    for n_prompts, threshold in ((64, 0.1), (40, 0.2), (64, 0.3)):
        evaluate(task.static.replace(n_prompts=n_prompts, pred_iou_thresh=threshold))
    assert evaluate.expense.cost == VIEW_COST + 64
    evaluate(task.static.replace(n_prompts=100))
    assert evaluate.expense.cost == VIEW_COST + 100
    evaluate(task.static.replace(n_prompts=30, zoom=2))
    assert evaluate.expense.cost == VIEW_COST + 100 + VIEW_COST + 30
    assert evaluate.expense.n_prompts_decoded == 130
    assert evaluate.expense.n_evaluations == 5
    evaluate(task.static.replace(n_prompts=30, zoom=2))
    assert evaluate.expense.n_evaluations == 5


def test_a_grid_costs_its_prompts_and_the_whole_frames_view(objective):
    task = with_ladder(objective.task, [8, 16])
    evaluate = FrameEvaluator(
        BankFrame(SyntheticBank(task, n_streams=1, n_frames=1), 0), objective, cost_limit=50
    )
    evaluation = evaluate(task.static.replace(points_per_side=8))
    assert evaluation.cost == VIEW_COST + 8 * 8
    assert evaluation.reward == pytest.approx(evaluation.score.total - 0.02 * 0.1)


def test_the_context_tells_the_budget(task, bank, objective):
    limited = FrameEvaluator(BankFrame(bank, 0), objective, cost_limit=90)
    assert FrameContext(limited).budget == 90
    assert FrameContext(FrameEvaluator(BankFrame(bank, 0), objective)).budget == np.inf
    (tuned, *_) = run_tuner(
        StaticTuner(task.static), [BankFrame(bank, 0)], objective, cost_limit=100
    )
    assert tuned.evaluation.cost == tuned.expense.cost == 100


def test_warm_search_begins_with_the_last_population(task, bank, objective):
    tuner = SearchTuner(task, n_evaluations=60, warm=True)
    tune(tuner, bank, objective)
    assert len(tuner._survivors) == 20
    tuner.reset()
    assert tuner._survivors is None


def test_random_settings_lie_within_the_bounds(task, bank, objective):
    for tuned in tune(RandomTuner(task, seed=1), bank, objective):
        settings = tuned.evaluation.settings
        assert any(held.holds(settings.prompt) for held in task.space.prompts())


def test_policy_tuner_sees_what_the_environment_shows(task, bank):
    env = StreamEnv(task, bank, options=StreamOptions(window=3))
    seen = []

    def act(observation):
        seen.append(observation)
        return np.full(task.space.n, 0.1, dtype=np.float32)

    tuner = PolicyTuner(act, ObservationBuilder(task, N_CHANNELS))
    tune(tuner, bank, env.objective)
    observation, _ = env.reset(seed=0, options={"start": 0, "budget": np.inf})
    for own in seen:
        np.testing.assert_allclose(own, observation, atol=1e-6)
        observation, *_ = env.step(np.full(task.space.n, 0.1, dtype=np.float32))


def test_looking_tuner_does_what_the_environment_does(task, bank):
    """The same policy in `Tuning-v1` and as a tuner: same observations, cost and score."""
    env = TuningEnv(task, bank)
    rng = np.random.default_rng(0)
    answers = rng.uniform(-1, 1, (8, task.space.n + 1)).astype(np.float32)
    answers[:, -1] = [-1, -1, -1, 1, -1, -1, -1, -1]
    seen, shown = [], [env.reset(options={"frame": 0, "budget": 700})[0]]

    def act(observation):
        seen.append(observation)
        return answers[len(seen) - 1]

    for answer in answers:
        observation, _, terminated, _, info = env.step(answer)
        if terminated:
            break
        shown.append(observation)
    tuner = LookingTuner(act, ObservationBuilder(task, N_CHANNELS, tuning=True))
    (tuned,) = run_tuner(tuner, [BankFrame(bank, 0)], env.objective, cost_limit=700)
    np.testing.assert_allclose(seen, shown, atol=1e-6)
    assert tuned.evaluation.score.total == info["score"]
    assert tuned.expense.cost == tuned.evaluation.cost == info["cost"]
    assert tuned.expense.n_evaluations == info["n_looks"] == 4


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
    assert (rows["cost"] == rows["n_prompts"] + VIEW_COST).all()
    assert (rows["budget"] == np.inf).all() and (rows["stopped_by"] == "n_prompts").all()
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
