"""One observation and one action for many tasks."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from synthetic_bank import N_CHANNELS, SyntheticBank

from samstar_rl.envs import STREAM_ID, StreamEnv, StreamOptions
from samstar_rl.envs.observation.builder import ObservationBuilder
from samstar_rl.envs.observation.schema import ObservationSchema
from samstar_rl.envs.task_union import TaskUnion
from samstar_rl.envs.wrappers import VaryTargets, vary_targets
from samstar_rl.tasks.shipped import task_names
from samstar_rl.tasks.task import load_task

NAMES = ("particles", "overlap", "morphology")


@pytest.fixture(scope="module")
def tasks():
    return [load_task(name) for name in NAMES]


@pytest.fixture(scope="module")
def union(tasks):
    return TaskUnion.of(tasks)


@pytest.fixture(scope="module", params=NAMES)
def env(request, union):
    task = load_task(request.param)
    bank = SyntheticBank(task, n_streams=2, n_frames=3)
    return VaryTargets(
        gymnasium.make(STREAM_ID, task=task, bank=bank, options=StreamOptions(union=union)), 0.25
    )


def test_the_union_holds_what_any_task_leaves_free(tasks, union):
    assert set(union.settings) == {name for task in tasks for name in task.space.names}
    assert set(union.terms) == {name for task in tasks for name in task.terms}
    assert TaskUnion.of(tasks[::-1]) == union
    assert TaskUnion.from_dict(union.to_dict()) == union


def test_settings_survive_the_way_through_the_action(tasks, union):
    for task in tasks:
        action = union.encode(task.space, task.static)
        decoded = union.decode(task.space, action)
        assert task.space.encode(decoded) == pytest.approx(task.space.encode(task.static), abs=1e-5)


def test_entries_mean_a_place_in_the_tasks_own_range(tasks, union):
    highest = np.ones(union.n)
    for task in tasks:
        settings = union.decode(task.space, highest)
        for name in task.space.names:
            assert getattr(settings, name) == pytest.approx(task.space.limits(name)[1])


def test_what_a_task_fixes_is_ignored_and_flagged(tasks, union):
    task = tasks[0]
    fixed = [name not in task.space.free for name in union.settings]
    assert any(fixed)
    action = union.encode(task.space, task.static)
    other = np.where(fixed, 1.0, action)
    assert union.decode(task.space, action) == union.decode(task.space, other)
    assert (union.free(task.space) == 0).tolist() == fixed


def test_settings_that_the_union_does_not_know_stay_static(tasks):
    small = TaskUnion(("pred_iou_thresh",), ("contrast",))
    settings = small.decode(tasks[0].space, [-1.0])
    assert settings == tasks[0].static.replace(pred_iou_thresh=settings.pred_iou_thresh)
    assert small.serves(tasks[0])
    assert not TaskUnion(("crop_n_layers",), ()).serves(tasks[0])


def test_a_union_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        TaskUnion.of([])
    with pytest.raises(ValueError, match="unknown"):
        TaskUnion.from_dict({"settings": ["nope"], "terms": []})


@pytest.mark.filterwarnings("error")
def test_checkers_pass_without_warnings(env):
    check_env(env.unwrapped, skip_render_check=True)
    check_env_sb3(env.unwrapped)


def test_all_tasks_share_one_observation_and_action(env, tasks, union):
    assert env.observation_space.shape == (
        ObservationSchema.for_task(tasks[0], N_CHANNELS, union=union).size,
    )
    assert env.action_space.shape == (union.n,)


def test_the_observation_tells_which_settings_are_free(env, union):
    task, schema = env.unwrapped.task, env.unwrapped.schema
    observation, _ = env.reset(seed=0)
    block = dict(zip(schema["free"].entries, observation[schema["free"].slice], strict=True))
    for name in union.settings:
        assert block[name] == float(name in task.space.free)
    low, high = block["min_diameter_low"], block["min_diameter_high"]
    assert (0 < low < high) if "min_diameter" in task.space.free else low == high == 0


def test_the_last_frame_is_told_in_the_unions_words(env, union):
    task, schema = env.unwrapped.task, env.unwrapped.schema
    env.reset(seed=0)
    action = union.encode(task.space, task.static)
    observation, _, _, _, info = env.step(action)
    assert observation[schema["last_settings"].slice] == pytest.approx(action, abs=1e-5)
    told = dict(
        zip(schema["last_terms"].entries, observation[schema["last_terms"].slice], strict=True)
    )
    for name in union.terms:
        assert told[name] == pytest.approx(info["terms"].get(name, 0.0))


def test_targets_vary_from_episode_to_episode_in_reward_and_observation(env):
    unwrapped = env.unwrapped
    seen, rewards = [], []
    for seed in range(3):
        observation, _ = env.reset(seed=seed, options={"start": 0})
        seen.append(observation[unwrapped.schema["targets"].slice])
        told = unwrapped.objective.task.target_vector(unwrapped._frames.source(0).frame)
        np.testing.assert_allclose(seen[-1], told, rtol=1e-5)
        rewards.append(env.step(np.zeros(env.action_space.shape, np.float32))[1])
    assert not np.array_equal(seen[0], seen[1])
    assert len(set(rewards)) == 3


def test_single_task_observations_are_what_they_were(tasks):
    schema = ObservationSchema.for_task(tasks[0], N_CHANNELS)
    assert [block.name for block in schema.blocks] == [
        "image", "foreground", "embedding", "gaze", "targets", "budget", "last_settings",
        "last_terms", "last_cost", "has_last",
    ]  # fmt: skip
    builder = ObservationBuilder(tasks[0], N_CHANNELS)
    assert builder.n_actions == tasks[0].space.n


@pytest.mark.parametrize("name", task_names())
def test_variation_stays_within_its_share(name):
    task = load_task(name)
    rng = np.random.default_rng(0)
    assert vary_targets(task, rng, 0.0) is task
    for _ in range(20):
        varied = vary_targets(task, rng, 0.25)
        assert varied.sample == task.sample
        assert varied.space is task.space
        for term, target in task.terms.items():
            ratio = varied.terms[term].weight / target.weight
            assert 1 / 1.2501 <= ratio <= 1.2501
        if "size" in task.terms:
            ratio = varied.terms["size"].median_diameter / task.terms["size"].median_diameter
            assert 1 / 1.2501 <= ratio <= 1.2501
            assert varied.terms["size"].geometric_std > 1
        type(task).from_dict(varied.to_dict())  # it is a task that a file could hold


def test_variation_is_seeded(tasks):
    first, second = (vary_targets(tasks[1], np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert len(first.target_vector_names()) == len(first.target_vector(bank_frame(tasks[1])))


def bank_frame(task):
    return SyntheticBank(task, n_streams=1, n_frames=1).frame(0)


def test_bad_variation_is_refused(tasks):
    bank = SyntheticBank(tasks[0], n_streams=1, n_frames=1)
    with pytest.raises(ValueError, match="variation"):
        VaryTargets(StreamEnv(tasks[0], bank), 1.5)
    with pytest.raises(ValueError, match="variation"):
        vary_targets(tasks[0], np.random.default_rng(0), -0.1)
