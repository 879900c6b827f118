"""TensorBoard's view of a benchmark: a run for each task and contender, all on the same tags.

Seeds are averaged: TensorBoard opens with nothing selected where there are more than 40 runs.

``budget/score`` and ``budget/f1`` against the budget, for all; no limit stands at twice the
greatest one. ``eval/score`` and ``eval/reward`` against evaluations and, as ``eval_by_second/...``,
against seconds, for all that learns or searches before it is judged. HPARAMS compares all runs by
what they came to on the test frames.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samstar_rl.agents.benchmark.claims import (
    DEFAULT,
    GENETIC,
    SEARCH,
    best_policy,
    claimed,
    tables_of,
)
from samstar_rl.agents.benchmark.figures import (
    NO_LIMIT,
    draw_front,
    draw_together,
    front_of,
    pictures_of,
)
from samstar_rl.agents.benchmark.units import short_name
from samstar_rl.agents.judging.statistics import mean_curve
from samstar_rl.agents.reporting.curve_writer import BY_EVALUATIONS, BY_SECONDS, CurveWriter

if TYPE_CHECKING:
    import pandas as pd

    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.run import BenchmarkResults

BY_BUDGET = "budget"
LAYOUT = {
    "What a budget buys": {
        "F1 against budget": ["Multiline", [f"{BY_BUDGET}/f1"]],
        "score against budget": ["Multiline", [f"{BY_BUDGET}/score"]],
    },
    "RL and GA on the same axes": {
        "score against evaluations": ["Multiline", [f"{BY_EVALUATIONS}/score"]],
        "score against seconds": ["Multiline", [f"{BY_SECONDS}/score"]],
    },
}
_SHOWN_HYPERPARAMETERS = ("learning_rate", "batch_size", "n_steps", "gamma", "initial_std")


def events_folder(folder: Path, condition: str, task: str) -> Path:
    """Where the runs of a task under a condition lie.

    Parameters
    ----------
    folder : path
        Of all runs.
    condition, task : str

    Returns
    -------
    Path
    """
    return folder / f"{condition}-{short_name(task)}"


def write_events(plan: BenchmarkPlan, results: BenchmarkResults, folder: Path) -> None:
    """Write all events anew.

    Parameters
    ----------
    plan : BenchmarkPlan
    results : BenchmarkResults
    folder : path
        For ``tensorboard --logdir``; a folder in it shows one task under one condition alone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for condition, task in plan.banks():
        tables = tables_of(results.rows, condition, task)
        own = events_folder(folder, condition, task)
        for name, rows in tables.items():
            sheets = [
                sheet
                for unit, sheet in results.sheets.items()
                if (unit.condition, unit.task, unit.contender) == (condition, task, name)
            ]
            with CurveWriter(own / name) as events:
                curve = mean_curve([sheet["curve"] for sheet in sheets])
                for evaluations, seconds, score in curve:
                    events.point({"score": score}, evaluations=round(evaluations), seconds=seconds)
                _write_budgets(events, rows, plan.limits)
                events.hyperparameters(*_hyperparameters(task, name, sheets, claimed(rows)))
        _write_pictures(results, condition, task, own / "pictures")
        with CurveWriter(own) as events:  # the same in every task: TensorBoard shows it once
            events.layout(LAYOUT)


def _write_budgets(events: CurveWriter, rows: pd.DataFrame, limits: Sequence[float]) -> None:
    unlimited = NO_LIMIT * max((b for b in limits if not math.isinf(b)), default=1.0)
    for measure in ("score", "f1"):
        if measure in rows:
            for budget, mean in rows.groupby("budget")[measure].mean().items():
                step = round(min(float(budget), unlimited))
                events.scalar(f"{BY_BUDGET}/{measure}", float(mean), step)


def _hyperparameters(
    task: str, contender: str, sheets: Sequence[dict[str, Any]], rows: pd.DataFrame
) -> tuple[dict[str, Any], dict[str, float]]:
    """What a contender was made with, and what it came to."""
    chosen = {"task": short_name(task), "contender": contender, "seeds": str(len(sheets))}
    known = sheets[0]["hyperparameters"]
    chosen |= {name: known[name] for name in _SHOWN_HYPERPARAMETERS if name in known}
    results = {f"test/{n}": float(rows[n].mean()) for n in ("score", "f1", "cost") if n in rows}
    results["test/evaluations"] = float(rows["n_evaluations"].mean())
    results["train/seconds"] = float(np.mean([sheet["seconds"] for sheet in sheets]))
    return chosen, results


def _write_pictures(results: BenchmarkResults, condition: str, task: str, folder: Path) -> None:
    with CurveWriter(folder) as events:
        names = [DEFAULT, SEARCH, best_policy(results, condition, task), GENETIC]
        wanted = [name for name in names if name is not None]
        rows = pictures_of(results, condition, task, wanted)
        for number, (_, pictures) in enumerate(rows, start=1):
            events.figure(f"before and after/frame {number}", draw_together(pictures))
        for number, (_, pictures) in enumerate(pictures_of(results, condition, task), start=1):
            for name, picture in pictures.items():
                events.picture(f"frame {number}/{name}", picture)
        front = front_of(results, condition, task)
        if front is not None:
            events.figure("Pareto front of one frame", draw_front(front))
