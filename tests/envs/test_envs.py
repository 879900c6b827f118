from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from synthetic_bank import VIEW_COST, SyntheticBank

import samstar_rl.envs
from samstar_rl.envs import STREAM_ID, TUNING_ID, StreamEnv, StreamOptions, TuningEnv
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
        if terminated or truncated:
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
    env = StreamEnv(task, bank, options=StreamOptions(window=3))
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
    env = HideLastFrame(StreamEnv(task, bank, options=StreamOptions(window=4)), 0.5)
    flags, start = [], env.unwrapped.schema["has_last"].start
    for episode in range(20):
        env.reset(seed=episode)
        for _ in range(3):
            flags.append(env.step(task.space.encode(task.static))[0][start])
    assert 0.3 < np.mean(flags) < 0.7


def test_what_is_hidden_is_as_if_there_had_been_no_last_frame(task, bank):
    env = HideLastFrame(StreamEnv(task, bank, options=StreamOptions(window=4)), 1.0)
    env.reset(seed=0)
    observation = env.step(task.space.encode(task.static))[0]
    for name in ("last_settings", "last_terms", "last_cost", "has_last"):
        assert not observation[env.unwrapped.schema[name].slice].any()
    with pytest.raises(ValueError, match=r"\[0, 1\], got 2"):
        HideLastFrame(StreamEnv(task, bank), 2.0)


def test_reward_is_the_score_less_the_price_of_the_cost(task, bank):
    env = StreamEnv(task, bank, options=StreamOptions(price=0.3))
    env.reset(seed=0, options={"budget": np.inf})
    _, reward, _, _, info = env.step(task.space.encode(task.static))
    assert info["n_prompts_decoded"] == task.static.n_prompts
    assert info["cost"] == VIEW_COST + task.static.n_prompts
    assert info["stopped_by"] == "n_prompts"
    assert reward == pytest.approx(info["score"] - 0.3 * info["cost"] / 1000)


def test_the_budget_ends_decoding_and_is_shown(task, bank):
    env = StreamEnv(task, bank)
    shown = env.schema["budget"].start
    observation, info = env.reset(seed=0, options={"budget": 100.0})
    assert info["budget"] == 100.0
    assert -1 < observation[shown] < 0
    observation, _, _, _, info = env.step(task.space.encode(task.static))
    assert info["cost"] == 100.0
    assert info["n_prompts_decoded"] == 100 - VIEW_COST
    assert info["stopped_by"] == "budget"
    assert observation[env.schema["last_cost"].slice] == pytest.approx(np.log(101), abs=1e-5)
    assert env.reset(options={"budget": np.inf})[0][shown] == 1.0
    assert env.reset(options={"budget": 60})[0][shown] == -1.0


def test_budgets_are_drawn_log_uniformly(task, bank):
    env = StreamEnv(task, bank)
    drawn = [env.reset(seed=seed)[1]["budget"] for seed in range(300)]
    assert 60 <= min(drawn) < 70
    assert 1700 < max(drawn) <= 2000
    assert np.median(drawn) == pytest.approx(np.sqrt(60 * 2000), rel=0.3)
    fixed = StreamEnv(task, bank, options=StreamOptions(budget=300))
    assert {fixed.reset(seed=seed)[1]["budget"] for seed in range(4)} == {300.0}


def test_stream_v0_names_its_successor():
    with pytest.raises(gymnasium.error.DeprecatedEnv, match="Stream-v1"):
        gymnasium.make("samstar_rl.envs:samstar/Stream-v0")


def test_actions_do_not_change_the_frames(task, bank):
    frames = []
    for action in (-1.0, 1.0):
        env = StreamEnv(task, bank, options=StreamOptions(window=4))
        env.reset(seed=5)
        filled = np.full(env.action_space.shape, action, dtype=np.float32)
        frames.append([env.step(filled)[4]["frame_id"] for _ in range(4)])
    assert frames[0] == frames[1]


def test_windows_stay_within_streams():
    assert windows((range(0, 3), range(3, 4)), 2).tolist() == [[0, 2], [1, 3], [3, 4]]


def look(task, n_prompts, zoom, enough=-1.0):
    settings = task.static.replace(n_prompts=n_prompts, zoom=zoom)
    return np.append(task.space.encode(settings), np.float32(enough))


def test_tuning_rewards_add_up_to_what_the_looks_came_to(task, bank):
    env = TuningEnv(task, bank, options=StreamOptions(price=0.1))
    observation, info = env.reset(seed=2, options={"frame": 1, "budget": 400})
    assert observation[env.schema["has_last"].start] == 0
    rewards, costs, n_masks = [], [], []
    for action in (look(task, 30, 2), look(task, 60, 1), look(task, 90, 2, enough=0.5)):
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        costs.append(info["cost"])
        n_masks.append(info["n_masks"])
        assert not truncated
        assert terminated == (len(rewards) == 3)
    # a view of the whole frame, one of a tile, and each prompt once
    assert costs == [2 * VIEW_COST + 30, 2 * VIEW_COST + 90, 2 * VIEW_COST + 150]
    assert info["n_looks"] == 3
    assert info["n_prompts_decoded"] == 150
    assert sum(rewards) == pytest.approx(info["score"] - 0.1 * costs[-1] / 1000)
    assert observation[env.schema["last_cost"].slice] == pytest.approx(np.log1p(costs[-1]))
    assert n_masks == sorted(n_masks)


def test_looks_pool_their_masks_and_lose_duplicates(task, bank):
    """Looks at two zooms find at most the discs there are, and more than the poorer of them."""
    env = TuningEnv(task, bank)
    single = []
    for zoom in (1, 2):
        env.reset(seed=0, options={"frame": 0, "budget": np.inf})
        single.append(env.step(look(task, 40, zoom))[4]["n_masks"])
    env.reset(seed=0, options={"frame": 0, "budget": np.inf})
    env.step(look(task, 40, 1))
    both = env.step(look(task, 40, 2))[4]["n_masks"]
    assert max(single) <= both < sum(single)


def test_tuning_ends_when_the_budget_is_used_up(task, bank):
    env = TuningEnv(task, bank)
    env.reset(seed=0, options={"frame": 0, "budget": 120})
    _, _, terminated, _, info = env.step(look(task, 50, 1))
    assert (terminated, info["cost"]) == (False, VIEW_COST + 50)
    observation, _, terminated, _, info = env.step(look(task, 200, 1))
    assert (terminated, info["cost"], info["stopped_by"]) == (True, 120, "budget")
    assert observation[env.schema["search"].start] == 0


def test_tuning_ends_after_eight_looks(task, bank):
    env = TuningEnv(task, bank)
    env.reset(seed=0, options={"budget": np.inf})
    ends = [env.step(look(task, 12 + k, 1))[2] for k in range(8)]
    assert ends == [False] * 7 + [True]


@pytest.mark.parametrize("env_id", IDS)
def test_picture(env_id, task, bank):
    env = gymnasium.make(env_id, task=task, bank=bank, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(env.action_space.sample())
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
            _, _, terminated, _, info = env.step(env.action_space.sample())
            shapes.add(env.render().shape)
            if terminated:
                break
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
    [({"render_mode": "human"}, "render_mode"), ({"streams": [range(3, 99)]}, "streams")],
)
def test_bad_arguments_are_refused(arguments, message, task, bank):
    with pytest.raises(ValueError, match=message):
        StreamEnv(task, bank, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "window"),
        ({"price": -1.0}, "price"),
        ({"budget": 0}, "budget"),
        ({"budget": (300, 100)}, "budget"),
        ({"budget": "much"}, "budget"),
    ],
)
def test_bad_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StreamOptions(**arguments)


def test_the_class_docstring_lists_every_block(task):
    schema = StreamEnv(task, SyntheticBank(task, n_streams=1, n_frames=1)).schema
    for block in schema.blocks:
        assert f"| {block.name} |" in StreamEnv.__doc__
    assert samstar_rl.envs.StreamEnv is StreamEnv
