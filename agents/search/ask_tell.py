"""Searching settings by ask and tell: one driver for every search, and the searches.

Every search works on the action vector in [-1, 1] that the policies act with, and maximises
rewards. pymoo minimises: `GeneticSearch.tell` is the one place where ``F = -reward`` is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.tasks.task import Task

Vectors = NDArray[np.float64]

POPULATION = 20


class Search(Protocol):
    """Asks for rewards of vectors and learns from the answers."""

    def ask(self) -> Vectors:
        """The next (k, n) vectors in [-1, 1] whose rewards it wants."""

    def tell(self, rewards: NDArray[np.float64]) -> None:
        """The (k,) rewards, or (k, m) objectives, of what it asked for last."""


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes
    ----------
    vector : (n,) array
        The best vector.
    reward : float
        Its reward.
    vectors : (N, n) array
        Everything that was evaluated, in order.
    rewards : (N,) array
    """

    vector: Vectors
    reward: float
    vectors: Vectors
    rewards: NDArray[np.float64]


def run_search(
    search: Search,
    evaluate: Callable[[Vectors], NDArray[np.float64] | None],
    n_evaluations: int,
    *,
    on_round: Callable[[Vectors, NDArray[np.float64]], None] | None = None,
) -> tuple[Vectors, NDArray[np.float64]]:
    """Ask a search for vectors, evaluate them, tell it their values, and so on.

    Parameters
    ----------
    search : Search
    evaluate : callable
        Maps (k, n) vectors to their (k,) rewards or (k, m) objectives. None ends the search:
        whatever pays for the evaluations is spent.
    n_evaluations : int
        At least 1. A last round that exceeds it is cut short.
    on_round : callable, optional
        Called after each round with all vectors so far and their values.

    Returns
    -------
    vectors : (N, n) array
        Everything that was evaluated, in order.
    values : (N,) or (N, m) array

    Raises
    ------
    SamstarError
        If there is no evaluation to spend.
    """
    if n_evaluations < 1:
        raise SamstarError(f"a search needs at least 1 evaluation, got {n_evaluations}")
    vectors: list[Vectors] = []
    values: list[NDArray[np.float64]] = []
    while len(vectors) < n_evaluations:
        asked = search.ask()[: n_evaluations - len(vectors)]
        answers = evaluate(asked)
        if answers is None:
            break
        vectors.extend(asked)
        values.extend(answers)
        if len(vectors) < n_evaluations:
            search.tell(answers)
        if on_round is not None:
            on_round(np.asarray(vectors), np.asarray(values))
    return np.asarray(vectors), np.asarray(values)


def maximise(
    search: Search,
    reward: Callable[[Vectors], float],
    n_evaluations: int,
    *,
    on_round: Callable[[int, Vectors, float], None] | None = None,
) -> Found:
    """Run a search for the vector of the highest reward.

    Parameters
    ----------
    search : Search
    reward : callable
        Maps an (n,) vector to its reward.
    n_evaluations : int
        As for `run_search`.
    on_round : callable, optional
        Called after each round with the evaluations so far, the best vector and its reward.

    Returns
    -------
    Found

    Raises
    ------
    SamstarError
        If there is no evaluation to spend.
    """

    def tell_best(vectors: Vectors, rewards: NDArray[np.float64]) -> None:
        best = int(np.argmax(rewards))
        if on_round is not None:
            on_round(len(vectors), vectors[best], float(rewards[best]))

    vectors, rewards = run_search(
        search,
        lambda asked: np.array([float(reward(vector)) for vector in asked]),
        n_evaluations,
        on_round=tell_best,
    )
    best = int(np.argmax(rewards))
    return Found(vectors[best], float(rewards[best]), vectors, rewards)


def static_start(task: Task) -> Vectors:
    """The task's static settings as the vector that a search begins with, (1, n)."""
    return np.asarray([task.space.encode(task.static)], dtype=float)


def derive_seed(*key: int) -> int:
    """A seed that depends on several numbers, such as a run's seed and the frame's position."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


class GeneticSearch:
    """pymoo's genetic algorithm (real-coded: SBX crossover, polynomial mutation, tournaments).

    Parameters
    ----------
    n : int
        Length of a vector.
    seed : int
    population : int
        Vectors per generation.
    start : (k, n) array, optional
        Vectors of the first generation, at most ``population`` of them; the rest is random.
    n_objectives : int
        With more than one the algorithm is NSGA-II, which searches the front between them (K. Deb
        et al., IEEE Trans. Evol. Comput. 6, 2002).
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        population: int = POPULATION,
        start: Vectors | None = None,
        n_objectives: int = 1,
    ) -> None:
        self._rng = np.random.default_rng([seed, 1])
        first = self._rng.uniform(-1.0, 1.0, (population, n))
        if start is not None:
            given = np.atleast_2d(start)[:population]
            first[: len(given)] = np.clip(given, -1.0, 1.0)
        kind = GA if n_objectives == 1 else NSGA2
        self._problem = Problem(n_var=n, n_obj=n_objectives, xl=-1.0, xu=1.0)
        self._algorithm = kind(pop_size=population, sampling=first, eliminate_duplicates=True)
        # pymoo seeds itself from one integer below 2**32
        self._algorithm.setup(
            self._problem, termination=NoTermination(), seed=derive_seed(seed), verbose=False
        )
        self._asked: Population | None = None

    def ask(self) -> Vectors:
        """The next generation."""
        asked = self._algorithm.ask()
        if asked is None or len(asked) == 0:  # all offspring were duplicates: bring in fresh blood
            asked = Population.new(X=self._rng.uniform(-1.0, 1.0, (2, self._problem.n_var)))
        self._asked = asked
        return np.asarray(asked.get("X"), dtype=float)

    def tell(self, rewards: NDArray[np.float64]) -> None:
        """The (k,) rewards or (k, n_objectives) objectives of the last generation."""
        losses = -np.asarray(rewards, dtype=float).reshape(len(rewards), -1)
        Evaluator().eval(StaticProblem(self._problem, F=losses), self._asked)
        self._algorithm.tell(infills=self._asked)

    def survivors(self) -> Vectors:
        """The population so far, best first: what a search on the next frame can start from."""
        population = self._algorithm.pop
        if population is None or len(population) == 0:
            return np.empty((0, self._problem.n_var))
        order = np.argsort(population.get("F")[:, 0], kind="stable")
        return np.asarray(population.get("X"), dtype=float)[order]


class RefinedSearch:
    """The genetic algorithm for some generations, then ever smaller steps around the best vector.

    The steps are Gaussian, in about half of the coordinates. After each batch their size grows by a
    half if more than a fifth of them gained, else it shrinks to 0.8 of itself: the 1/5 success rule
    of I. Rechenberg, "Evolutionsstrategie", 1973. So a choice is found beyond any grid, and beyond
    where crossover alone would be with so few evaluations.

    Parameters
    ----------
    n, seed, start
        As for `GeneticSearch`.
    """

    GENERATIONS, BATCH = 5, 8
    STEP, LEAST_STEP, MOST_STEP = 0.2, 0.003, 0.5
    SUCCESS, GROWTH, SHRINKAGE = 0.2, 1.5, 0.8

    def __init__(self, n: int, *, seed: int, start: Vectors | None = None) -> None:
        self._genetic = GeneticSearch(n, seed=seed, start=start)
        self._rng = np.random.default_rng([seed, 3])
        self._step = self.STEP
        self._best: tuple[float, Vectors] = (-np.inf, np.zeros(n))
        self._rounds = 0
        self._asked: Vectors = np.empty((0, n))

    def ask(self) -> Vectors:
        """A generation, or steps around the best."""
        self._rounds += 1
        if self._rounds <= self.GENERATIONS:
            self._asked = self._genetic.ask()
        else:
            best = self._best[1]
            shape = (self.BATCH, len(best))
            moved = self._rng.random(shape) < 0.5
            moved[np.arange(self.BATCH), self._rng.integers(len(best), size=self.BATCH)] = True
            steps = moved * self._step * self._rng.normal(size=shape)
            self._asked = np.clip(best + steps, -1.0, 1.0)
        return self._asked

    def tell(self, rewards: NDArray[np.float64]) -> None:
        """Learn from the generation, or adapt the step."""
        gained = float(np.mean(rewards > self._best[0]))
        first = int(np.argmax(rewards))
        if gained > 0:
            self._best = float(rewards[first]), self._asked[first]
        if self._rounds <= self.GENERATIONS:
            self._genetic.tell(rewards)
            return
        factor = self.GROWTH if gained > self.SUCCESS else self.SHRINKAGE
        self._step = float(np.clip(factor * self._step, self.LEAST_STEP, self.MOST_STEP))


SEARCHES: dict[str, Callable[..., Search]] = {"genetic": GeneticSearch, "refined": RefinedSearch}
"""Searches for one choice by name; each takes ``n, seed=, start=``."""


def make_search(algorithm: str, task: Task, *, seed: int, start: Vectors | None = None) -> Search:
    """A search over a task's free settings.

    Parameters
    ----------
    algorithm : str
        A name of `SEARCHES`.
    task : Task
    seed : int
    start : (k, n) array, optional
        Vectors to try first; by default the task's static settings.

    Returns
    -------
    Search

    Raises
    ------
    SamstarError
        If the algorithm is unknown.
    """
    if algorithm not in SEARCHES:
        raise SamstarError(f"algorithm must be one of {', '.join(SEARCHES)}, got {algorithm!r}")
    first = static_start(task) if start is None else start
    return SEARCHES[algorithm](task.space.n, seed=seed, start=first)


def non_dominated(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of (N, m) points, all coordinates to be maximised, no other point dominates.

    A point dominates another if it is nowhere less and somewhere greater.
    """
    best = NonDominatedSorting().do(-points, only_non_dominated_front=True)
    return np.isin(np.arange(len(points)), best)
