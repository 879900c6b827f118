"""Fronts of settings between which terms of the score trade off, and the choice of one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from samstar_rl.agents.search.ask_tell import POPULATION, GeneticSearch, run_search, static_start
from samstar_rl.agents.search.over_frames import OverFrames, evaluate_over
from samstar_rl.agents.search.static import count_choices
from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.agents.search.ask_tell import Vectors
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.objective import Objective
    from samstar_rl.tuning.tuner import FrameSource

DEFAULT_TERMS = 3
#: Points that a front keeps at most; the most crowded are left out.
FRONT_SIZE = 40
_FLOOR = "floor:"


class PickError(SamstarError):
    """A point of a front was asked for in a way that is not understood, or that none fulfils."""


@dataclass(frozen=True)
class ParetoFront:
    """What a search over several terms found.

    Attributes
    ----------
    terms : tuple of str
        Those that were searched over.
    points : tuple of OverFrames
        The one of the best score first.
    evaluated : (N, n_terms) array
        The searched terms of everything that was tried.
    n_evaluations : int
        One is one choice of settings on one frame.
    """

    terms: tuple[str, ...]
    points: tuple[OverFrames, ...]
    evaluated: NDArray[np.float64]
    n_evaluations: int

    def values(self) -> NDArray[np.float64]:
        """The searched terms of the points, (n_points, n_terms)."""
        return np.array([[point.terms[name] for name in self.terms] for point in self.points])


def search_pareto(
    sources: Sequence[FrameSource],
    objective: Objective,
    *,
    terms: Sequence[str] = (),
    n_evaluations: int,
    seed: int = 0,
    on_round: Callable[[int], None] | None = None,
) -> ParetoFront:
    """Search settings between whose mean terms over frames there is a trade-off (NSGA-II).

    Parameters
    ----------
    sources : sequence of FrameSource
    objective : Objective
        Its task has the terms; prompts cost nothing here.
    terms : sequence of str
        Of the task, two or more; by default the `DEFAULT_TERMS` of most weight.
    n_evaluations : int
        In all; one is one choice of settings on one frame.
    seed : int
    on_round : callable, optional
        Called after each round with the evaluations so far.

    Returns
    -------
    ParetoFront

    Raises
    ------
    SamstarError
        If there are no frames, too few evaluations, or terms that the task lacks.
    """
    names = checked_terms(objective.task, terms)
    choices = count_choices(n_evaluations, len(sources))
    task, tried = objective.task, list[OverFrames]()

    def evaluate(vectors: Vectors) -> NDArray[np.float64]:
        answers = [evaluate_over(sources, objective, task.space.decode(one)) for one in vectors]
        tried.extend(answers)
        return np.array([[one.terms[name] for name in names] for one in answers])

    _, values = run_search(
        GeneticSearch(
            task.space.n,
            seed=seed,
            population=2 * POPULATION,
            start=static_start(task),
            n_objectives=len(names),
        ),
        evaluate,
        choices,
        on_round=lambda vectors, _: on_round(len(vectors) * len(sources)) if on_round else None,
    )
    return ParetoFront(names, _front(tried, values), values, len(tried) * len(sources))


def checked_terms(task: Task, terms: Sequence[str]) -> tuple[str, ...]:
    """The terms to search over; without any, those of most weight.

    Raises
    ------
    SamstarError
        If one is not among the task's, occurs twice, or there is but one.
    """
    if not terms:
        ranked = sorted(task.terms, key=lambda name: -task.terms[name].weight)
        terms = ranked[:DEFAULT_TERMS]
    unknown = [name for name in terms if name not in task.terms]
    if unknown:
        raise SamstarError(
            f"task {task.name!r} has no term {unknown[0]!r}: {', '.join(task.terms)}"
        )
    if len(terms) < 2 or len(set(terms)) < len(terms):
        raise SamstarError(f"a front needs two or more different terms, got {', '.join(terms)}")
    return tuple(terms)


def _front(tried: Sequence[OverFrames], values: NDArray[np.float64]) -> tuple[OverFrames, ...]:
    """The points that none dominates, thinned where they crowd, best score first."""
    # pymoo minimises
    best = NonDominatedSorting().do(-values, only_non_dominated_front=True)
    # of several with the same terms one is enough: the one of the best score
    ranked = sorted(best.tolist(), key=lambda i: -tried[i].score)
    _, first = np.unique(values[ranked].round(9), axis=0, return_index=True)
    distinct = np.array(ranked)[np.sort(first)]
    if len(distinct) > FRONT_SIZE:
        crowding = calc_crowding_distance(-values[distinct])
        crowding[0] = np.inf  # the best score stays
        distinct = distinct[np.sort(np.argsort(-crowding, kind="stable")[:FRONT_SIZE])]
    return tuple(tried[i] for i in distinct)


def check_pick(how: str, task: Task) -> None:
    """See that a way to pick is understood, before any work is done.

    Raises
    ------
    PickError
        If it is none of those that `pick` knows, or names a term that the task lacks.
    """
    if how.startswith(_FLOOR):
        unknown = [name for name in _floors(how) if name not in task.terms]
        if unknown:
            raise PickError(
                f"task {task.name!r} has no term {unknown[0]!r} to set a floor to: "
                f"{', '.join(task.terms)}"
            )
    elif how not in ("weights", "knee"):
        raise PickError(f"a point is picked by weights, knee or floor:TERM=0.8,..., got {how!r}")


def pick(front: ParetoFront, how: str = "weights") -> int:
    """Choose one point of a front.

    Parameters
    ----------
    front : ParetoFront
    how : str
        "weights": the best score, with the task's weights. "knee": the greatest sum of the
        searched terms, each stretched to [0, 1] over the front: the point farthest out from the
        plane through the ends of the front (I. Das, Struct. Optim. 18, 1999). "floor:TERM=0.8,...":
        the best score among the points whose terms reach these values.

    Returns
    -------
    int
        Its position in ``front.points``, from 0.

    Raises
    ------
    PickError
        If no point reaches the floors, or the way is not understood.
    """
    if how == "knee":
        return knee(front.values())
    if not how.startswith(_FLOOR):
        return 0
    floors = _floors(how)
    for position, point in enumerate(front.points):
        if all(point.terms[name] >= least for name, least in floors.items()):
            return position
    reached = ", ".join(
        f"{name} {max(point.terms[name] for point in front.points):.3f}" for name in floors
    )
    raise PickError(f"no point of the front reaches {how.removeprefix(_FLOOR)}; at most: {reached}")


def knee(values: NDArray[np.float64]) -> int:
    """The point of greatest sum after each column is stretched to [0, 1]; see `pick`."""
    low, spread = values.min(axis=0), np.ptp(values, axis=0)
    stretched = (values - low) / np.where(spread > 0, spread, 1.0)
    return int(np.argmax(stretched.sum(axis=1)))


def _floors(how: str) -> dict[str, float]:
    floors = {}
    for part in how.removeprefix(_FLOOR).split(","):
        name, _, value = part.partition("=")
        try:
            floors[name.strip()] = float(value)
        except ValueError as error:
            raise PickError(f"a floor reads TERM=0.8, got {part!r}") from error
    return floors
