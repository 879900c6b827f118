"""Training a policy on banks: seeded, resumable, watched on frames that it does not train on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from samstar_rl.agents.judging.statistics import is_clearly_above
from samstar_rl.agents.learning.checkpoints import (
    TrainingError,
    last_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from samstar_rl.agents.learning.gaze_fit import evaluate_all_gazes, fit_gaze, moves_gaze
from samstar_rl.agents.learning.learners import (
    begin_with,
    make_learner,
    to_network,
    wrapper_for,
)
from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.learning.plan import TrainingProgress
from samstar_rl.agents.policies.bundle import PolicyBundle
from samstar_rl.agents.reporting.curve_writer import CurveWriter, HeldCurves
from samstar_rl.agents.search.static import FINALISTS, SEARCH_FRAMES, search_static
from samstar_rl.agents.tuners.filters import ChooseFilters
from samstar_rl.agents.tuners.policy import LookingTuner, PolicyTuner
from samstar_rl.bank.split import split_streams
from samstar_rl.envs import TUNING_ID, StreamEnv, StreamOptions, TuningEnv
from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.envs.observation.schema import LAST_FRAME
from samstar_rl.envs.task_union import TaskUnion
from samstar_rl.envs.wrappers import HideLastFrame, VaryTargets, vary_targets
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import StaticTuner, run_tuner

if TYPE_CHECKING:
    from samstar_rl.agents.learning.plan import TrainingPlan
    from samstar_rl.agents.policies.network import Array, PolicyNetwork
    from samstar_rl.bank.bank import Bank
    from samstar_rl.envs.observation.schema import Vector
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Evaluation, Tuner

CHECKPOINTS = 20
"""How often a training is checkpointed and judged on the validation frames."""

ONE_LOOK = 0.25
"""What an untrained policy says to whether a look is the last: it begins as one that looks once."""

LEAST_CHOICES = 20
"""A search of static settings to start from tries at least so many, or is left out."""

EVENTS = "tensorboard"

OnProgress = Callable[["TrainingProgress"], None]
OnShare = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training came to.

    Attributes
    ----------
    network : PolicyNetwork
        The best on the validation frames; never worse there than the untrained policy, nor, for a
        single task, than its static settings. Of a training that began with a fitted gaze it is
        that start unless another is better by more than one standard error.
    progress : TrainingProgress
    """

    network: PolicyNetwork
    progress: TrainingProgress


@dataclass(frozen=True, eq=False)
class TrainedUnion(Trained):
    """What a training on several tasks came to: one policy for any task.

    Attributes
    ----------
    union : TaskUnion
        What the network's observation and action speak of.
    """

    union: TaskUnion

    def tuner(self, frames: BankFrames | Bank, task: Task, name: str = "policy") -> PolicyTuner:
        """The policy as a tuner for the frames of a bank.

        Parameters
        ----------
        frames : Bank or BankFrames
            Frames to judge on. A `BankFrames` of the same bank object is taken only for its bank:
            its observations are those of a policy for one task.
        task : Task
            Any task, whether the policy was trained on it or not.
        name : str

        Returns
        -------
        PolicyTuner
        """
        bank = frames.bank if isinstance(frames, BankFrames) else frames
        of_union = BankFrames(bank, task, union=self.union)
        return PolicyTuner(self.network, of_union.builder, name, frames=of_union)


def train_policy(
    task: Task,
    bank: Bank,
    plan: TrainingPlan,
    folder: str | Path,
    *,
    resume: bool = False,
    on_progress: OnProgress | None = None,
    on_share: OnShare | None = None,
) -> Trained:
    """Train a policy for one task in the environment that the plan names.

    Parameters
    ----------
    task : Task
    bank : Bank
        A fifth of its streams validates and is not trained on, see `split_streams`.
    plan : TrainingPlan
    folder : path
        Gets ``checkpoints/`` and, in ``tensorboard/``, events.
    resume : bool
        Go on from the last checkpoint in the folder; the result is that of a training that was
        never interrupted.
    on_progress : callable, optional
        Called at each checkpoint.
    on_share : callable, optional
        Called with the share of the evaluations that are spent, in [0, 1], from the beginning on.

    Returns
    -------
    Trained

    Raises
    ------
    TrainingError
        If the folder's checkpoint belongs to another training.
    """
    run = _Run([(task, bank)], plan, Path(folder), on_share=on_share, resume=resume)
    return _train(run, on_progress)


def train_multi_policy(
    tasks_and_banks: Sequence[tuple[Task, Bank]],
    plan: TrainingPlan,
    folder: str | Path,
    *,
    union: TaskUnion | None = None,
    resume: bool = False,
    on_progress: OnProgress | None = None,
    on_share: OnShare | None = None,
) -> TrainedUnion:
    """Train one policy for many samples: it is told what the task expects, and serves any task.

    The action is the union of the tasks' free settings, each entry saying where in the task's own
    range a setting lies; the observation has the task's targets and says which settings are free.
    The same network then serves every task, those included that it never saw::

        seen = [(load_task(name), Bank(folder / name)) for name in ("particles", "overlap")]
        trained = train_multi_policy(seen, plan, "runs/others")
        tuner = trained.tuner(test_bank, load_task("size"))      # an unseen sample
        rows = Judge(test_bank, Objective(load_task("size"))).judge(tuner)

    No static settings of the unseen task enter: its own are used only for settings that none of
    the training tasks leaves free.

    Parameters
    ----------
    tasks_and_banks : sequence of (Task, Bank)
        Each bank with proposals for the prompt settings of its task, all of the same SAM. A fifth
        of each bank's streams validates. Two entries may have the same task.
    plan : TrainingPlan
        Its ``variation`` is what makes the policy read the targets (`VARIATION` is a good one);
        ``n_envs`` is rounded up so that each task gets as many environments.
    folder : path
        Gets ``checkpoints/`` and, in ``tensorboard/``, events.
    union : TaskUnion, optional
        By default that of the tasks given. A larger one leaves room for settings that none of them
        moves; their entries stay untrained.
    resume, on_progress, on_share
        As for `train_policy`.

    Returns
    -------
    TrainedUnion
        The network, the union, and ``tuner(bank, task)``.

    Raises
    ------
    TrainingError
        If the folder's checkpoint belongs to another training, or the banks' SAMs differ.
    """
    if not tasks_and_banks:
        raise TrainingError("there is nothing to train on: give at least one task and its bank")
    union = union or TaskUnion.of(task for task, _ in tasks_and_banks)
    run = _Run(tasks_and_banks, plan, Path(folder), union, on_share, resume=resume)
    trained = _train(run, on_progress)
    return TrainedUnion(trained.network, trained.progress, union)


def train_on_tasks(
    tasks_and_banks: Sequence[tuple[Task, Bank]],
    plan: TrainingPlan,
    folder: str | Path,
    *,
    resume: bool = False,
    on_progress: OnProgress | None = None,
    on_share: OnShare | None = None,
) -> Trained:
    """Train a policy for one task, or one for many samples where there are several.

    Parameters
    ----------
    tasks_and_banks : sequence of (Task, Bank)
    plan : TrainingPlan
    folder : path
    resume, on_progress, on_share
        As for `train_policy`.

    Returns
    -------
    Trained
        A `TrainedUnion` where there are several tasks.

    Raises
    ------
    TrainingError
        As for `train_policy` and `train_multi_policy`.
    """
    if len(tasks_and_banks) > 1:
        return train_multi_policy(
            tasks_and_banks, plan, folder, resume=resume, on_progress=on_progress, on_share=on_share
        )
    ((task, bank),) = tasks_and_banks
    return train_policy(
        task, bank, plan, folder, resume=resume, on_progress=on_progress, on_share=on_share
    )


def bundle_trained(
    trained: Trained,
    plan: TrainingPlan,
    tasks_and_banks: Sequence[tuple[Task, Bank]],
    name: str | None = None,
) -> PolicyBundle:
    """The bundle of a trained policy, ready to be saved.

    Parameters
    ----------
    trained : Trained
    plan : TrainingPlan
    tasks_and_banks : sequence of (Task, Bank)
        What it was trained on.
    name : str, optional
        By default the task's, or ``many``.

    Returns
    -------
    PolicyBundle
    """
    task, bank = tasks_and_banks[0]
    union = trained.union if isinstance(trained, TrainedUnion) else None
    return PolicyBundle.of(
        trained.network,
        name=name or (task.name if union is None else "many"),
        env_id=plan.env_id,
        task=task,
        schema=BankFrames(bank, task, tuning=plan.env_id == TUNING_ID, union=union).builder.schema,
        sam_name=bank.sam_name or "unknown",
        sam_sha256=bank.sam_sha256 or "",
        training={
            "algorithm": plan.algorithm,
            "tasks": [one.name for one, _ in tasks_and_banks],
            "seed": plan.seed,
            "without": list(plan.without),
            "curve": trained.progress.curve,
        },
        union=union,
    )


def _train(run: _Run, on_progress: OnProgress | None) -> Trained:
    if run.checkpoint is None:
        for curves in (run.folder / EVENTS).glob("events.out.tfevents.*"):
            curves.unlink()  # of a training that this one replaces
    monitor = _Monitor(run, on_progress)
    if run.checkpoint is not None:
        monitor.restore(run.checkpoint)
    if not monitor.progress.curve:
        monitor.judge_statics()
    remaining = run.total_steps - run.learner.num_timesteps
    if remaining > 0:
        run.learner.learn(remaining, callback=monitor, reset_num_timesteps=False)
    monitor.finish()
    return Trained(monitor.best, monitor.progress)


def validation_budgets(budget: float | tuple[float, float]) -> tuple[float, ...]:
    """The budgets at which a training is judged: the middles of three equal parts of its range."""
    if not isinstance(budget, tuple):
        return (budget,)
    low, high = np.log(budget)
    return tuple(np.exp(low + (high - low) * np.array([1, 3, 5]) / 6).tolist())


class _TaskFrames:
    """One task with its bank: what to train on, what to validate on."""

    def __init__(
        self, task: Task, bank: Bank, plan: TrainingPlan, union: TaskUnion | None = None
    ) -> None:
        self.task, self.bank, self.plan, self.union = task, bank, plan, union
        self.training, self.validation = split_streams(bank.streams)
        self.frames = BankFrames(bank, task, tuning=plan.env_id == TUNING_ID, union=union)
        self.objective = Objective(task, plan.price)

    def make_env(self) -> gymnasium.Env:
        """An environment on the training streams, wrapped as trainings have it."""
        plan = self.plan
        options = StreamOptions(price=plan.price, budget=plan.budget, union=self.union)
        if plan.env_id == TUNING_ID:
            return TuningEnv(self.task, self.bank, streams=self.training, options=options)
        env: gymnasium.Env = StreamEnv(self.task, self.bank, streams=self.training, options=options)
        if self.plan.variation > 0:
            env = VaryTargets(env, self.plan.variation)
        return HideLastFrame(env)

    def parts(self) -> Iterator[Vector]:
        """What the training frames alone decide of the observation, targets varied as there."""
        rng = np.random.default_rng([self.plan.seed, 7])
        for stream in self.training:
            for index in stream:
                varied = vary_targets(self.task, rng, self.plan.variation)
                yield self.frames.part_of(index, self.frames.builder.for_task(varied))

    def search_start(
        self, n_evaluations: int, on_spent: Callable[[int], None]
    ) -> tuple[Settings, int]:
        """Static settings to start from, and the evaluations that searching them took.

        The task's own where the evaluations are too few for a search, or where what it found is
        better on the validation streams by no more than one standard error: few frames are soon
        learned by heart. Where a gaze for each budget is fitted next, the filters of what was found
        are what counts: they are compared with the task's own at the gaze that was found, at the
        budget that they were searched for.
        """
        sources = [self.frames.source(i) for stream in self.training for i in stream]
        if n_evaluations < LEAST_CHOICES * min(len(sources), SEARCH_FRAMES) + FINALISTS * len(
            sources
        ):
            return self.task.static, 0
        budgets = validation_budgets(self.plan.budget)
        median = float(np.median(budgets))
        found = search_static(
            sources,
            self.objective,
            algorithm="refined",
            n_evaluations=n_evaluations,
            budget=median,
            seed=self.plan.seed,
            on_round=lambda spent, *_: on_spent(spent),
        )
        own = self.task.static
        if self.fits_gaze:
            budgets, gaze = (median,), found.settings.prompt
            own = own.replace(zoom=gaze.zoom, n_prompts=gaze.n_prompts)
        rewards, usual = (
            self._mean_rewards(StaticTuner(one), budgets) for one in (found.settings, own)
        )
        chosen = found.settings if is_clearly_above(rewards - usual) else self.task.static
        return chosen, found.n_evaluations

    @property
    def fits_gaze(self) -> bool:
        """Whether the policy begins with a gaze that is fitted to all rewards."""
        share = float(self.plan.hyperparameters.get("gaze_share", 0))
        single = self.union is None and self.plan.env_id != TUNING_ID
        return share > 0 and single and moves_gaze(self.frames)

    def _mean_rewards(self, tuner: Tuner, budgets: Sequence[float]) -> NDArray[np.float64]:
        """Mean reward of a tuner on each validation stream."""
        return np.array([np.mean([e.reward for e in es]) for es in self._evaluate(tuner, budgets)])

    def _evaluate(self, tuner: Tuner, budgets: Sequence[float]) -> list[list[Evaluation]]:
        """What a tuner comes to on each validation stream, frame by frame, at several budgets.

        Filters are chosen on each frame, as they are when a policy is deployed.
        """
        tuner = ChooseFilters(tuner, self.task.space)
        return [
            [
                tuned.evaluation
                for budget in budgets
                for tuned in run_tuner(
                    tuner,
                    map(self.frames.source, stream),
                    self.objective,
                    cost_limit=budget,
                )
            ]
            for stream in self.validation
        ]

    def encoded(self, settings: Settings) -> Array:
        """The action that asks for the settings, NaN for what the task fixes."""
        encoded = self.frames.builder.encode(settings)
        if self.plan.env_id == TUNING_ID:
            return np.append(encoded, np.float32(ONE_LOOK))
        if self.union is None:
            return encoded
        return np.where(self.union.free(self.task.space) > 0, encoded, np.nan)

    def judge(self, network: PolicyNetwork) -> dict[str, float]:
        """Mean score and reward on the validation streams."""
        budgets = validation_budgets(self.plan.budget)
        of_streams = self._evaluate(self._tuner(network), budgets)
        evaluations = [evaluation for of_stream in of_streams for evaluation in of_stream]
        return {
            "score": float(np.mean([e.score.total for e in evaluations])),
            "reward": float(np.mean([e.reward for e in evaluations])),
        }

    def is_clearly_better(self, network: PolicyNetwork, other: PolicyNetwork) -> bool:
        """Whether it is on the validation streams, by more than a standard error."""
        budgets = validation_budgets(self.plan.budget)
        one, two = (self._mean_rewards(self._tuner(each), budgets) for each in (network, other))
        return is_clearly_above(one - two)

    def _tuner(self, network: PolicyNetwork) -> PolicyTuner:
        kind = LookingTuner if self.plan.env_id == TUNING_ID else PolicyTuner
        return kind(network, self.frames.builder, frames=self.frames)


class _Run:
    """Environments, learner and judge of one training."""

    def __init__(
        self,
        tasks_and_banks: Sequence[tuple[Task, Bank]],
        plan: TrainingPlan,
        folder: Path,
        union: TaskUnion | None = None,
        on_share: OnShare | None = None,
        *,
        resume: bool = False,
    ) -> None:
        self.plan, self.folder = plan, folder
        self._on_share = on_share
        self.task_frames = [_TaskFrames(task, bank, plan, union) for task, bank in tasks_and_banks]
        # what cannot be is said before the search, which takes long
        self._check_sams()
        self.checkpoints = folder / "checkpoints"
        self.checkpoint = last_checkpoint(self.checkpoints, self.key()) if resume else None
        hyperparameters = plan.hyperparameters
        self.total_steps = int(hyperparameters["total_steps"])
        started = time.perf_counter()
        self.normalisation = fit_normalisation(
            self.task_frames[0].frames.builder.schema,
            (part for one in self.task_frames for part in one.parts()),
            embedding_gain=float(hyperparameters["embedding_gain"]),
            targets_gain=float(hyperparameters["targets_gain"]),
            without=(*plan.without, *self._never_shown()),
        )
        self.n_searched = 0
        self.centre = self._search_centre()
        self.env = DummyVecEnv(self._makers(int(hyperparameters["n_envs"])))
        self.learner = make_learner(
            plan.algorithm,
            self.env,
            centre=self.centre,
            normalisation=self.normalisation,
            hyperparameters=hyperparameters,
            seed=plan.seed,
        )
        self.fitted = self._fit_gaze()
        self.search_seconds = time.perf_counter() - started
        self.learner.num_timesteps = self.n_searched
        if isinstance(self.learner, OffPolicyAlgorithm):
            self.learner.learning_starts += self.n_searched

    def _fit_gaze(self) -> PolicyNetwork | None:
        """Let the policy begin with the gaze that full information finds, where it chooses one."""
        plan, one = self.plan, self.task_frames[0]
        if not one.fits_gaze:
            return None
        most = int(float(plan.hyperparameters["gaze_share"]) * self.total_steps)
        indices = [index for stream in one.training for index in stream]
        # in random order: where evaluations are few, some frames of every kind
        np.random.default_rng(plan.seed).shuffle(indices)
        filters = one.frames.builder.decode(self.centre)
        known = evaluate_all_gazes(
            one.frames,
            indices,
            one.objective,
            filters=filters,
            most=most,
            budget=plan.budget,
            on_spent=self._announce_further,
        )
        self.n_searched += known.n_evaluations
        fitted = fit_gaze(
            one.frames,
            known,
            self.normalisation,
            centre=self.centre,
            widths=plan.hyperparameters["net_arch"],
            seed=plan.seed,
        )
        begin_with(self.learner, fitted)
        return fitted

    def _makers(self, n_envs: int) -> list[Callable[[], gymnasium.Env]]:
        """Functions that make the environments, as many of each task."""
        wrap = wrapper_for(self.plan.algorithm, self.centre) or (lambda env: env)
        each = -(-n_envs // len(self.task_frames))
        return [
            lambda one=one: wrap(one.make_env())  # type: ignore[misc]
            for one in self.task_frames
            for _ in range(each)
        ]

    def _search_centre(self) -> Array:
        """What the untrained policy answers."""
        share = float(self.plan.hyperparameters["start_share"])
        budget = int(share * self.total_steps / len(self.task_frames))
        encoded = []
        for one in self.task_frames:
            settings, spent = one.search_start(budget, self._announce_further)
            encoded.append(one.encoded(settings))
            self.n_searched += spent
        return self._mean(encoded)

    def _announce_further(self, n_evaluations: int) -> None:
        self.announce(self.n_searched + n_evaluations)

    def announce(self, n_evaluations: int) -> None:
        """Tell how many evaluations are spent."""
        if self._on_share is not None:
            self._on_share(min(n_evaluations / self.total_steps, 1.0))

    def _mean(self, encoded: Sequence[Array]) -> Array:
        """The mean over tasks; where all of them fix a setting it is the middle of the range."""
        return np.ma.filled(np.ma.masked_invalid(encoded).mean(axis=0), 0.0).astype(np.float32)

    def static_network(self) -> PolicyNetwork:
        """The policy that answers the tasks' own static settings, whatever it sees."""
        learned = self.network()
        weights = tuple(np.zeros_like(weight) for weight in learned.weights)
        biases = tuple(np.zeros_like(bias) for bias in learned.biases)
        centre = self._mean([one.encoded(one.task.static) for one in self.task_frames])
        return replace(learned, weights=weights, biases=biases, centre=centre)

    def _never_shown(self) -> tuple[str, ...]:
        """Blocks that say nothing in training: on single images there is no last frame.

        Beside a stream there will be one, and the policy must not react to what it never saw.
        """
        streams = [stream for one in self.task_frames for stream in one.training]
        return LAST_FRAME if all(len(stream) == 1 for stream in streams) else ()

    def _check_sams(self) -> None:
        known = {one.bank.sam_sha256 for one in self.task_frames}
        if len(known) > 1:
            raise TrainingError(
                f"the banks were built with {len(known)} different SAMs: build all with the same"
            )

    def network(self) -> PolicyNetwork:
        """The policy as it is now."""
        return to_network(self.learner, centre=self.centre)

    def judge(self, network: PolicyNetwork) -> dict[str, float]:
        """Mean score and reward on the validation streams, all tasks counting alike."""
        judged = [one.judge(network) for one in self.task_frames]
        means = {name: float(np.mean([j[name] for j in judged])) for name in judged[0]}
        if len(judged) > 1:
            for one, of_task in zip(self.task_frames, judged, strict=True):
                means[f"score_{one.task.name}"] = of_task["score"]
        return means

    def key(self) -> dict[str, Any]:
        """What must agree for a checkpoint to go on."""
        plan = self.plan
        streams = [one.training for one in self.task_frames]
        return {
            "tasks": [one.task.to_dict() for one in self.task_frames],
            "algorithm": plan.algorithm,
            "env_id": plan.env_id,
            "seed": plan.seed,
            "price": plan.price,
            "budget": plan.budget,
            "variation": plan.variation,
            "without": list(plan.without),
            "hyperparameters": dict(plan.hyperparameters),
            "frames": [[[s.start, s.stop] for s in of_task] for of_task in streams],
            "sam_sha256": self.task_frames[0].bank.sam_sha256,
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


class _Monitor(BaseCallback):
    """Judge, checkpoint and reseed a training at regular steps."""

    def __init__(self, run: _Run, on_progress: OnProgress | None) -> None:
        super().__init__()
        self.run = run
        self.progress = TrainingProgress()
        self.best = run.network()
        self._on_progress = on_progress
        self._every = max(1, run.total_steps // CHECKPOINTS)
        self._resumed_at = -1
        self._clock = time.perf_counter()
        self._scores: list[float] = []
        events = run.folder / EVENTS
        self._curves = HeldCurves(CurveWriter(events))
        run.learner.set_logger(Logger(str(events), [self._curves]))

    def _on_rollout_start(self) -> None:
        steps = self.run.learner.num_timesteps
        due = steps == self.run.n_searched or steps - self.progress.steps >= self._every
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

    def judge_statics(self) -> None:
        """Judge the tasks' static settings, if learning does not start from them."""
        if self.run.n_searched > 0:
            self._judge(self.run.static_network())
            self.progress.seconds = self.run.search_seconds

    def finish(self) -> None:
        """Judge the final policy; of a fitted start take the best only if it is clearly better.

        A training's many judgements on the same few frames flatter the best of them.
        """
        if self.run.learner.num_timesteps > self.progress.steps or not self.progress.curve:
            self._stop()
        self._curves.close()
        fitted = self.run.fitted
        if fitted is not None:
            static = self.progress.curve[0]["reward"]
            is_better = self.run.task_frames[0].is_clearly_better(self.best, fitted)
            if not is_better and self.run.judge(fitted)["reward"] >= static:
                self.best = fitted

    def _stop(self) -> None:
        progress = self.progress
        progress.steps = self.run.learner.num_timesteps
        progress.seconds += time.perf_counter() - self._clock
        self._judge(self.run.network())
        save_checkpoint(
            self.run.checkpoints,
            self.run.learner,
            self.best,
            key=self.run.key(),
            progress=asdict(progress),
        )
        self._curves.release()
        self.run.announce(progress.steps)
        if self._on_progress is not None:
            self._on_progress(progress)

    def _judge(self, network: PolicyNetwork) -> None:
        progress = self.progress
        judged = self.run.judge(network)
        if not progress.curve or judged["reward"] > max(p["reward"] for p in progress.curve):
            self.best = network
        progress.curve.append({"steps": progress.steps, "seconds": progress.seconds, **judged})
        self._log(judged)

    def _log(self, judged: Mapping[str, float]) -> None:
        progress = self.progress
        self._curves.point(judged, evaluations=progress.steps, seconds=progress.seconds)
        if self._scores:
            self.run.learner.logger.record("rollout/score", float(np.mean(self._scores)))
            self._scores.clear()

    def restore(self, checkpoint: Path) -> None:
        """Go on from a checkpoint."""
        progress, self.best = load_checkpoint(checkpoint, self.run.learner, self.run.network())
        self.progress = TrainingProgress(**progress)
        self._resumed_at = self.progress.steps
        self._curves.go_on_after(self.progress.steps, self.progress.seconds)
