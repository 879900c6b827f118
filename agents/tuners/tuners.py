"""The tuners: SAM's defaults, static settings, random choice, search per frame, a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.agents.search.ask_tell import (
    POPULATION,
    Found,
    GeneticSearch,
    RandomSearch,
    RefinedSearch,
    Search,
    TpeSearch,
    Vectors,
    maximise,
)
from samstar_rl.errors import SamstarError
from samstar_rl.settings import Settings
from samstar_rl.tuning.tuner import StaticTuner

if TYPE_CHECKING:
    from samstar_rl.agents.policies.bundle import PolicyBundle
    from samstar_rl.envs.bank_frames import BankFrames
    from samstar_rl.envs.observation.builder import ObservationBuilder, Vector
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import FrameContext

EVALUATIONS = 300
"""Evaluations that a search spends on a frame unless told otherwise."""


def default_tuner(task: Task | None = None) -> StaticTuner:
    """SAM's own defaults, every gate off.

    With a task whose prompt ladder does not hold SAM's 32 points per side, the nearest choice that
    the task's bank holds is taken.
    """
    settings = Settings()
    if task is not None and settings.prompt not in task.space.prompts():
        nearest = min(
            task.space.prompts(), key=lambda p: abs(p.most_prompts - settings.prompt.most_prompts)
        )
        settings = settings.replace(**nearest.to_dict())
    return StaticTuner(settings, "default")


class RandomTuner:
    """Uniform random settings within the task's bounds.

    Parameters
    ----------
    task : Task
    seed : int
    """

    name = "random"
    searches = False

    def __init__(self, task: Task, *, seed: int = 0) -> None:
        self.task = task
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        """Nothing to forget; the random numbers go on."""

    def propose(self, context: FrameContext) -> Settings:
        """Draw settings."""
        return self.task.space.decode(self._rng.uniform(-1.0, 1.0, self.task.space.n))


class SearchTuner:
    """Search the settings anew on each frame, starting from the task's static ones.

    Parameters
    ----------
    task : Task
    algorithm : {"genetic", "random", "tpe", "refined"}
    n_evaluations : int
        Spent on each frame.
    warm : bool
        Start from the last frame's surviving population instead of from the static settings alone.
    seed : int

    Attributes
    ----------
    on_found : callable, optional
        Called with what the search came to on each frame; set it to watch.

    Raises
    ------
    SamstarError
        If the algorithm is unknown or cannot be started warm.
    """

    searches = True
    on_found: Callable[[Found], None] | None = None

    def __init__(
        self,
        task: Task,
        algorithm: str = "genetic",
        *,
        n_evaluations: int = EVALUATIONS,
        warm: bool = False,
        seed: int = 0,
    ) -> None:
        if algorithm not in SEARCHES:
            raise SamstarError(f"algorithm must be one of {', '.join(SEARCHES)}, got {algorithm!r}")
        if warm and algorithm != "genetic":
            raise SamstarError(f"only the genetic search starts warm, got {algorithm!r}")
        self.name = f"{algorithm}-warm" if warm else f"{algorithm}-search"
        self.task = task
        self.algorithm = algorithm
        self.n_evaluations = n_evaluations
        self.warm = warm
        self.seed = seed
        self._frames = 0
        self._survivors: Vectors | None = None

    def reset(self) -> None:
        """Forget the last population; searches on later streams draw other random numbers."""
        self._survivors = None

    def propose(self, context: FrameContext) -> Settings:
        """Search, and return the best settings found."""
        space = self.task.space
        start = np.asarray([space.encode(self.task.static)], dtype=float)
        if self._survivors is not None:
            start = np.concatenate([start, self._survivors[: POPULATION // 2]])
        search = SEARCHES[self.algorithm](space.n, self._next_seed(), start)
        found = maximise(
            search, lambda vector: context.reward(space.decode(vector)), self.n_evaluations
        )
        if self.warm and isinstance(search, GeneticSearch):
            self._survivors = search.survivors()
        if self.on_found is not None:
            self.on_found(found)
        return space.decode(found.vector)

    def _next_seed(self) -> int:
        self._frames += 1
        return int(np.random.SeedSequence([self.seed, self._frames]).generate_state(1)[0])


def _genetic(n: int, seed: int, start: Vectors) -> Search:
    return GeneticSearch(n, seed=seed, start=start)


def _random(n: int, seed: int, start: Vectors) -> Search:
    return RandomSearch(n, seed=seed, start=start)


def _tpe(n: int, seed: int, start: Vectors) -> Search:
    return TpeSearch(n, seed=seed, start=start)


def _refined(n: int, seed: int, start: Vectors) -> Search:
    return RefinedSearch(n, seed=seed, start=start)


SEARCHES: dict[str, Callable[[int, int, Vectors], Search]] = {
    "genetic": _genetic,
    "random": _random,
    "tpe": _tpe,
    "refined": _refined,
}


class PolicyTuner:
    """A policy: one look at the frame, one answer.

    Parameters
    ----------
    act : callable
        Maps a raw observation (D,) to an action (n,).
    builder : ObservationBuilder
        Of the task and the SAM that the policy was made for.
    name : str
    frames : BankFrames, optional
        Where the frames come from, if their part of the observation is to be looked up.

    Attributes
    ----------
    bundle : PolicyBundle or None
        What it was made of, if it was made of one.
    """

    searches = False

    def __init__(
        self,
        act: Callable[[Vector], Vector],
        builder: ObservationBuilder,
        name: str = "policy",
        *,
        frames: BankFrames | None = None,
    ) -> None:
        self.name = name
        self.act = act
        self.builder = builder
        self.bundle: PolicyBundle | None = None
        self._frames = frames

    @classmethod
    def from_bundle(cls, bundle: PolicyBundle) -> PolicyTuner:
        """The tuner of a loaded bundle.

        Raises
        ------
        BundleError
            If this program's observations are no longer those that the policy was trained on.
        """
        from samstar_rl.agents.policies.bundle import BundleError
        from samstar_rl.envs.observation.builder import ObservationBuilder

        n_channels = len(bundle.schema["embedding"].entries)
        builder = ObservationBuilder(bundle.task, n_channels, union=bundle.union)
        difference = builder.schema.difference(bundle.schema)
        if difference:
            raise BundleError(
                f"the policy {bundle.name!r} was trained on other observations than this version "
                f"makes ({difference}): train it anew, or install the version it was made with"
            )
        tuner = cls(bundle.act, builder, bundle.name)
        tuner.bundle = bundle
        return tuner

    def reset(self) -> None:
        """Nothing to forget: what it knows of the last frame comes with the context."""

    def propose(self, context: FrameContext) -> Settings:
        """Look at the frame and answer."""
        return self.builder.decode(self.act(self.observe(context)))

    def observe(self, context: FrameContext) -> Vector:
        """The raw observation of a frame."""
        features = context.features
        known = None if self._frames is None else self._frames.known_part(context.frame)
        part = self.builder.frame_part(context.frame, features) if known is None else known
        if context.last_settings is None or context.last_score is None:
            return self.builder.build(part)
        last_action = self.builder.encode(context.last_settings)
        return self.builder.build(part, last_action, context.last_score)
