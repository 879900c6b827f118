"""Tuners that search the settings anew on each frame: a genetic algorithm, and NSGA-II.

A frame's budget holds for the whole search: each zoom's views and longest prefix of prompts are
charged once, filters are free, and what the budget no longer pays for is not decoded. `Nsga2Tuner`
looks for the whole front of compromises between the score and its cost, then takes the one of the
highest reward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.agents.search.ask_tell import (
    POPULATION,
    GeneticSearch,
    derive_seed,
    make_search,
    maximise,
    non_dominated,
    run_search,
    static_start,
)
from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.agents.search.ask_tell import Found, Vectors
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import FrameContext

EVALUATIONS = 300
"""Evaluations that a search spends on a frame unless told otherwise."""


class SearchTuner:
    """Search the settings anew on each frame, starting from the task's static ones.

    Parameters
    ----------
    task : Task
    algorithm : {"genetic", "refined"}
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
        make_search(algorithm, task, seed=seed)  # an unknown one is refused here
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
        space, start = self.task.space, static_start(self.task)
        if self._survivors is not None:
            start = np.concatenate([start, self._survivors[: POPULATION // 2]])
        self._frames += 1
        seed = derive_seed(self.seed, self._frames)
        search = make_search(self.algorithm, self.task, seed=seed, start=start)
        found = maximise(
            search, lambda vector: context.reward(space.decode(vector)), self.n_evaluations
        )
        if self.warm and isinstance(search, GeneticSearch):
            self._survivors = search.survivors()
        if self.on_found is not None:
            self.on_found(found)
        return space.decode(found.vector)


@dataclass(frozen=True, eq=False)
class Front:
    """What a multi-objective search tried on one frame.

    Attributes
    ----------
    frame_id : str
    values : (N, 2) array
        Score, and minus the cost, of each evaluation.
    rewards : (N,) array
    """

    frame_id: str
    values: NDArray[np.float64]
    rewards: NDArray[np.float64]

    @property
    def optimal(self) -> NDArray[np.bool_]:
        """Which evaluations lie on the front."""
        return non_dominated(self.values)

    @property
    def chosen(self) -> int:
        """The evaluation on the front of the highest reward."""
        return int(np.argmax(np.where(self.optimal, self.rewards, -np.inf)))


class Nsga2Tuner:
    """NSGA-II of score against cost on each frame; of its front, the highest reward.

    Parameters
    ----------
    task : Task
    n_evaluations : int
        Spent on each frame.
    seed : int

    Attributes
    ----------
    fronts : list of Front
        Of the frames so far.
    """

    name = "nsga2"
    searches = True

    def __init__(self, task: Task, *, n_evaluations: int = EVALUATIONS, seed: int = 0) -> None:
        self.task = task
        self.n_evaluations = n_evaluations
        self.seed = seed
        self.fronts: list[Front] = []

    def reset(self) -> None:
        """Nothing to forget; searches on later frames draw other random numbers."""

    def propose(self, context: FrameContext) -> Settings:
        """Search the front, and return its best compromise."""
        task, rewards = self.task, list[float]()

        def evaluate(vectors: Vectors) -> NDArray[np.float64]:
            tried = [context.try_out(task.space.decode(vector)) for vector in vectors]
            rewards.extend(one.reward for one in tried)
            return np.array([[one.score.total, -one.cost] for one in tried])

        search = GeneticSearch(
            task.space.n,
            seed=derive_seed(self.seed, len(self.fronts)),
            population=2 * POPULATION,
            start=static_start(task),
            n_objectives=2,
        )
        vectors, values = run_search(search, evaluate, self.n_evaluations)
        front = Front(context.frame.id, values, np.asarray(rewards))
        self.fronts.append(front)
        return task.space.decode(vectors[front.chosen])
