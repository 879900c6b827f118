from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_bank import SyntheticBank

from samstar_rl.agents.judging.judge import Judge
from samstar_rl.agents.learning import train as training
from samstar_rl.agents.learning.hyperparameters import ALGORITHMS as KNOWN
from samstar_rl.agents.learning.hyperparameters import (
    AlgorithmError,
    HyperparameterError,
    algorithm_name,
    load_hyperparameters,
)
from samstar_rl.agents.learning.learners import CLIPPED, algorithm_class, to_network
from samstar_rl.agents.learning.plan import TrainingPlan
from samstar_rl.agents.learning.train import (
    TrainingError,
    _Monitor,
    _Run,
    _TaskFrames,
    bundle_trained,
    train_policy,
)
from samstar_rl.agents.registry import make_tuner
from samstar_rl.agents.tuners.fixed import RandomTuner
from samstar_rl.agents.tuners.policy import LookingTuner, PolicyTuner
from samstar_rl.bank.split import split_streams
from samstar_rl.envs import TUNING_ID
from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator, StaticTuner, run_tuner

ALGORITHMS = ("ppo", "sac", "td3", "trpo", "tqc")
LEARNED = ("ppo", "sac")


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


@pytest.fixture(scope="module")
def bank(task):
    return SyntheticBank(task, n_streams=3, n_frames=3)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def make_plan(algorithm, **overrides):
    small = {"total_steps": 64, "n_envs": 2, "net_arch": [8]}
    small |= {"gaze_share": 0.0} if algorithm in CLIPPED else {}
    small |= {"ppo": {"n_steps": 8, "batch_size": 16, "n_epochs": 2}}.get(algorithm, {})
    small |= {"trpo": {"n_steps": 8, "batch_size": 16}}.get(algorithm, {})
    if algorithm in ("sac", "td3", "tqc"):
        small |= {"learning_starts": 16, "batch_size": 16}
    hyperparameters = load_hyperparameters(algorithm, overrides=small | overrides)
    return TrainingPlan(algorithm, hyperparameters, seed=3)


def assert_same_network(first, second):
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(first.biases, second.biases, strict=True):
        np.testing.assert_array_equal(one, other)


def without_seconds(curve):
    return [{k: v for k, v in point.items() if k != "seconds"} for point in curve]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_untrained_policy_is_the_static_settings(algorithm, task, bank, tmp_path):
    run = _Run([(task, bank)], make_plan(algorithm), tmp_path)
    network = run.network()
    observations = np.random.default_rng(0).normal(size=(20, network.n_observations))
    for action in network(observations.astype(np.float32)):
        np.testing.assert_allclose(action, task.space.encode(task.static), atol=1e-6)


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_training_starts_from_searched_settings(algorithm, task, bank, tmp_path):
    plan = make_plan(algorithm, total_steps=600, start_share=0.5)
    run = _Run([(task, bank)], plan, tmp_path / "run")
    assert 0 < run.n_searched <= 300
    assert run.learner.num_timesteps == run.n_searched
    searched = task.space.decode(run.centre)
    frames = run.task_frames[0].frames
    sources = [frames.source(index) for stream in run.task_frames[0].training for index in stream]

    def reward(settings):
        return np.mean([FrameEvaluator(s, Objective(task))(settings).reward for s in sources])

    assert reward(searched) >= reward(task.static)
    trained = train_policy(task, bank, plan, tmp_path / "whole")
    statics, start, *_ = trained.progress.curve
    assert statics["steps"] == 0 and start["steps"] == run.n_searched
    assert trained.progress.steps >= 600


def test_ppo_starts_from_the_gaze_that_full_information_finds(task, bank, tmp_path):
    plan = make_plan("ppo", total_steps=2000, start_share=0.0, gaze_share=0.5)
    shares = []
    run = _Run([(task, bank)], plan, tmp_path, on_share=shares.append)
    assert 0 < run.n_searched <= 1000 + 200  # the last frame is finished
    assert shares == sorted(shares) and shares[-1] == run.n_searched / 2000
    network, frames = run.network(), run.task_frames[0].frames
    static = task.space.encode(task.static)
    moved = [task.space.names.index(name) for name in ("n_prompts", "zoom")]
    low, high = (network(frames.builder.build(frames.part(0), budget)) for budget in (60.0, 2000.0))
    np.testing.assert_allclose(np.delete(low, moved), np.delete(static, moved), atol=1e-6)
    assert np.abs(low - high)[moved].max() > 0.05  # what a frame may cost decides


@pytest.mark.parametrize("is_better", [False, True])
def test_a_fitted_gaze_is_kept_unless_another_policy_is_clearly_better(
    task, bank, tmp_path, monkeypatch, is_better
):
    monkeypatch.setattr(_TaskFrames, "is_clearly_better", lambda self, one, other: is_better)
    runs = []
    finish = _Monitor.finish
    monkeypatch.setattr(_Monitor, "finish", lambda self: (finish(self), runs.append(self.run)))
    plan = make_plan("ppo", total_steps=1200, start_share=0.0, gaze_share=0.5)
    trained = train_policy(task, bank, plan, tmp_path)
    statics, start, *_ = trained.progress.curve
    kept = not is_better and start["reward"] >= statics["reward"]
    assert (trained.network is runs[0].fitted) == kept


def test_settings_that_validate_no_better_are_not_started_from(task, bank, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "is_clearly_above", lambda differences: False)
    run = _Run([(task, bank)], make_plan("ppo", total_steps=600, start_share=0.5), tmp_path)
    assert run.n_searched > 0  # they were paid for
    np.testing.assert_allclose(run.centre, task.space.encode(task.static), atol=1e-6)


def test_filters_to_start_from_are_compared_at_the_gaze_that_was_found(
    task, bank, tmp_path, monkeypatch
):
    compared = []
    mean_rewards = _TaskFrames._mean_rewards

    def spy(self, tuner, budgets):
        compared.append((tuner.settings, tuple(budgets)))
        return mean_rewards(self, tuner, budgets)

    monkeypatch.setattr(_TaskFrames, "_mean_rewards", spy)
    _Run(
        [(task, bank)],
        make_plan("ppo", total_steps=600, start_share=0.5, gaze_share=0.25),
        tmp_path,
    )
    (found, budgets), (own, same_budgets) = compared
    assert found.prompt == own.prompt
    assert own.replace(n_prompts=task.static.n_prompts, zoom=task.static.zoom) == task.static
    assert budgets == same_budgets and len(budgets) == 1


@pytest.mark.parametrize(
    ("differences", "above"),
    [([0.1], True), ([0.0], False), ([0.1, 0.1], True), ([0.3, -0.2], False), ([0.3, 0.0], False),
     ([0.3, 0.1], True)],
)  # fmt: skip
def test_the_one_standard_error_rule(differences, above):
    assert training.is_clearly_above(np.array(differences)) is above


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_network_does_what_the_learner_does(algorithm, task, bank, tmp_path):
    run = _Run([(task, bank)], make_plan(algorithm), tmp_path)
    with torch.no_grad():
        for parameter in run.learner.policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    network = to_network(run.learner, centre=run.centre)
    frames = run.task_frames[0].frames
    observations = np.stack([frames.builder.build(frames.part(i), 300.0) for i in range(6)])
    actions, _ = run.learner.predict(observations, deterministic=True)
    if algorithm not in CLIPPED:
        actions = np.clip(run.centre + 2 * actions, -1, 1)
    np.testing.assert_allclose(network(observations), actions, atol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_same_seed_same_curve(algorithm, task, bank, tmp_path):
    first, second = (
        train_policy(task, bank, make_plan(algorithm), tmp_path / name) for name in "ab"
    )
    assert without_seconds(first.progress.curve) == without_seconds(second.progress.curve)
    assert_same_network(first.network, second.network)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_resumed_training_is_the_uninterrupted_one(algorithm, task, bank, tmp_path):
    whole = train_policy(task, bank, make_plan(algorithm), tmp_path / "whole")

    def kill(progress):
        if progress.steps >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_policy(task, bank, make_plan(algorithm), tmp_path / "part", on_progress=kill)
    resumed = train_policy(task, bank, make_plan(algorithm), tmp_path / "part", resume=True)
    assert without_seconds(resumed.progress.curve) == without_seconds(whole.progress.curve)
    assert_same_network(resumed.network, whole.network)


def test_looking_several_times_is_learned_and_bundled(task, bank, tmp_path):
    plan = replace(make_plan("ppo"), env_id=TUNING_ID)
    trained = train_policy(task, bank, plan, tmp_path)
    assert np.isfinite(trained.progress.curve[-1]["reward"])
    path = bundle_trained(trained, plan, [(task, bank)]).save(tmp_path / "policy")
    tuner = make_tuner(str(path), task, sam_sha256=bank.sam_sha256)
    assert isinstance(tuner.inner, LookingTuner)
    (tuned,) = run_tuner(tuner, [BankFrames(bank, task).source(0)], Objective(task), cost_limit=300)
    assert tuned.expense.cost <= 300


def test_single_images_teach_nothing_about_the_last_frame(task, tmp_path):
    images = SyntheticBank(task, n_streams=4, n_frames=1)
    trained = train_policy(task, images, make_plan("ppo"), tmp_path)
    builder = BankFrames(images, task).builder
    part = BankFrames(images, task).part(0)
    first = trained.network(builder.build(part, 300.0))
    last = FrameEvaluator(BankFrames(images, task).source(0), Objective(task))(task.static)
    second = trained.network(builder.build(part, 300.0, last))
    np.testing.assert_array_equal(first, second)


def test_checkpoints_hold_no_pickles(task, bank, tmp_path):
    train_policy(task, bank, make_plan("sac"), tmp_path)
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    assert {path.suffix for path in checkpoint.iterdir()} == {".pt", ".npz", ".json"}
    torch.load(checkpoint / "learner.pt", weights_only=True)
    for path in checkpoint.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays)


def test_another_trainings_checkpoint_is_refused(task, bank, tmp_path):
    train_policy(task, bank, make_plan("ppo"), tmp_path)
    with pytest.raises(TrainingError, match="hyperparameters"):
        train_policy(task, bank, make_plan("ppo", learning_rate=0.5), tmp_path, resume=True)


def test_tensorboard_has_the_shared_tags(task, bank, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_policy(task, bank, make_plan("ppo"), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"eval/score", "eval/reward", "eval_by_second/score"} <= tags
    assert events.Scalars("eval/score")[-1].step == 64


def steps_of_tags(folder):
    """Steps of each tag in the order in which they were written, over all event files."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns)
    steps = {}
    for path in files:
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return steps


@pytest.mark.parametrize("algorithm", LEARNED)
def test_curves_run_forwards_after_a_kill(algorithm, task, bank, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINTS", 3)
    overrides = {"total_steps": 192, "start_share": 0.0}
    plan = make_plan(algorithm, **overrides)
    train_policy(task, bank, plan, tmp_path / "whole")
    done = []
    step = training.StreamEnv.step

    def killed_step(env, action):
        done.append(action)
        if len(done) == 120:  # the last checkpoint is at 64 steps
            raise KeyboardInterrupt
        return step(env, action)

    with monkeypatch.context() as patched:
        patched.setattr(training.StreamEnv, "step", killed_step)
        with pytest.raises(KeyboardInterrupt):
            train_policy(task, bank, plan, tmp_path / "part")
    train_policy(task, bank, plan, tmp_path / "part", resume=True)
    whole, part = (steps_of_tags(tmp_path / name / "tensorboard") for name in ("whole", "part"))
    for tag, steps in part.items():
        assert all(later > earlier for earlier, later in itertools.pairwise(steps)), tag
    assert part["eval/score"] == whole["eval/score"]
    assert part["time/fps"][-1] > 120  # the learner's own curves go on, too


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{support!r}, {here!r}]
import test_training as tests
training = tests.training
training.CHECKPOINTS = 3
task = tests.load_task("particles")
bank = tests.SyntheticBank(task, n_streams=3, n_frames=3)
done, step = [], training.StreamEnv.step
def killed_step(env, action):
    done.append(action)
    if len(done) == 120:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(env, action)
training.StreamEnv.step = killed_step
plan = tests.make_plan("ppo", total_steps=192, start_share=0.0)
training.train_policy(task, bank, plan, Path({folder!r}))
"""


@pytest.mark.slow
def test_curves_run_forwards_after_signal_9(task, bank, tmp_path, monkeypatch):
    here = Path(__file__).parent
    code = KILLED.format(support=str(here.parent / "support"), here=str(here), folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    monkeypatch.setattr(training, "CHECKPOINTS", 3)
    plan = make_plan("ppo", total_steps=192, start_share=0.0)
    train_policy(task, bank, plan, tmp_path, resume=True)
    found = steps_of_tags(tmp_path / "tensorboard")
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert found["eval/score"][-1] == 192
    for tag, steps in found.items():
        assert all(later > earlier for earlier, later in itertools.pairwise(steps)), tag


def test_a_training_anew_leaves_no_earlier_curves(task, bank, tmp_path):
    for _ in range(2):
        train_policy(task, bank, make_plan("ppo"), tmp_path)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_streams_are_split_between_training_and_validation():
    streams = (range(0, 4), range(4, 8), range(8, 12))
    assert split_streams(streams) == (streams[:2], streams[2:])
    ten = tuple(range(k, k + 1) for k in range(10))  # of two kinds, one after the other
    assert split_streams(ten)[1] == (ten[4], ten[9])
    assert split_streams(ten)[0] == (*ten[:4], *ten[5:9])
    assert split_streams((range(0, 10),)) == ((range(0, 8),), (range(8, 10),))
    with pytest.raises(ValueError, match="one frame"):
        split_streams((range(0, 1),))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", LEARNED)
def test_learning_beats_the_static_settings_on_fresh_streams(algorithm, task, tmp_path):
    bank = SyntheticBank(task, n_streams=16, n_frames=4)
    fresh = SyntheticBank(task, n_streams=6, n_frames=4, seed=1)
    plan = TrainingPlan(algorithm, load_hyperparameters(algorithm, overrides={"total_steps": 8000}))
    trained = train_policy(task, bank, plan, tmp_path)
    judge = Judge(fresh, Objective(task))
    policy = PolicyTuner(trained.network, BankFrames(fresh, task).builder)
    scores = {
        tuner.name: judge.judge(tuner)["score"].mean()
        for tuner in (policy, StaticTuner(task.static), RandomTuner(task))
    }
    assert scores["policy"] > scores["static"] + 0.05
    assert scores["policy"] > scores["random"] + 0.05


def test_hyperparameters_are_layered(tmp_path):
    assert load_hyperparameters("ppo")["gamma"] == 0.0
    file = tmp_path / "mine.toml"
    file.write_text(
        '[default]\ngamma = 0.5\n[task.size]\nn_steps = 16\n[env."samstar/Other-v0"]\ngamma = 0.9\n'
    )
    assert load_hyperparameters("ppo", env_id="samstar/Other-v0", path=file)["gamma"] == 0.9
    chosen = load_hyperparameters("ppo", task="size", path=file)
    assert (chosen["gamma"], chosen["n_steps"]) == (0.5, 16)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"gama": 0.5}, "gama"), ({"n_steps": "many"}, "n_steps"), ({"n_steps": 1.5}, "n_steps")],
)
def test_bad_hyperparameters_are_refused(overrides, message):
    with pytest.raises(HyperparameterError, match=message):
        load_hyperparameters("ppo", overrides=overrides)


def test_unknown_algorithm_is_refused():
    with pytest.raises(HyperparameterError, match="ppo, sac"):
        load_hyperparameters("dqn")
    with pytest.raises(AlgorithmError, match="PPO, A2C, SAC"):
        algorithm_name("DQN")


@pytest.mark.parametrize("name", KNOWN)
def test_every_learner_has_its_class_and_hyperparameters(name):
    assert algorithm_class(name.upper()).__name__.lower() == name
    assert load_hyperparameters(name)["total_steps"] > 0


def test_a_block_left_out_is_never_seen(task, bank, tmp_path):
    plan = replace(make_plan("ppo"), without=("gaze", "last_terms"))
    run = _Run([(task, bank)], plan, tmp_path)
    schema = run.task_frames[0].frames.builder.schema
    seen = {block.name for block in schema.blocks if run.normalisation.scale[block.slice].any()}
    assert "image" in seen
    assert not seen & {"gaze", "last_terms"}
    with pytest.raises(ValueError, match="no block 'nose'"):
        _Run([(task, bank)], replace(plan, without=("nose",)), tmp_path)
