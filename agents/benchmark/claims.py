"""What a benchmark claims, what was measured, and whether it holds.

Every comparison is paired frame by frame, and its interval bootstrapped over seeds and streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.judging.statistics import (
    Estimate,
    cells_of,
    mean_interval,
    paired_cells,
    ratio_interval,
)

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.run import BenchmarkResults

SEARCH, OPERATOR, HINDSIGHT = "genetic", "frozen-start", "hindsight"
DEFAULT, STATIC = "default", "static"
UNSEEN, FOREIGN = "unseen", "others-static"

LEAST_RATIO = 0.97
LEAST_GAIN_OVER_OPERATOR = 0.08
GREATEST_LOSS_TO_HINDSIGHT = 0.02
LEAST_GAIN_UNSEEN = 0.05
MOST_MINUTES = 15.0

Tables = dict[str, pd.DataFrame]
"""Rows by contender."""


@dataclass(frozen=True)
class Claim:
    """A claim, what was measured, and whether it holds.

    Attributes
    ----------
    task, text, needed : str
        Of which task, what is claimed, and what the measured value must be.
    measured : Estimate
    holds : bool
    """

    task: str
    text: str
    needed: str
    measured: Estimate
    holds: bool


def check_claims(plan: BenchmarkPlan, results: BenchmarkResults) -> list[Claim]:
    """Hold the best learned policy of each task against search, operator and static settings.

    A claim whose contenders did not take part is left out.
    """
    claims: list[Claim] = []
    for task in plan.tasks:
        tables = tables_of(results.rows, task)
        best = best_policy(results, task)
        if best is not None:
            compare = _on_real_frames if plan.real is not None else _on_streams
            claims.extend(compare(task, best, tables))
        claims.extend(_on_unseen(task, tables))
        claims.extend(_on_time(task, results))
    return claims


def tables_of(rows: pd.DataFrame, task: str) -> Tables:
    """A task's rows by contender, in the order in which they were judged."""
    if rows.empty:
        return {}
    own = rows[rows["task"] == task]
    return {str(name): table for name, table in own.groupby("tuner", sort=False)}


def best_policy(results: BenchmarkResults, task: str) -> str | None:
    """The learner whose seeds did best on the validation streams, before any test."""
    scores: dict[str, list[float]] = {}
    for unit, sheet in results.sheets.items():
        is_learner = CONTENDERS[unit.contender].is_learner
        if unit.task == task and is_learner and sheet["curve"]:
            best = max(point[2] for point in sheet["curve"])
            scores.setdefault(unit.contender, []).append(best)
    return max(scores, key=lambda name: float(np.mean(scores[name]))) if scores else None


def _on_streams(task: str, best: str, tables: Tables) -> Iterator[Claim]:
    ours = tables[best]
    if SEARCH in tables:
        ratio = ratio_interval(cells_of(ours, "score"), cells_of(tables[SEARCH], "score"))
        claim = f"score of {best}, 1 evaluation a frame, over that of a genetic search per frame"
        needed = f"at least {LEAST_RATIO:g}"
        yield Claim(task, claim, needed, ratio, ratio.value >= LEAST_RATIO)
    if OPERATOR in tables and "f1" in ours:
        gain = mean_interval(paired_cells(ours, tables[OPERATOR], "f1"))
        claim = f"F1 of {best} less that of settings tuned on a stream's first frames"
        needed = f"at least {LEAST_GAIN_OVER_OPERATOR:g}, interval above 0"
        holds = gain.value >= LEAST_GAIN_OVER_OPERATOR and gain.above()
        yield Claim(task, claim, needed, gain, holds)
    if HINDSIGHT in tables and "f1" in ours:
        loss = mean_interval(paired_cells(ours, tables[HINDSIGHT], "f1"))
        claim = f"F1 of {best} less that of each stream's static settings in hindsight"
        needed = f"at least {-GREATEST_LOSS_TO_HINDSIGHT:g}"
        yield Claim(task, claim, needed, loss, loss.value >= -GREATEST_LOSS_TO_HINDSIGHT)


def _on_real_frames(task: str, best: str, tables: Tables) -> Iterator[Claim]:
    if STATIC not in tables:
        return
    ours, static = tables[best], tables[STATIC]
    if "f1" in ours:
        gain = mean_interval(paired_cells(ours, static, "f1"))
        claim = f"F1 of {best} less that of the static settings"
        yield Claim(task, claim, "not below 0", gain, gain.value >= 0)
    gain = mean_interval(paired_cells(ours, static, "score"))
    claim = f"score of {best} less that of the static settings"
    yield Claim(task, claim, "interval above 0", gain, gain.above())


def _on_unseen(task: str, tables: Tables) -> Iterator[Claim]:
    """A policy that never met the task against the static settings of what it did meet."""
    if UNSEEN not in tables or FOREIGN not in tables or "f1" not in tables[UNSEEN]:
        return
    foreign = cells_of(tables[FOREIGN], "f1")  # a row for each of the other tasks
    gain = mean_interval(cells_of(tables[UNSEEN], "f1") - foreign.mean(axis=0, keepdims=True))
    claim = "F1 of a policy of the other tasks less the mean of their static settings"
    needed = f"at least {LEAST_GAIN_UNSEEN:g}, interval above 0"
    yield Claim(task, claim, needed, gain, gain.value >= LEAST_GAIN_UNSEEN and gain.above())


def _on_time(task: str, results: BenchmarkResults) -> Iterator[Claim]:
    minutes = [
        (sheet["seconds"] + sheet["bank_seconds"]) / 60
        for unit, sheet in results.sheets.items()
        if unit.task == task and unit.contender == "ppo"
    ]
    if minutes:
        spread = Estimate(float(np.mean(minutes)), min(minutes), max(minutes))
        claim = "minutes to train PPO, SAM's work on its frames included; mean [least, most]"
        holds = spread.high <= MOST_MINUTES
        yield Claim(task, claim, f"at most {MOST_MINUTES:g}", spread, holds)


def gain_over(tables: Tables, name: str, measure: str, reference: str = STATIC) -> Estimate | None:
    """Paired difference to a reference on the frames that both met; None where there is none.

    Parameters
    ----------
    tables : dict of str to DataFrame
        Rows by contender.
    name, measure : str
        Of the contender, and of the column.
    reference : str
        The contender that it is compared with.

    Returns
    -------
    Estimate or None
    """
    if reference not in tables or name == reference or measure not in tables[name]:
        return None
    ours, theirs = common_frames(tables[name], tables[reference])
    return mean_interval(paired_cells(ours, theirs, measure))


def common_frames(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of two contenders on the frames that both were judged on."""
    both = set(first["frame_index"]) & set(second["frame_index"])
    return first[first["frame_index"].isin(both)], second[second["frame_index"].isin(both)]
