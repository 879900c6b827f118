"""Training a policy on a bank: seeded, resumable, watched on frames that it does not train on."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from samstar_rl.agents.events import CurveWriter
from samstar_rl.agents.learners import make_learner, to_network, wrapper_for
from samstar_rl.agents.network import PolicyNetwork
from samstar_rl.agents.normalisation import fit_normalisation
from samstar_rl.agents.tuners import PolicyTuner
from samstar_rl.envs import StreamEnv
from samstar_rl.envs.frames import BankFrames
from samstar_rl.task import Task
from samstar_rl.tuner import COST_WEIGHT, Objective, run_tuner

if TYPE_CHECKING:
    from samstar_rl.bank import Bank

CHECKPOINTS = 20
"""How often a training is checkpointed and judged on the validation frames."""

VALIDATION_SHARE = 0.2
EVENTS = "tensorboard"


class TrainingError(RuntimeError):
    """A training cannot begin or be resumed as asked."""


@dataclass(frozen=True)
class TrainingPlan:
    """All that decides how a training goes, besides task and bank.

    Attributes
    ----------
    algorithm : {"ppo", "sac"}
    hyperparameters : dict
        As in agents/hyperparams.
    seed : int
    cost_weight : float
    """

    algorithm: str
    hyperparameters: Mapping[str, Any]
    seed: int = 0
    cost_weight: float = COST_WEIGHT


@dataclass
class Progress:
    """How far a training is.

    Attributes
    ----------
    steps : int
        Environment steps, which are evaluations, so far.
    seconds : float
        Of training, judging left out.
    curve : list of dict
        ``steps``, ``seconds``, ``score`` and ``reward`` on the validation frames.
    """

    steps: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training came to.

    Attributes
    ----------
    network : PolicyNetwork
        The best on the validation frames; never worse there than the static settings.
    progress : Progress
    """

    network: PolicyNetwork
    progress: Progress


def split_streams(
    streams: Sequence[range], share: float = VALIDATION_SHARE
) -> tuple[tuple[range, ...], tuple[range, ...]]:
    """Split streams into those to train on and those to validate on, the last ones.

    A single stream is cut in time.

    Parameters
    ----------
    streams : sequence of range
    share : float
        Of the streams, or of the single stream's frames, that validates; at least one does.

    Raises
    ------
    ValueError
        If there is only one frame.
    """
    if len(streams) > 1:
        count = max(1, round(share * len(streams)))
        return tuple(streams[:-count]), tuple(streams[-count:])
    (stream,) = streams
    count = max(1, round(share * len(stream)))
    if len(stream) < 2:
        raise ValueError("one frame cannot be split into training and validation: give more")
    return (stream[:-count],), (stream[-count:],)


def train_policy(
    task: Task,
    bank: Bank,
    plan: TrainingPlan,
    folder: str | Path,
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a policy for `samstar/Stream-v0`.

    Parameters
    ----------
    task : Task
    bank : Bank
        The last fifth of its streams validates and is not trained on.
    plan : TrainingPlan
    folder : path
        Gets ``checkpoints/`` and, in ``tensorboard/``, events.
    resume : bool
        Go on from the last checkpoint in the folder; the result is that of a training that was
        never interrupted.
    on_progress : callable, optional
        Called at each checkpoint.

    Returns
    -------
    Trained

    Raises
    ------
    TrainingError
        If the folder's checkpoint belongs to another training.
    """
    folder = Path(folder)
    run = _Run(task, bank, plan, folder)
    watcher = _Watcher(run, on_progress)
    if resume:
        watcher.restore()
    remaining = int(plan.hyperparameters["total_steps"]) - run.learner.num_timesteps
    if remaining > 0:
        run.learner.learn(remaining, callback=watcher, reset_num_timesteps=False)
    watcher.finish()
    return Trained(watcher.best, watcher.progress)


class _Run:
    """Environments, learner and judge of one training."""

    def __init__(self, task: Task, bank: Bank, plan: TrainingPlan, folder: Path) -> None:
        self.task, self.bank, self.plan, self.folder = task, bank, plan, folder
        self.training, self.validation = split_streams(bank.streams)
        self.centre = task.space.encode(task.static)
        self.frames = BankFrames(bank, task)
        self.objective = Objective(task, plan.cost_weight)
        hyperparameters = plan.hyperparameters
        self.normalisation = fit_normalisation(
            self.frames.builder.schema,
            (self.frames.part(i) for stream in self.training for i in stream),
            embedding_gain=float(hyperparameters["embedding_gain"]),
        )
        makers = [self._make_env] * int(hyperparameters["n_envs"])
        self.env = DummyVecEnv(makers)
        self.learner = make_learner(
            plan.algorithm,
            self.env,
            centre=self.centre,
            normalisation=self.normalisation,
            hyperparameters=hyperparameters,
            seed=plan.seed,
        )
        self.learner.set_logger(configure(str(folder / EVENTS), ["tensorboard"]))

    def _make_env(self) -> gymnasium.Env:
        env: gymnasium.Env = StreamEnv(
            self.task, self.bank, streams=self.training, cost_weight=self.plan.cost_weight
        )
        wrap = wrapper_for(self.plan.algorithm, self.centre)
        return env if wrap is None else wrap(env)

    def network(self) -> PolicyNetwork:
        """The policy as it is now."""
        return to_network(self.learner, centre=self.centre)

    def judge(self, network: PolicyNetwork) -> dict[str, float]:
        """Mean score and reward on the validation streams."""
        tuner = PolicyTuner(network, self.frames.builder, frames=self.frames)
        evaluations = [
            tuned.evaluation
            for stream in self.validation
            for tuned in run_tuner(tuner, map(self.frames.source, stream), self.objective)
        ]
        return {
            "score": float(np.mean([e.score.total for e in evaluations])),
            "reward": float(np.mean([e.reward for e in evaluations])),
        }

    def restart(self) -> None:
        """Begin new episodes with random numbers that depend on seed and step alone.

        A training that was resumed at this step therefore goes on exactly as one that was not.
        """
        key = np.random.SeedSequence([self.plan.seed, self.learner.num_timesteps])
        seed = int(key.generate_state(1)[0] >> 1)
        set_random_seed(seed)
        self.learner.action_space.seed(seed)
        self.env.seed(seed)
        self.learner._last_obs = self.env.reset()  # type: ignore[assignment]
        self.learner._last_episode_starts = np.ones(self.env.num_envs, dtype=bool)


class _Watcher(BaseCallback):
    """Judge, checkpoint and reseed a training at regular steps."""

    def __init__(self, run: _Run, on_progress: Callable[[Progress], None] | None) -> None:
        super().__init__()
        self.run = run
        self.progress = Progress()
        self.best = run.network()
        self._on_progress = on_progress
        self._every = max(1, int(run.plan.hyperparameters["total_steps"]) // CHECKPOINTS)
        self._resumed_at = -1
        self._clock = time.perf_counter()
        self._scores: list[float] = []
        self._events = CurveWriter(run.folder / EVENTS)

    def _on_rollout_start(self) -> None:
        steps = self.run.learner.num_timesteps
        due = steps == 0 or steps - self.progress.steps >= self._every
        if steps == self._resumed_at:
            self.run.restart()
            self._resumed_at = -1
            self._clock = time.perf_counter()
        elif due:
            self._stop()
            self.run.restart()
            self._clock = time.perf_counter()

    def _on_step(self) -> bool:
        self._scores.extend(info["score"] for info in self.locals["infos"])
        return True

    def finish(self) -> None:
        """Judge the final policy."""
        if self.run.learner.num_timesteps > self.progress.steps or not self.progress.curve:
            self._stop()
        self._events.close()

    def _stop(self) -> None:
        progress = self.progress
        progress.steps = self.run.learner.num_timesteps
        progress.seconds += time.perf_counter() - self._clock
        network = self.run.network()
        judged = self.run.judge(network)
        if not progress.curve or judged["reward"] > max(p["reward"] for p in progress.curve):
            self.best = network
        progress.curve.append({"steps": progress.steps, "seconds": progress.seconds, **judged})
        self._log(judged)
        save_checkpoint(self.run, progress, self.best)
        if self._on_progress is not None:
            self._on_progress(progress)

    def _log(self, judged: Mapping[str, float]) -> None:
        progress = self.progress
        self._events.point(judged, evaluations=progress.steps, seconds=progress.seconds)
        if self._scores:
            self.run.learner.logger.record("rollout/score", float(np.mean(self._scores)))
            self._scores.clear()

    def restore(self) -> None:
        """Go on from the folder's last checkpoint, if there is one."""
        restored = load_checkpoint(self.run)
        if restored is not None:
            self.progress, self.best = restored
            self._resumed_at = self.progress.steps


def save_checkpoint(run: _Run, progress: Progress, best: PolicyNetwork) -> None:
    """Write ``checkpoints/NNNNNNNNN/``: it appears complete or not at all; older ones go.

    State dicts (read with ``weights_only=True``), npz and JSON; nothing that must be unpickled.
    """
    folder = run.folder / "checkpoints"
    target = folder / f"{progress.steps:09d}"
    draft = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    torch.save(_states(run.learner), draft / "learner.pt")
    np.savez(draft / "best.npz", **_network_arrays(best))
    if isinstance(run.learner, OffPolicyAlgorithm):
        np.savez(draft / "replay.npz", **_replay_arrays(run.learner))
    sheet = {"key": _key(run), "progress": asdict(progress)}
    (draft / "progress.json").write_text(json.dumps(sheet, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(draft, target)
    for older in _checkpoints(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def load_checkpoint(run: _Run) -> tuple[Progress, PolicyNetwork] | None:
    """Bring the learner to the last checkpoint's state; None if there is none.

    Raises
    ------
    TrainingError
        If it belongs to another training.
    """
    found = _checkpoints(run.folder / "checkpoints")
    if not found:
        return None
    sheet = json.loads((found[-1] / "progress.json").read_text(encoding="utf-8"))
    _check_key(sheet["key"], _key(run), found[-1])
    states = torch.load(found[-1] / "learner.pt", map_location="cpu", weights_only=True)
    _load_states(run.learner, states)
    if isinstance(run.learner, OffPolicyAlgorithm):
        with np.load(found[-1] / "replay.npz", allow_pickle=False) as arrays:
            _load_replay(run.learner, arrays)
    progress = Progress(**sheet["progress"])
    run.learner.num_timesteps = progress.steps
    with np.load(found[-1] / "best.npz", allow_pickle=False) as arrays:
        best = _network_from(arrays, run.network())
    return progress, best


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit())


def _key(run: _Run) -> dict[str, Any]:
    """What must agree for a checkpoint to go on."""
    plan = run.plan
    return {
        "task": run.task.to_dict(),
        "algorithm": plan.algorithm,
        "seed": plan.seed,
        "cost_weight": plan.cost_weight,
        "hyperparameters": dict(plan.hyperparameters),
        "frames": [[stream.start, stream.stop] for stream in run.training],
        "sam_sha256": run.bank.sam_sha256,
    }


def _check_key(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    wanted = json.loads(json.dumps(wanted))
    for name, value in wanted.items():
        if found.get(name) != value:
            raise TrainingError(
                f"{path} belongs to another training: its {name} is {found.get(name)!r}, asked for "
                f"is {value!r}. Train in another folder, or ask for what was begun there"
            )


def _modules(learner: Any) -> dict[str, Any]:
    """Everything with a state dict."""
    if isinstance(learner, OffPolicyAlgorithm):
        off_policy: Any = learner
        parts = {
            "policy": learner.policy,
            "actor_optimizer": learner.actor.optimizer,
            "critic_optimizer": off_policy.critic.optimizer,
        }
        if getattr(learner, "ent_coef_optimizer", None) is not None:
            parts["ent_coef_optimizer"] = off_policy.ent_coef_optimizer
        return parts
    return {"policy": learner.policy, "optimizer": learner.policy.optimizer}


def _states(learner: Any) -> dict[str, Any]:
    states: dict[str, Any] = {name: part.state_dict() for name, part in _modules(learner).items()}
    states["n_updates"] = learner._n_updates
    if getattr(learner, "log_ent_coef", None) is not None:
        states["log_ent_coef"] = learner.log_ent_coef.detach()
    return states


def _load_states(learner: Any, states: Mapping[str, Any]) -> None:
    for name, part in _modules(learner).items():
        part.load_state_dict(states[name])
    learner._n_updates = int(states["n_updates"])
    if getattr(learner, "log_ent_coef", None) is not None:
        learner.log_ent_coef.data.copy_(states["log_ent_coef"])


_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def _replay_arrays(learner: Any) -> dict[str, Any]:
    buffer = learner.replay_buffer
    filled = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: getattr(buffer, name)[:filled] for name in _REPLAY}
    return {**arrays, "position": np.array([buffer.pos, int(buffer.full)])}


def _load_replay(learner: Any, arrays: Mapping[str, Any]) -> None:
    buffer = learner.replay_buffer
    for name in _REPLAY:
        getattr(buffer, name)[: len(arrays[name])] = arrays[name]
    position, full = arrays["position"]
    buffer.pos, buffer.full = int(position), bool(full)


def _network_arrays(network: PolicyNetwork) -> dict[str, Any]:
    arrays = {f"weight_{i}": weight for i, weight in enumerate(network.weights)}
    return arrays | {f"bias_{i}": bias for i, bias in enumerate(network.biases)}


def _network_from(arrays: Mapping[str, Any], like: PolicyNetwork) -> PolicyNetwork:
    count = len(like.weights)
    return PolicyNetwork(
        normalisation=like.normalisation,
        weights=tuple(arrays[f"weight_{i}"] for i in range(count)),
        biases=tuple(arrays[f"bias_{i}"] for i in range(count)),
        activation=like.activation,
        squash=like.squash,
        centre=like.centre,
        span=like.span,
    )
