"""Searching settings by ask and tell: the genetic algorithm, random choice, and their Pareto form.

Every search works on the action vector in [-1, 1] that the policies act with, and maximises
rewards. pymoo minimises: `GeneticSearch.tell` and `ParetoSearch.tell` are the places where
``F = -reward`` is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.algorithm import Algorithm
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from samstar_rl.errors import MissingExtraError, SamstarError

Vectors = NDArray[np.float64]

POPULATION = 20


class Search(Protocol):
    """Asks for rewards of vectors and learns from the answers."""

    def ask(self) -> Vectors:
        """The next (k, n) vectors in [-1, 1] whose rewards it wants."""

    def tell(self, rewards: NDArray[np.float64]) -> None:
        """The (k,) rewards of what it asked for last."""


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

    def best_so_far(self) -> NDArray[np.float64]:
        """The best reward after each evaluation, (N,)."""
        return np.maximum.accumulate(self.rewards)


def maximise(
    search: Search,
    reward: Callable[[Vectors], float],
    n_evaluations: int,
    *,
    on_round: Callable[[int, Vectors, float], None] | None = None,
) -> Found:
    """Run a search for a number of evaluations.

    Parameters
    ----------
    search : Search
    reward : callable
        Maps an (n,) vector to its reward.
    n_evaluations : int
        At least 1. A last round that exceeds it is cut short.
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
    if n_evaluations < 1:
        raise SamstarError(f"a search needs at least 1 evaluation, got {n_evaluations}")
    vectors: list[Vectors] = []
    rewards: list[float] = []
    while len(vectors) < n_evaluations:
        asked = search.ask()[: n_evaluations - len(vectors)]
        answers = [float(reward(vector)) for vector in asked]
        vectors.extend(asked)
        rewards.extend(answers)
        if len(vectors) < n_evaluations:
            search.tell(np.asarray(answers))
        if on_round is not None:
            best = int(np.argmax(rewards))
            on_round(len(vectors), vectors[best], rewards[best])
    best = int(np.argmax(rewards))
    return Found(vectors[best], rewards[best], np.asarray(vectors), np.asarray(rewards))


class RandomSearch:
    """Uniform random vectors after the given ones.

    Parameters
    ----------
    n : int
        Length of a vector.
    seed : int
    start : (k, n) array, optional
        Vectors to begin with.
    """

    def __init__(self, n: int, *, seed: int, start: Vectors | None = None) -> None:
        self._rng = np.random.default_rng(seed)
        self._start = np.empty((0, n)) if start is None else np.atleast_2d(start)
        self._n = n
        self._asked = 0

    def ask(self) -> Vectors:
        """The start vectors first, then batches of random ones."""
        self._asked += 1
        if self._asked == 1 and len(self._start):
            return self._start
        return self._rng.uniform(-1.0, 1.0, (POPULATION, self._n))

    def tell(self, rewards: NDArray[np.float64]) -> None:
        """Learn nothing."""


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
    """

    def __init__(
        self, n: int, *, seed: int, population: int = POPULATION, start: Vectors | None = None
    ) -> None:
        self._rng = np.random.default_rng([seed, 1])
        sampling = _first_generation(self._rng, n, population, start)
        algorithm = GA(pop_size=population, sampling=sampling, eliminate_duplicates=True)
        self._loop = _AskTell(algorithm, n, n_objectives=1, seed=seed)
        self._population = population

    def ask(self) -> Vectors:
        """The next generation."""
        return self._loop.ask(self._rng)

    def tell(self, rewards: NDArray[np.float64]) -> None:
        """Its rewards."""
        self._loop.tell(-np.asarray(rewards, dtype=float)[:, None])

    def survivors(self) -> Vectors:
        """The population so far, best first: what a search on the next frame can start from."""
        return self._loop.survivors()


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
        is_local = self._rounds > self.GENERATIONS
        self._asked = self._steps() if is_local else self._genetic.ask()
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

    def _steps(self) -> Vectors:
        best = self._best[1]
        shape = (self.BATCH, len(best))
        moved = self._rng.random(shape) < 0.5
        moved[np.arange(self.BATCH), self._rng.integers(len(best), size=self.BATCH)] = True
        return np.clip(best + moved * self._step * self._rng.normal(size=shape), -1.0, 1.0)


class ParetoSearch:
    """NSGA-II over several objectives, all of them maximised.

    Parameters
    ----------
    n, seed, population, start
        As for `GeneticSearch`.
    n_objectives : int
    """

    def __init__(
        self,
        n: int,
        n_objectives: int,
        *,
        seed: int,
        population: int = 2 * POPULATION,
        start: Vectors | None = None,
    ) -> None:
        self._rng = np.random.default_rng([seed, 1])
        sampling = _first_generation(self._rng, n, population, start)
        algorithm = NSGA2(pop_size=population, sampling=sampling, eliminate_duplicates=True)
        self._loop = _AskTell(algorithm, n, n_objectives=n_objectives, seed=seed)

    def ask(self) -> Vectors:
        """The next generation."""
        return self._loop.ask(self._rng)

    def tell(self, rewards: NDArray[np.float64]) -> None:
        """Its (k, n_objectives) rewards."""
        self._loop.tell(-np.asarray(rewards, dtype=float))


class TpeSearch:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011); needs the extra ``optuna``.

    Parameters
    ----------
    n, seed, start
        As for `GeneticSearch`.

    Raises
    ------
    ImportError
        If Optuna is not installed.
    """

    def __init__(self, n: int, *, seed: int, start: Vectors | None = None) -> None:
        try:
            import optuna
        except ImportError as error:
            raise MissingExtraError("the TPE search", "Optuna", "optuna") from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            # Optuna calls the multivariate form experimental, since 2020
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._axes: dict[str, Any] = {
            f"x{i}": optuna.distributions.FloatDistribution(-1.0, 1.0) for i in range(n)
        }
        for vector in [] if start is None else np.atleast_2d(start):
            self._study.enqueue_trial(dict(zip(self._axes, map(float, vector), strict=True)))

    def ask(self) -> Vectors:
        """The next vector: one at a time, each informed by all before."""
        self._trial = self._study.ask(self._axes)
        return np.array([[self._trial.params[name] for name in self._axes]])

    def tell(self, rewards: NDArray[np.float64]) -> None:
        """Its reward."""
        self._study.tell(self._trial, float(rewards[0]))


class _AskTell:
    """A pymoo algorithm driven from outside, in [-1, 1]."""

    def __init__(self, algorithm: Algorithm, n: int, *, n_objectives: int, seed: int) -> None:
        self._problem = Problem(n_var=n, n_obj=n_objectives, xl=-1.0, xu=1.0)
        self._algorithm = algorithm
        # pymoo seeds itself from one integer below 2**32
        algorithm.setup(
            self._problem,
            termination=NoTermination(),
            seed=int(np.random.SeedSequence(seed).generate_state(1)[0]),
            verbose=False,
        )
        self._asked: Population | None = None

    def ask(self, rng: np.random.Generator) -> Vectors:
        asked = self._algorithm.ask()
        if asked is None or len(asked) == 0:  # all offspring were duplicates: bring in fresh blood
            asked = Population.new(X=rng.uniform(-1.0, 1.0, (2, self._problem.n_var)))
        self._asked = asked
        return np.asarray(asked.get("X"), dtype=float)

    def tell(self, losses: NDArray[np.float64]) -> None:
        Evaluator().eval(StaticProblem(self._problem, F=losses), self._asked)
        self._algorithm.tell(infills=self._asked)

    def survivors(self) -> Vectors:
        population = self._algorithm.pop
        if population is None or len(population) == 0:
            return np.empty((0, self._problem.n_var))
        order = np.argsort(population.get("F")[:, 0], kind="stable")
        return np.asarray(population.get("X"), dtype=float)[order]


def non_dominated(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of (N, m) points, all coordinates to be maximised, no other point dominates.

    A point dominates another if it is nowhere less and somewhere greater.
    """
    front = np.ones(len(points), dtype=bool)
    for i, point in enumerate(points):
        if front[i]:
            worse = (points <= point).all(axis=1) & (points < point).any(axis=1)
            front &= ~worse
    return front


def _first_generation(
    rng: np.random.Generator, n: int, population: int, start: Vectors | None
) -> Vectors:
    vectors = rng.uniform(-1.0, 1.0, (population, n))
    if start is not None:
        given = np.atleast_2d(start)[:population]
        vectors[: len(given)] = np.clip(given, -1.0, 1.0)
    return vectors
