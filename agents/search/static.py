"""Searching one static choice of settings over many frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samstar_rl.agents.search.ask_tell import Vectors, maximise
from samstar_rl.agents.tuners.tuners import SEARCHES
from samstar_rl.errors import SamstarError
from samstar_rl.settings import Settings
from samstar_rl.tuning.tuner import FrameEvaluator, FrameSource, Objective

SEARCH_FRAMES = 32
FINALISTS = 5


@dataclass(frozen=True, eq=False)
class StaticFound:
    """The best static settings that a search found.

    Attributes
    ----------
    settings : Settings
    reward : float
        Mean over all frames given.
    n_evaluations : int
        Spent in all: one is one choice of settings on one frame.
    curve : list of (evaluations, settings, reward)
        The best so far after each round, its reward on the frames that the search looked at.
    """

    settings: Settings
    reward: float
    n_evaluations: int
    curve: list[tuple[int, Settings, float]]


def search_static(
    sources: Sequence[FrameSource],
    objective: Objective,
    *,
    algorithm: str = "genetic",
    n_evaluations: int,
    seed: int = 0,
    on_round: Callable[[int, Settings, float], None] | None = None,
) -> StaticFound:
    """Search the settings with the best mean reward over frames.

    The search looks at `SEARCH_FRAMES` frames spread evenly over those given; the five best choices
    are then compared on all of them. The task's static settings are among the first tried.

    Parameters
    ----------
    sources : sequence of FrameSource
    objective : Objective
    algorithm : {"genetic", "random", "tpe", "refined"}
    n_evaluations : int
        In all; one is one choice of settings on one frame.
    seed : int
    on_round : callable, optional
        Called after each round with evaluations, best settings so far and their reward.

    Returns
    -------
    StaticFound

    Raises
    ------
    SamstarError
        If there are no frames, or too few evaluations to try two choices.
    """
    if algorithm not in SEARCHES:
        raise SamstarError(f"algorithm must be one of {', '.join(SEARCHES)}, got {algorithm!r}")
    if not sources:
        raise SamstarError("there are no frames to search static settings for: give at least one")
    panel = [sources[i] for i in _spread(len(sources), SEARCH_FRAMES)]
    reserved = FINALISTS * (len(sources) - len(panel))
    choices = (n_evaluations - reserved) // len(panel)
    if choices < 2:
        raise SamstarError(
            f"{n_evaluations} evaluations are too few for {len(sources)} frames: give at least "
            f"{reserved + 2 * len(panel)}, or fewer frames"
        )
    return _Search(sources, panel, objective, on_round).run(algorithm, choices, seed)


class _Search:
    def __init__(
        self,
        sources: Sequence[FrameSource],
        panel: Sequence[FrameSource],
        objective: Objective,
        on_round: Callable[[int, Settings, float], None] | None,
    ) -> None:
        self.sources, self.panel, self.objective = sources, panel, objective
        self.space = objective.task.space
        self.n_evaluations = 0
        self.curve: list[tuple[int, Settings, float]] = []
        self._on_round = on_round

    def run(self, algorithm: str, choices: int, seed: int) -> StaticFound:
        start = np.asarray([self.space.encode(self.objective.task.static)], dtype=float)
        search = SEARCHES[algorithm](self.space.n, seed, start)
        found = maximise(search, self._on_panel, choices, on_round=self._round)
        finalists = self._finalists(found.vectors, found.rewards)
        rewards = [self._on_all(settings, reward) for settings, reward in finalists]
        best = int(np.argmax(rewards))
        return StaticFound(finalists[best][0], rewards[best], self.n_evaluations, self.curve)

    def _on_panel(self, vector: Vectors) -> float:
        return self._mean(self.space.decode(vector), self.panel)

    def _on_all(self, settings: Settings, panel_reward: float) -> float:
        known = {id(source) for source in self.panel}
        rest = [source for source in self.sources if id(source) not in known]
        if not rest:
            return panel_reward
        total = panel_reward * len(self.panel) + self._mean(settings, rest) * len(rest)
        return total / len(self.sources)

    def _mean(self, settings: Settings, sources: Sequence[FrameSource]) -> float:
        self.n_evaluations += len(sources)
        rewards = [FrameEvaluator(source, self.objective)(settings).reward for source in sources]
        return float(np.mean(rewards))

    def _round(self, choices: int, vector: Vectors, reward: float) -> None:
        settings = self.space.decode(vector)
        self.curve.append((self.n_evaluations, settings, reward))
        if self._on_round is not None:
            self._on_round(self.n_evaluations, settings, reward)

    def _finalists(
        self, vectors: Vectors, rewards: NDArray[np.float64]
    ) -> list[tuple[Settings, float]]:
        finalists: dict[Settings, float] = {}
        for i in np.argsort(-rewards, kind="stable"):
            finalists.setdefault(self.space.decode(vectors[i]), float(rewards[i]))
            if len(finalists) == FINALISTS:
                break
        return list(finalists.items())


def _spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``count`` indices, evenly spread."""
    if count <= wanted:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, wanted).round()]
