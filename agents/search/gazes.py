"""What each gaze comes to on a frame at each budget: who looks at all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.settings import ZOOMS
from samstar_rl.truth.metrics import f1_at
from samstar_rl.tuning.tuner import FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.truth.metrics import Truth
    from samstar_rl.tuning.objective import Objective
    from samstar_rl.tuning.tuner import Evaluation, FrameSource

NUMBERS = 10
"""Numbers of prompts that are tried at each zoom."""


def gazes_of(
    task: Task, n_numbers: int = NUMBERS, filters: Settings | None = None
) -> list[Settings]:
    """The same filters with every zoom and some numbers of prompts, the cheapest first.

    Parameters
    ----------
    task : Task
    n_numbers : int
        Numbers of prompts, spread evenly by their logarithm over what the task allows.
    filters : Settings, optional
        By default the task's static settings.

    Returns
    -------
    list of Settings
        The static settings alone where the task lets no number of prompts move.
    """
    static, space = filters or task.static, task.space
    if "n_prompts" not in space.names:
        return [static]
    numbers = np.geomspace(*space.limits("n_prompts"), n_numbers).round().astype(int)
    bound = task.settings.get("zoom")
    zooms = (static.zoom,) if bound is None else bound.ladder or ZOOMS
    return [
        static.replace(zoom=zoom, n_prompts=number, crop_n_layers=0)
        for number in dict.fromkeys(numbers.tolist())
        for zoom in zooms
    ]


@dataclass(frozen=True, eq=False)
class GazeValues:
    """What each of G gazes came to on a frame at each of B budgets.

    Attributes
    ----------
    reward, score, cost, f1 : (B, G) array
        F1 is NaN without truth.
    n_evaluations : int
        Evaluations that this took: what a budget makes equal is not evaluated again.
    """

    reward: NDArray[np.float64]
    score: NDArray[np.float64]
    cost: NDArray[np.float64]
    f1: NDArray[np.float64]
    n_evaluations: int


def evaluate_gazes(
    source: FrameSource,
    objective: Objective,
    gazes: Sequence[Settings],
    budgets: Sequence[float],
    truth: Truth | None = None,
    plausibilities: Sequence[float] = (),
) -> GazeValues:
    """Evaluate gazes on a frame at each budget, each by itself.

    Parameters
    ----------
    source : FrameSource
    objective : Objective
    gazes : sequence of Settings
    budgets : sequence of float
        The cost that the frame may have; infinite for no limit.
    truth : Truth, optional
        Of the frame, for judging.
    plausibilities : sequence of float
        Values of ``min_plausibility`` that are tried with each gaze besides its own: the best by
        reward is what the gaze comes to. By default filters stay as they are.

    Returns
    -------
    GazeValues
    """
    values = np.full((4, len(budgets), len(gazes)), np.nan)
    n_evaluations = 0
    known: dict[tuple[float, int], tuple[float, float, float, float]] = {}

    def judged(evaluation: Evaluation) -> tuple[float, float, float, float]:
        f1 = math.nan if truth is None else f1_at(evaluation.segmentation, truth)
        return evaluation.reward, evaluation.score.total, evaluation.cost, f1

    def best(settings: Settings, budget: float | None = None) -> Evaluation:
        nonlocal n_evaluations
        evaluator = FrameEvaluator(source, objective, cost_limit=budget)
        choices = [settings, *(settings.replace(min_plausibility=p) for p in plausibilities)]
        found = max(map(evaluator, choices), key=lambda evaluation: evaluation.reward)
        n_evaluations += evaluator.expense.n_evaluations
        return found

    for g, settings in enumerate(gazes):
        # once without a limit: what a budget leaves of it is known beforehand
        whole = best(settings)
        known[settings.zoom, whole.segmentation.n_prompts_decoded] = judged(whole)
        effort = whole.segmentation.proposals.effort
        for b, budget in enumerate(budgets):
            decoded = whole.segmentation.n_prompts_decoded
            if effort is not None and not math.isinf(budget):
                decoded = len(effort.first(decoded, budget).costs)
            key = (settings.zoom, decoded)
            if key not in known:
                known[key] = judged(best(settings, budget))
            values[:, b, g] = known[key]
    reward, score, cost, f1 = values
    return GazeValues(reward, score, cost, f1, n_evaluations)
