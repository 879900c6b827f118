"""TensorBoard's view of a benchmark: a run for each task and contender, all on the same tags.

Seeds are averaged: TensorBoard opens with nothing selected where there are more than 40 runs.

``eval/score`` and ``eval/reward`` against evaluations and, as ``eval_by_second/...``, against
seconds, for all that learns or searches before it is judged; ``search/reward`` against the
evaluations of a single frame, for searches on each frame and, as level lines, for what answers at
once. HPARAMS compares all runs by what they came to on the test frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samstar_rl.agents.benchmark.claims import DEFAULT, SEARCH, STATIC, best_policy
from samstar_rl.agents.benchmark.figures import (
    draw_front,
    draw_together,
    front_of,
    levels_of,
    mean_curve,
    pictures_of,
    searches_of,
)
from samstar_rl.agents.benchmark.units import short_name
from samstar_rl.agents.reporting.curve_writer import BY_EVALUATIONS, BY_SECONDS, CurveWriter

if TYPE_CHECKING:
    import pandas as pd

    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.run import BenchmarkResults

BY_FRAME = "search"
LAYOUT = {
    "RL and GA on the same axes": {
        "score against evaluations": ["Multiline", [f"{BY_EVALUATIONS}/score"]],
        "score against seconds": ["Multiline", [f"{BY_SECONDS}/score"]],
    },
    "A search on each frame beside a single answer": {
        "best reward against evaluations of a frame": ["Multiline", [f"{BY_FRAME}/reward"]],
    },
}
_SHOWN_HYPERPARAMETERS = ("learning_rate", "batch_size", "n_steps", "gamma", "initial_std")
_POINTS = 40


def write_events(plan: BenchmarkPlan, results: BenchmarkResults, folder: Path) -> None:
    """Write all events anew.

    Parameters
    ----------
    plan : BenchmarkPlan
    results : BenchmarkResults
    folder : path
        For ``tensorboard --logdir``; a task's own folder in it shows that task alone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for task in plan.tasks:
        rows = results.rows[results.rows["task"] == task]
        own = folder / short_name(task)
        _write_runs(results, task, rows, own)
        _write_searches(results, task, rows, own)
        _write_pictures(results, task, own / "pictures")
        with CurveWriter(own) as events:  # the same in every task: TensorBoard shows it once
            events.layout(LAYOUT)


def _write_runs(results: BenchmarkResults, task: str, rows: pd.DataFrame, folder: Path) -> None:
    contenders: dict[str, list[dict[str, Any]]] = {}
    for unit, sheet in results.sheets.items():
        if unit.task == task:
            contenders.setdefault(unit.contender, []).append(sheet)
    for name, sheets in contenders.items():
        with CurveWriter(folder / name) as events:
            for evaluations, seconds, score in mean_curve([sheet["curve"] for sheet in sheets]):
                events.point({"score": score}, evaluations=round(evaluations), seconds=seconds)
            own = rows[rows["tuner"] == name]
            events.hyperparameters(*_hyperparameters(task, name, sheets, own))


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


def _write_searches(results: BenchmarkResults, task: str, rows: pd.DataFrame, folder: Path) -> None:
    searches = searches_of(results, task)
    if not searches:
        return
    longest = max(map(len, searches.values()))
    for name, rewards in searches.items():
        with CurveWriter(folder / name) as events:
            for step in _spread(len(rewards)):
                events.scalar(f"{BY_FRAME}/reward", float(rewards[step - 1]), step)
    for name, level in levels_of(rows).items():
        with CurveWriter(folder / name) as events:
            for step in (1, longest):
                events.scalar(f"{BY_FRAME}/reward", level, step)


def _spread(count: int) -> list[int]:
    """Steps from 1 to a count, denser at the start."""
    return sorted({int(step) for step in np.geomspace(1, count, min(_POINTS, count)).round()})


def _write_pictures(results: BenchmarkResults, task: str, folder: Path) -> None:
    with CurveWriter(folder) as events:
        names = [DEFAULT, STATIC, best_policy(results, task), SEARCH]
        rows = pictures_of(results, task, [name for name in names if name is not None])
        for number, (_, pictures) in enumerate(rows, start=1):
            events.figure(f"before and after/frame {number}", draw_together(pictures))
        for number, (_, pictures) in enumerate(pictures_of(results, task), start=1):
            for name, picture in pictures.items():
                events.picture(f"frame {number}/{name}", picture)
        front = front_of(results, task)
        if front is not None:
            events.figure("Pareto front of one frame", draw_front(front))
