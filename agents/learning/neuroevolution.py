"""A policy whose weights a genetic algorithm evolves: RL and GA compared as learners.

The same observation and action as PPO's policy, the same number of evaluations; only what changes
the weights differs. A small network, since a genetic algorithm searches all its weights at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.agents.policies.network import PolicyNetwork
from samstar_rl.agents.search.ask_tell import GeneticSearch, run_search
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.tuning.tuner import run_tuner

if TYPE_CHECKING:
    from samstar_rl.agents.policies.network import Array, Normalisation
    from samstar_rl.agents.search.ask_tell import Vectors
    from samstar_rl.envs.bank_frames import BankFrames
    from samstar_rl.tuning.objective import Objective

HIDDEN = 8
REACH = 1.0
"""A gene of +-1 is a weight of +- this over the square root of the layer's inputs."""


@dataclass(frozen=True)
class Genome:
    """How a vector in [-1, 1] becomes the weights of a small policy.

    Attributes
    ----------
    normalisation : Normalisation
    centre : (n,) array
        The encoded static settings: the policy of all-zero genes answers them.
    """

    normalisation: Normalisation
    centre: Array

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The shapes of the weights, whose last column are the biases."""
        return (HIDDEN, len(self.normalisation.mean) + 1), (len(self.centre), HIDDEN + 1)

    @property
    def size(self) -> int:
        """Number of genes."""
        return sum(rows * columns for rows, columns in self.shapes)

    def express(self, genes: Vectors) -> PolicyNetwork:
        """The policy of these genes."""
        weights, biases, start = [], [], 0
        for rows, columns in self.shapes:
            block = genes[start : start + rows * columns].reshape(rows, columns)
            start += rows * columns
            scaled = (REACH * np.sqrt(3.0 / columns) * block).astype(np.float32)
            weights.append(np.ascontiguousarray(scaled[:, :-1]))
            biases.append(np.ascontiguousarray(scaled[:, -1]))
        return PolicyNetwork(
            self.normalisation, tuple(weights), tuple(biases), "tanh", True, self.centre, 2.0
        )


def evolve_policy(
    frames: BankFrames,
    streams: Sequence[range],
    objective: Objective,
    normalisation: Normalisation,
    *,
    n_evaluations: int,
    budgets: tuple[float, float] | None = None,
    seed: int,
    window: int = 8,
    windows_per_generation: int = 2,
    population: int = 24,
    on_generation: Callable[[int, PolicyNetwork], None] | None = None,
) -> tuple[PolicyNetwork, int]:
    """Evolve a policy on windows of streams.

    All individuals of a generation meet the same windows; each generation meets others, so that
    none is bred for a few frames. Those that survive keep the reward of their own generation.

    Parameters
    ----------
    frames : BankFrames
    streams : sequence of range
        To train on.
    objective : Objective
    normalisation : Normalisation
    n_evaluations : int
        One is one frame segmented.
    budgets : (float, float), optional
        The cost that frames may have is drawn log-uniformly between these, for each window.
    seed : int
    window : int
        Consecutive frames that an individual runs through.
    windows_per_generation : int
    population : int
    on_generation : callable, optional
        Called with the evaluations so far and the best policy of the generation.

    Returns
    -------
    network : PolicyNetwork
        The best of the last generation.
    n_evaluations : int
        Spent.
    """
    centre = objective.task.space.encode(objective.task.static)
    genome = Genome(normalisation, centre)
    rng = np.random.default_rng([seed, 2])

    # the static settings first, then policies ever farther from them
    spread = np.linspace(0.0, 0.5, population)[:, None]
    start = np.clip(spread * rng.normal(size=(population, genome.size)), -1.0, 1.0)
    search = GeneticSearch(genome.size, seed=seed, population=population, start=start)
    spent, best = 0, genome.express(start[0])

    def evaluate(genes: Vectors) -> NDArray[np.float64] | None:
        nonlocal spent
        chosen = _draw_windows(rng, streams, window, windows_per_generation)
        limits = [_draw_budget(rng, budgets) for _ in chosen]
        cost = len(genes) * sum(map(len, chosen))
        if spent and spent + cost > n_evaluations:
            return None
        spent += cost
        return np.array(
            [_mean_reward(genome.express(one), frames, chosen, limits, objective) for one in genes]
        )

    def keep_best(*_: object) -> None:
        nonlocal best
        best = genome.express(search.survivors()[0])
        if on_generation is not None:
            on_generation(spent, best)

    # the frames that are met are counted, not the policies: `evaluate` ends the search
    run_search(search, evaluate, n_evaluations + population, on_round=keep_best)
    return best, spent


def _draw_windows(
    rng: np.random.Generator, streams: Sequence[range], window: int, count: int
) -> list[range]:
    chosen = []
    for _ in range(count):
        stream = streams[int(rng.integers(len(streams)))]
        size = min(window, len(stream))
        first = stream.start + int(rng.integers(len(stream) - size + 1))
        chosen.append(range(first, first + size))
    return chosen


def _draw_budget(rng: np.random.Generator, budgets: tuple[float, float] | None) -> float | None:
    return None if budgets is None else float(np.exp(rng.uniform(*np.log(budgets))))


def _mean_reward(
    network: PolicyNetwork,
    frames: BankFrames,
    windows: Sequence[range],
    budgets: Sequence[float | None],
    objective: Objective,
) -> float:
    tuner = PolicyTuner(network, frames.builder, frames=frames)
    rewards = [
        tuned.evaluation.reward
        for window, budget in zip(windows, budgets, strict=True)
        for tuned in run_tuner(tuner, map(frames.source, window), objective, cost_limit=budget)
    ]
    return float(np.mean(rewards))
