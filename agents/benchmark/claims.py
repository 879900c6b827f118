"""What a benchmark claims, what was measured, and whether it holds.

Every comparison is paired stream by stream at equal budgets, and its interval bootstrapped over
seeds and streams. Conditions are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.benchmark.units import DRIFT, REAL, SURVEY
from samstar_rl.agents.judging.statistics import (
    Cells,
    Estimate,
    bootstrap,
    cells_of,
    difference_interval,
    mean_interval,
    ratio_interval,
)

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.run import BenchmarkResults

STATIC, SEARCH, OPERATOR, GENETIC = "static", "static-search", "frozen-start", "genetic"
DEFAULT, ORACLE, UNSEEN, FOREIGN = "default", "oracle", "unseen", "others-static"

CLAIMED = (150.0, 600.0)
"""Budgets, the ends included, that claims are about."""
LEAST_GAIN_IN_SURVEYS = 0.08
LEAST_SHARE_OF_ORACLE, WORTH_CHOOSING = 0.5, 0.03
"""Of what the oracle gains, wherever that exceeds the latter."""
LEAST_RATIO = 0.99
MOST_COST = 1 / 3
NEVER = 100.0
"""Stands for the share of a cost at which an F1 is never reached."""
LEAST_GAIN_UNSEEN = 0.05
MOST_MINUTES = 45.0

Tables = dict[str, pd.DataFrame]
"""Rows by contender."""


@dataclass(frozen=True)
class Claim:
    """A claim, what was measured, and whether it holds.

    Attributes
    ----------
    where, text, needed : str
        Under which condition, what is claimed, and what the measured value must be.
    measured : Estimate
    holds : bool
    """

    where: str
    text: str
    needed: str
    measured: Estimate
    holds: bool


def check_claims(plan: BenchmarkPlan, results: BenchmarkResults) -> list[Claim]:
    """Hold the best learned policy of each condition against searches and static choices.

    A claim whose contenders did not take part is left out.
    """
    claims: list[Claim] = []
    task = plan.tasks[0]
    for condition in plan.conditions:
        tables = tables_of(results.rows, condition, task)
        best = best_policy(results, condition, task)
        if best is not None and best in tables:
            on = {SURVEY: _on_surveys, DRIFT: _on_drift, REAL: _on_real_frames}[condition]
            claims.extend(on(best, tables))
            claims.extend(_against_search(condition, best, tables))
        claims.extend(_on_time(condition, task, results))
    claims.extend(_on_unseen(plan, results))
    return claims


def tables_of(rows: pd.DataFrame, condition: str, task: str) -> Tables:
    """Rows of a task under a condition by contender, in the order in which they were judged.

    Parameters
    ----------
    rows : DataFrame
        As `BenchmarkResults` holds them.
    condition, task : str

    Returns
    -------
    dict of str to DataFrame
    """
    if rows.empty:
        return {}
    own = rows[(rows["task"] == task) & (rows["condition"] == condition)]
    return {str(name): table for name, table in own.groupby("tuner", sort=False)}


def best_policy(results: BenchmarkResults, condition: str, task: str) -> str | None:
    """The learner whose seeds did best on the validation streams, before any test.

    Parameters
    ----------
    results : BenchmarkResults
    condition, task : str

    Returns
    -------
    str or None
        The contender's name, None where no learner is done.
    """
    scores: dict[str, list[float]] = {}
    for unit, sheet in results.sheets.items():
        is_learner = CONTENDERS[unit.contender].is_learner
        if (unit.condition, unit.task) == (condition, task) and is_learner and sheet["curve"]:
            best = max(point[2] for point in sheet["curve"])
            scores.setdefault(unit.contender, []).append(best)
    return max(scores, key=lambda name: float(np.mean(scores[name]))) if scores else None


def claimed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the budgets that claims are about; all where there are none."""
    own = rows[rows["budget"].between(*CLAIMED)]
    return own if len(own) else rows


def _on_surveys(best: str, tables: Tables) -> Iterator[Claim]:
    if SEARCH in tables and "f1" in tables[best]:
        gain = difference_interval(claimed(tables[best]), claimed(tables[SEARCH]), "f1")
        text = f"F1 of {best} less that of the best static choice for the budget, 150 to 600"
        holds = gain.value >= LEAST_GAIN_IN_SURVEYS and gain.above()
        needed = f"at least {LEAST_GAIN_IN_SURVEYS:g}, interval above 0"
        yield Claim(SURVEY, text, needed, gain, holds)


def _on_drift(best: str, tables: Tables) -> Iterator[Claim]:
    if OPERATOR in tables and "f1" in tables[best]:
        gain = difference_interval(tables[best], tables[OPERATOR], "f1")
        text = f"F1 of {best} less that of settings tuned on a stream's first frames, all budgets"
        yield Claim(DRIFT, text, "not below 0", gain, gain.value >= 0)


def _on_real_frames(best: str, tables: Tables) -> Iterator[Claim]:
    if SEARCH not in tables or "f1" not in tables[best]:
        return
    ours, static = tables[best], tables[SEARCH]
    for budget in sorted(claimed(ours)["budget"].unique()) if ORACLE in tables else ():
        at = [rows[rows["budget"] == budget] for rows in (ours, static, tables[ORACLE])]
        bound = difference_interval(at[2], at[1], "f1").value
        if bound <= WORTH_CHOOSING:
            continue
        gain = difference_interval(at[0], at[1], "f1")
        text = (
            f"F1 of {best} less that of the best static choice, budget {budget:g} "
            f"(the oracle gains {bound:.3f})"
        )
        least = LEAST_SHARE_OF_ORACLE * bound
        holds = gain.value >= least and gain.above()
        yield Claim(REAL, text, f"at least {least:.3f}, interval above 0", gain, holds)
    unlimited = static[np.isinf(static["budget"])]
    if len(unlimited):
        share = cost_to_reach(ours, unlimited)
        text = (
            f"cost at which {best} reaches the F1 of the best static choice without limit, over "
            "that choice's cost"
        )
        yield Claim(REAL, text, f"at most {MOST_COST:.3f}", share, share.value <= MOST_COST)


def cost_to_reach(ours: pd.DataFrame, unlimited: pd.DataFrame) -> Estimate:
    """The cost at which a contender reaches another's F1, over the other's cost.

    Between budgets F1 is interpolated against the logarithm of the mean cost. Where it is never
    reached the value is `NEVER`. ``ours`` are rows at several budgets, the other's without a limit.
    """
    budgets = sorted(ours["budget"].unique())
    at = [ours[ours["budget"] == budget] for budget in budgets]
    columns = []
    for name in ("f1", "cost"):
        # the reference is the mean of its seeds
        columns.append(cells_of(unlimited, name).mean(axis=0, keepdims=True))
        columns.extend(cells_of(rows, name) for rows in at)
    shape = np.broadcast_shapes(*(column.shape for column in columns))
    cells = np.stack([np.broadcast_to(column, shape) for column in columns])

    def share(values: Cells) -> Cells:
        f1, cost = np.split(values.mean(axis=-1), 2)
        firsts = [_first_cost(f1[1:, k], cost[1:, k], f1[0, k]) for k in range(f1.shape[1])]
        return np.minimum(np.asarray(firsts) / cost[0], NEVER)

    return bootstrap(cells, share)


def _first_cost(f1: Cells, cost: Cells, wanted: float) -> float:
    reached = np.flatnonzero(f1 >= wanted)
    if len(reached) == 0:
        return math.inf
    k = int(reached[0])
    if k == 0 or f1[k] == f1[k - 1]:
        return float(cost[k])
    part = (wanted - f1[k - 1]) / (f1[k] - f1[k - 1])
    return float(np.exp(np.log(cost[k - 1]) + part * (np.log(cost[k]) - np.log(cost[k - 1]))))


def _against_search(condition: str, best: str, tables: Tables) -> Iterator[Claim]:
    if GENETIC in tables:
        ours, theirs = claimed(tables[best]), claimed(tables[GENETIC])
        ratio = ratio_interval(cells_of(ours, "score"), cells_of(theirs, "score"))
        text = f"score of {best} over that of a genetic search per frame, 150 to 600"
        needed = f"lower end at least {LEAST_RATIO:g}"
        yield Claim(condition, text, needed, ratio, ratio.low >= LEAST_RATIO)


def _on_unseen(plan: BenchmarkPlan, results: BenchmarkResults) -> Iterator[Claim]:
    """Policies that never met a task against the static settings of what they did meet."""
    cells = []
    for task in plan.tasks:
        tables = tables_of(results.rows, DRIFT, task)
        if UNSEEN in tables and FOREIGN in tables and "f1" in tables[UNSEEN]:
            foreign = cells_of(claimed(tables[FOREIGN]), "f1")  # a row for each other task
            own = cells_of(claimed(tables[UNSEEN]), "f1")
            cells.append(own - foreign.mean(axis=0, keepdims=True))
    if cells and len(cells) == len(plan.tasks):
        gain = mean_interval(np.concatenate(cells, axis=1))
        text = (
            "F1 of a policy of the other tasks less the mean of their static settings, 150 to 600"
        )
        needed = f"at least {LEAST_GAIN_UNSEEN:g}, interval above 0"
        holds = gain.value >= LEAST_GAIN_UNSEEN and gain.above()
        yield Claim(DRIFT, text, needed, gain, holds)


def _on_time(condition: str, task: str, results: BenchmarkResults) -> Iterator[Claim]:
    minutes = [
        (sheet["seconds"] + sheet["bank_seconds"]) / 60
        for unit, sheet in results.sheets.items()
        if (unit.condition, unit.task, unit.contender) == (condition, task, "ppo")
    ]
    if minutes:
        spread = Estimate(float(np.mean(minutes)), min(minutes), max(minutes))
        text = "minutes to train PPO, SAM's work on its frames included; mean [least, most]"
        holds = spread.high <= MOST_MINUTES
        yield Claim(condition, text, f"at most {MOST_MINUTES:g}", spread, holds)


def gain_over(tables: Tables, name: str, measure: str) -> Estimate | None:
    """Paired difference to `SEARCH` on frames and budgets that both met; None if there is none.

    Parameters
    ----------
    tables : dict of str to DataFrame
        Rows by contender.
    name, measure : str
        Of the contender, and of the column.

    Returns
    -------
    Estimate or None
    """
    if SEARCH not in tables or name == SEARCH or measure not in tables[name]:
        return None
    ours, theirs = common_frames(tables[name], tables[SEARCH])
    if ours.empty or theirs.empty:
        return None
    return difference_interval(ours, theirs, measure)


def common_frames(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of two contenders on the frames and at the budgets that both were judged on."""
    pair = [first, second]
    for name in ("frame_index", "budget"):
        both: Sequence[float] = list(set(first[name]) & set(second[name]))
        pair = [rows[rows[name].isin(both)] for rows in pair]
    return pair[0], pair[1]
