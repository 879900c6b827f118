"""Who takes part in a benchmark, and how each is made ready with the same budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.agents.amortised import amortise, search_each_frame
from samstar_rl.agents.events import CurveWriter
from samstar_rl.agents.evolved import evolve_policy
from samstar_rl.agents.hyperparameters import load_hyperparameters
from samstar_rl.agents.judging import Judge
from samstar_rl.agents.network import PolicyNetwork
from samstar_rl.agents.normalisation import fit_normalisation
from samstar_rl.agents.search import GeneticSearch, maximise
from samstar_rl.agents.static_search import search_static
from samstar_rl.agents.training import TrainingPlan, split_streams, train_policy
from samstar_rl.agents.tuners import (
    PolicyTuner,
    RandomTuner,
    SearchTuner,
    StaticTuner,
    default_tuner,
)
from samstar_rl.envs import STREAM_ID
from samstar_rl.envs.frames import BankFrames
from samstar_rl.metrics import f1_at
from samstar_rl.settings import Settings
from samstar_rl.task import Task
from samstar_rl.tuner import BankFrame, FrameContext, FrameEvaluator, Objective, Tuner

if TYPE_CHECKING:
    from samstar_rl.bank import Bank

FIRST_FRAMES = 6
"""Frames at the start of a stream on which an operator tunes before the experiment runs."""

EMBEDDING_GAIN = 0.25


@dataclass(eq=False)
class Arena:
    """Where contenders prepare and meet: one task, a bank to learn from, one to be judged on.

    Attributes
    ----------
    task : Task
    bank, test : Bank
    steps : int
        Evaluations that each learner, and the search for a static choice, may spend.
    n_evaluations : int
        That a search may spend on each test frame.
    folder : Path
        For checkpoints and TensorBoard's events of this contender.
    """

    task: Task
    bank: Bank
    test: Bank
    steps: int
    n_evaluations: int
    folder: Path

    @cached_property
    def objective(self) -> Objective:
        """What all maximise."""
        return Objective(self.task)

    @cached_property
    def frames(self) -> BankFrames:
        """Of the bank to learn from."""
        return BankFrames(self.bank, self.task)

    @cached_property
    def judge(self) -> Judge:
        """On the test bank."""
        return Judge(self.test, self.objective)

    @property
    def training(self) -> tuple[range, ...]:
        """Streams to learn from."""
        return split_streams(self.bank.streams)[0]

    @property
    def validation(self) -> tuple[range, ...]:
        """Streams of the same bank on which learning is watched."""
        return split_streams(self.bank.streams)[1]

    @property
    def training_frames(self) -> list[int]:
        """Indices of the frames to learn from."""
        return [index for stream in self.training for index in stream]


@dataclass(eq=False)
class Ready:
    """A contender that may now be judged.

    Attributes
    ----------
    tuner : Tuner
    curve : list of (evaluations, seconds, score)
        On the validation streams while it learned or searched.
    evaluations : int
        Spent on getting ready.
    seconds : float
        Wall time of getting ready, watching left out.
    network : PolicyNetwork, optional
        What can be bundled.
    """

    tuner: Tuner
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    evaluations: int = 0
    seconds: float = 0.0
    network: PolicyNetwork | None = None


class ScriptedTuner:
    """Settings that were chosen beforehand: for each stream, or for each of its frames.

    Parameters
    ----------
    script : sequence of sequence of Settings
        One sequence a stream; its last settings hold for all further frames.
    name : str
    """

    searches = False

    def __init__(self, script: Sequence[Sequence[Settings]], name: str) -> None:
        self.name = name
        self._script = script
        self._stream = self._frame = -1

    def reset(self) -> None:
        """Go on to the next stream, and from the last to the first."""
        self._stream = (self._stream + 1) % len(self._script)
        self._frame = -1

    def propose(self, context: FrameContext) -> Settings:
        """The settings of the script."""
        self._frame += 1
        scene = self._script[self._stream]
        return scene[min(self._frame, len(scene) - 1)]


def prepare_default(arena: Arena, seed: int) -> Ready:
    """SAM's own defaults."""
    return Ready(default_tuner(arena.task))


def prepare_static(arena: Arena, seed: int) -> Ready:
    """The static settings that the task ships with."""
    return Ready(StaticTuner(arena.task.static))


def prepare_random(arena: Arena, seed: int) -> Ready:
    """Random settings, one draw a frame."""
    return Ready(RandomTuner(arena.task, seed=seed))


def prepare_static_search(arena: Arena, seed: int) -> Ready:
    """One static choice, searched by the genetic algorithm on the training frames: SAM* itself."""
    sources = [arena.frames.source(index) for index in arena.training_frames]
    with _Watch(arena, "static-search") as watch:
        found = search_static(
            sources,
            arena.objective,
            n_evaluations=arena.steps,
            seed=seed,
            on_round=lambda spent, settings, _: watch.point(spent, StaticTuner(settings)),
        )
    tuner = StaticTuner(found.settings, "static-search")
    return Ready(tuner, watch.curve, found.n_evaluations, watch.seconds)


def prepare_frozen_start(arena: Arena, seed: int) -> Ready:
    """What an operator does: tune on the stream's first frames, then leave it."""
    return _prepare_per_stream(arena, seed, FIRST_FRAMES, "frozen-start")


def prepare_hindsight(arena: Arena, seed: int) -> Ready:
    """The best static choice for each whole stream, which nobody has at its start."""
    return _prepare_per_stream(arena, seed, None, "hindsight")


def _prepare_per_stream(arena: Arena, seed: int, n_frames: int | None, name: str) -> Ready:
    script, spent, started = [], 0, time.perf_counter()
    for number, stream in enumerate(arena.test.streams):
        sources = [BankFrame(arena.test, index) for index in stream[:n_frames]]
        found = search_static(
            sources,
            arena.objective,
            n_evaluations=arena.n_evaluations * len(sources),
            seed=seed + number,
        )
        script.append([found.settings])
        spent += found.n_evaluations
    seconds = time.perf_counter() - started
    return Ready(ScriptedTuner(script, name), [], spent, seconds)


def prepare_oracle(arena: Arena, seed: int) -> Ready:
    """For each frame the settings that are best by ground truth: nobody's to have, a bound."""
    space, script = arena.task.space, []
    start = np.asarray([space.encode(arena.task.static)], dtype=float)
    for stream in arena.test.streams:
        chosen = []
        for index in stream:
            evaluator = FrameEvaluator(BankFrame(arena.test, index), arena.objective)
            truth = arena.judge.truth(index)
            if truth is None:
                raise ValueError("the oracle needs ground truth: judge on frames with labels")
            search = GeneticSearch(space.n, seed=seed + index, start=start)

            def f1(vector: np.ndarray, e: FrameEvaluator = evaluator, t: object = truth) -> float:
                return f1_at(e(space.decode(vector)).segmentation, t)  # type: ignore[arg-type]

            chosen.append(space.decode(maximise(search, f1, arena.n_evaluations).vector))
        script.append(chosen)
    return Ready(ScriptedTuner(script, "oracle"))


def prepare_random_search(arena: Arena, seed: int) -> Ready:
    """The best of many random settings on each frame."""
    return Ready(SearchTuner(arena.task, "random", n_evaluations=arena.n_evaluations, seed=seed))


def prepare_genetic(arena: Arena, seed: int) -> Ready:
    """A genetic search on each frame."""
    return Ready(SearchTuner(arena.task, n_evaluations=arena.n_evaluations, seed=seed))


def prepare_genetic_warm(arena: Arena, seed: int) -> Ready:
    """A genetic search that goes on from the last frame's population: its fair streaming form."""
    tuner = SearchTuner(arena.task, n_evaluations=arena.n_evaluations, warm=True, seed=seed)
    return Ready(tuner)


def prepare_tpe(arena: Arena, seed: int) -> Ready:
    """A tree-structured Parzen estimator (Optuna) on each frame."""
    return Ready(SearchTuner(arena.task, "tpe", n_evaluations=arena.n_evaluations, seed=seed))


def prepare_ppo(arena: Arena, seed: int) -> Ready:
    """A policy learned by PPO."""
    return _prepare_learner(arena, seed, "ppo")


def prepare_sac(arena: Arena, seed: int) -> Ready:
    """A policy learned by SAC."""
    return _prepare_learner(arena, seed, "sac")


def _prepare_learner(arena: Arena, seed: int, algorithm: str) -> Ready:
    hyperparameters = load_hyperparameters(
        algorithm, task=arena.task.name, env_id=STREAM_ID, overrides={"total_steps": arena.steps}
    )
    plan = TrainingPlan(algorithm, hyperparameters, seed=seed)
    trained = train_policy(arena.task, arena.bank, plan, arena.folder, resume=True)
    curve = [(int(p["steps"]), p["seconds"], p["score"]) for p in trained.progress.curve]
    tuner = _judged(arena, trained.network, algorithm)
    return Ready(tuner, curve, trained.progress.steps, trained.progress.seconds, trained.network)


def prepare_evolved(arena: Arena, seed: int) -> Ready:
    """A policy whose weights the genetic algorithm evolves."""
    parts = (arena.frames.part(index) for index in arena.training_frames)
    normalisation = fit_normalisation(
        arena.frames.builder.schema, parts, embedding_gain=EMBEDDING_GAIN
    )
    with _Watch(arena, "evolved") as watch:
        evolved = evolve_policy(
            arena.frames,
            arena.training,
            arena.objective,
            normalisation,
            n_evaluations=arena.steps,
            seed=seed,
            on_generation=lambda spent, network: watch.point(
                spent, PolicyTuner(network, arena.frames.builder, frames=arena.frames)
            ),
        )
    tuner = _judged(arena, evolved.network, "evolved")
    return Ready(tuner, watch.curve, evolved.n_evaluations, watch.seconds, evolved.network)


def prepare_nearest(arena: Arena, seed: int) -> Ready:
    """The searched optimum of the most similar training frame."""
    return _prepare_amortised(arena, seed, "nearest")


def prepare_mlp(arena: Arena, seed: int) -> Ready:
    """A perceptron fitted to the searched optima of the training frames."""
    return _prepare_amortised(arena, seed, "mlp")


def prepare_forest(arena: Arena, seed: int) -> Ready:
    """A random forest fitted to the searched optima of the training frames."""
    return _prepare_amortised(arena, seed, "forest")


def _prepare_amortised(arena: Arena, seed: int, kind: str) -> Ready:
    started = time.perf_counter()
    indices = arena.training_frames
    actions = search_each_frame(
        arena.frames, indices, arena.objective, n_evaluations=arena.steps, seed=seed
    )
    tuner = amortise(arena.frames, indices, actions, kind, seed=seed, judged=arena.judge.frames)
    tuner.name = kind
    spent = arena.steps // len(indices) * len(indices)
    return Ready(tuner, [], spent, time.perf_counter() - started)


CONTENDERS: dict[str, Callable[[Arena, int], Ready]] = {
    "default": prepare_default,
    "random": prepare_random,
    "static": prepare_static,
    "static-search": prepare_static_search,
    "frozen-start": prepare_frozen_start,
    "hindsight": prepare_hindsight,
    "random-search": prepare_random_search,
    "tpe": prepare_tpe,
    "genetic": prepare_genetic,
    "genetic-warm": prepare_genetic_warm,
    "nearest": prepare_nearest,
    "mlp": prepare_mlp,
    "forest": prepare_forest,
    "evolved": prepare_evolved,
    "ppo": prepare_ppo,
    "sac": prepare_sac,
    "oracle": prepare_oracle,
}


def _judged(arena: Arena, network: PolicyNetwork, name: str) -> PolicyTuner:
    frames = arena.judge.frames
    return PolicyTuner(network, frames.builder, name, frames=frames)


class _Watch:
    """Judge on the validation streams while something searches; the clock stands still then."""

    def __init__(self, arena: Arena, name: str) -> None:
        self.seconds = 0.0
        self.curve: list[tuple[int, float, float]] = []
        self._judge = Judge(arena.bank, arena.objective, arena.validation, against_truth=False)
        self._events = CurveWriter(arena.folder / "tensorboard")
        self._clock = 0.0

    def __enter__(self) -> _Watch:
        self._clock = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._clock
        self._events.close()

    def point(self, evaluations: int, tuner: Tuner) -> None:
        """A point of the curve."""
        with self._standing():
            rows = self._judge.judge(tuner)
            values = {name: float(rows[name].mean()) for name in ("score", "reward")}
            self.curve.append((evaluations, self.seconds, values["score"]))
            self._events.point(values, evaluations=evaluations, seconds=self.seconds)

    @contextmanager
    def _standing(self) -> Iterator[None]:
        self.seconds += time.perf_counter() - self._clock
        yield
        self._clock = time.perf_counter()
