"""The multi-objective search that SAM* publishes, on each frame: NSGA-II over the score's terms.

It looks for the whole front of compromises between the terms (and the prompts that they cost), then
takes the one that the task's own weights prefer.

K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans. Evol.
Comput. 6, 2002.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.agents.search.ask_tell import ParetoSearch, Vectors, non_dominated
from samstar_rl.agents.tuners.tuners import EVALUATIONS

if TYPE_CHECKING:
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import FrameContext

COST = "cost"


@dataclass(frozen=True, eq=False)
class Front:
    """What a multi-objective search tried on one frame.

    Attributes
    ----------
    frame_id : str
    names : tuple of str
        Of the objectives: the task's terms, then ``cost``.
    values : (N, m) array
        Of each evaluation, all to be maximised.
    rewards : (N,) array
        The same by the task's weights.
    """

    frame_id: str
    names: tuple[str, ...]
    values: NDArray[np.float64]
    rewards: NDArray[np.float64]

    @property
    def optimal(self) -> NDArray[np.bool_]:
        """Which evaluations lie on the front."""
        return non_dominated(self.values)

    @property
    def chosen(self) -> int:
        """The evaluation on the front that the task's weights prefer."""
        return int(np.argmax(np.where(self.optimal, self.rewards, -np.inf)))


class Nsga2Tuner:
    """NSGA-II on each frame; of its front, the compromise that the task's weights prefer.

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
        space = self.task.space
        names = (*self.task.terms, COST)
        start = np.asarray([space.encode(self.task.static)], dtype=float)
        search = ParetoSearch(space.n, len(names), seed=self._next_seed(), start=start)
        vectors: list[Vectors] = []
        values: list[list[float]] = []
        rewards: list[float] = []
        while len(vectors) < self.n_evaluations:
            asked = search.ask()[: self.n_evaluations - len(vectors)]
            told = [self._evaluate(context, vector) for vector in asked]
            vectors.extend(asked)
            values.extend(objectives for objectives, _ in told)
            rewards.extend(reward for _, reward in told)
            if len(vectors) < self.n_evaluations:
                search.tell(np.asarray([objectives for objectives, _ in told]))
        front = Front(context.frame.id, names, np.asarray(values), np.asarray(rewards))
        self.fronts.append(front)
        return space.decode(vectors[front.chosen])

    def _evaluate(self, context: FrameContext, vector: Vectors) -> tuple[list[float], float]:
        settings = self.task.space.decode(vector)
        score, reward = context.evaluate(settings), context.reward(settings)
        terms = [score.terms[name] for name in self.task.terms]
        return [*terms, reward - score.total], reward

    def _next_seed(self) -> int:
        key = np.random.SeedSequence([self.seed, len(self.fronts)])
        return int(key.generate_state(1)[0])
