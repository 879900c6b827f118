from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from synthetic_bank import SyntheticBank

import samstar_rl.envs
from samstar_rl.envs import STREAM_ID, TUNING_ID, StreamEnv, TuningEnv
from samstar_rl.envs.opening import windows
from samstar_rl.envs.wrappers import HideLastFrame
from samstar_rl.tasks.task import load_task

IDS = (STREAM_ID, TUNING_ID)


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


@pytest.fixture(scope="module")
def bank(task):
    return SyntheticBank(task, n_streams=2, n_frames=4)


def run(env, seed, n_steps=12):
    """Observations, rewards and ends of a trajectory of random actions."""
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    trail = [observation]
    for _ in range(n_steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        trail += [observation, reward, terminated, truncated]
        if truncated:
            trail.append(env.reset()[0])
    return trail


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.filterwarnings("error")
def test_checkers_pass_without_warnings(env_id, task, bank):
    env = gymnasium.make(f"samstar_rl.envs:{env_id}", task=task, bank=bank, render_mode="rgb_array")
    check_env(env.unwrapped)
    check_env_sb3(env.unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_same_seed_same_trajectory(env_id, task, bank):
    first, second = (gymnasium.make(env_id, task=task, bank=bank) for _ in range(2))
    assert_same(run(first, seed=3), run(second, seed=3))


@pytest.mark.parametrize("kind", [StreamEnv, TuningEnv])
def test_truth_changes_nothing(kind, task, bank):
    blind = SyntheticBank(task, n_streams=2, n_frames=4, truth=False)
    assert_same(run(kind(task, bank), seed=1), run(kind(task, blind), seed=1))


@pytest.mark.parametrize("kind", [StreamEnv, TuningEnv])
def test_truth_is_never_asked_for(kind, task, monkeypatch):
    bank = SyntheticBank(task, n_streams=1, n_frames=2)
    monkeypatch.setattr(bank, "truth", lambda index: pytest.fail("truth was read"))
    run(kind(task, bank), seed=1)


def test_stream_runs_through_a_window_and_is_truncated(task, bank):
    env = StreamEnv(task, bank, window=3)
    observation, info = env.reset(seed=0, options={"start": 4})
    assert info["frame_index"] == 4
    assert observation[env.schema["has_last"].start] == 0
    seen, ends = [], []
    for _ in range(3):
        observation, _, terminated, truncated, info = env.step(task.space.encode(task.static))
        seen.append(info["frame_index"])
        ends.append((terminated, truncated))
        assert observation[env.schema["has_last"].start] == 1
    assert seen == [4, 5, 6]
    assert ends == [(False, False), (False, False), (False, True)]


def test_stream_shows_the_last_settings_and_terms(task, bank):
    env = StreamEnv(task, bank)
    env.reset(seed=0)
    action = task.space.encode(task.static)
    observation, _, _, _, info = env.step(action)
    assert observation[env.schema["last_settings"].slice] == pytest.approx(action, abs=1e-6)
    terms = [*info["terms"].values(), info["score"]]
    assert observation[env.schema["last_terms"].slice] == pytest.approx(terms, abs=1e-6)


def test_the_last_frame_is_hidden_at_random(task, bank):
    env = HideLastFrame(StreamEnv(task, bank, window=4), 0.5)
    flags, start = [], env.unwrapped.schema["has_last"].start
    for episode in range(20):
        env.reset(seed=episode)
        for _ in range(3):
            flags.append(env.step(task.space.encode(task.static))[0][start])
    assert 0.3 < np.mean(flags) < 0.7


def test_what_is_hidden_is_as_if_there_had_been_no_last_frame(task, bank):
    env = HideLastFrame(StreamEnv(task, bank, window=4), 1.0)
    env.reset(seed=0)
    observation = env.step(task.space.encode(task.static))[0]
    for name in ("last_settings", "last_terms", "has_last"):
        assert not observation[env.unwrapped.schema[name].slice].any()
    with pytest.raises(ValueError, match=r"\[0, 1\], got 2"):
        HideLastFrame(StreamEnv(task, bank), 2.0)


def test_reward_is_the_score_less_the_cost_of_prompts(task, bank):
    env = StreamEnv(task, bank, cost_weight=0.3)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(task.space.encode(task.static))
    probe, dearest = 16, 32 * 32
    assert info["n_prompts_decoded"] == task.static.prompt.most_prompts + probe
    cost = 0.3 * info["n_prompts_decoded"] / dearest
    assert reward == pytest.approx(info["score"] - cost)


def test_actions_do_not_change_the_frames(task, bank):
    frames = []
    for action in (-1.0, 1.0):
        env = StreamEnv(task, bank, window=4)
        env.reset(seed=5)
        filled = np.full(env.action_space.shape, action, dtype=np.float32)
        frames.append([env.step(filled)[4]["frame_id"] for _ in range(4)])
    assert frames[0] == frames[1]


def test_windows_stay_within_streams():
    assert windows((range(0, 3), range(3, 4)), 2).tolist() == [[0, 2], [1, 3], [3, 4]]


def test_tuning_rewards_add_up_to_the_gain_over_static(task, bank):
    env = TuningEnv(task, bank, cost_weight=0.0)
    _, info = env.reset(seed=2, options={"frame": 1})
    static_score, rewards, scores = info["score"], [], []
    env.action_space.seed(0)
    for step in range(5):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        rewards.append(reward)
        scores.append(info["score"])
        assert (terminated, truncated) == (False, step == 4)
    assert min(rewards) >= 0
    assert info["best_score"] == pytest.approx(max([static_score, *scores]))
    assert sum(rewards) == pytest.approx(info["best_score"] - static_score)


def test_tuning_shows_the_search(task, bank):
    env = TuningEnv(task, bank)
    observation, info = env.reset(seed=0)
    assert observation[env.schema["search"].slice] == pytest.approx([info["best_score"], 1.0])
    observation, *_, info = env.step(env.action_space.sample())
    assert observation[env.schema["search"].slice] == pytest.approx([info["best_score"], 0.8])


@pytest.mark.parametrize("env_id", IDS)
def test_picture(env_id, task, bank):
    env = gymnasium.make(env_id, task=task, bank=bank, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(task.space.encode(task.static))
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert picture.shape == before.shape


@pytest.mark.parametrize("env_id", IDS)
def test_pictures_of_mixed_frames_have_one_shape(env_id, task):
    bank = SyntheticBank(task, n_streams=1, n_frames=4, mixed=True)
    env = gymnasium.make(env_id, task=task, bank=bank, render_mode="rgb_array")
    shapes, shown = set(), set()
    for seed in range(8):
        _, info = env.reset(seed=seed)
        shapes.add(env.render().shape)
        for _ in range(3):
            shown.add(bank.frame(info["frame_index"]).shape)
            *_, info = env.step(env.action_space.sample())
            shapes.add(env.render().shape)
    assert len(shown) == 2
    assert len(shapes) == 1


@pytest.mark.parametrize("env_id", IDS)
def test_vectorised(env_id, task, bank):
    envs = gymnasium.make_vec(env_id, num_envs=2, task=task, bank=bank)
    observations, _ = envs.reset(seed=0)
    assert observations.shape[0] == 2
    _, rewards, *_ = envs.step(envs.action_space.sample())
    assert rewards.shape == (2,)


def test_a_bank_without_the_tasks_prompts_is_refused(task):
    bank = SyntheticBank(task, n_streams=1, n_frames=1)
    bank.prompts = bank.prompts[:1]
    with pytest.raises(ValueError, match="lacks the prompt settings"):
        StreamEnv(task, bank)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "window"),
        ({"cost_weight": -1.0}, "cost_weight"),
        ({"render_mode": "human"}, "render_mode"),
        ({"streams": [range(3, 99)]}, "streams"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, task, bank):
    with pytest.raises(ValueError, match=message):
        StreamEnv(task, bank, **arguments)


def test_the_class_docstring_lists_every_block(task):
    schema = StreamEnv(task, SyntheticBank(task, n_streams=1, n_frames=1)).schema
    for block in schema.blocks:
        assert f"| {block.name} |" in StreamEnv.__doc__
    assert samstar_rl.envs.StreamEnv is StreamEnv
