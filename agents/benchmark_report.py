"""What a benchmark found: tables with intervals, curves, profiles, and whether the bars are met."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from samstar_rl.agents.benchmark import BenchmarkPlan, BenchmarkResults
from samstar_rl.agents.comparison import FORMATS, HEADINGS
from samstar_rl.agents.events import BY_EVALUATIONS, BY_SECONDS, CurveWriter
from samstar_rl.agents.judging import MEASURES
from samstar_rl.agents.report import COLOURS, FAINT, Report, label, new_figure
from samstar_rl.agents.statistics import (
    Estimate,
    cells_of,
    iqm_interval,
    mean_interval,
    paired_cells,
    performance_profile,
    ratio_interval,
)

POLICIES = ("ppo", "sac")
SEARCH, OPERATOR, HINDSIGHT = "genetic", "frozen-start", "hindsight"


@dataclass(frozen=True)
class Bar:
    """A claim, what was measured, and whether it holds.

    Attributes
    ----------
    task, claim : str
    measured : Estimate
    holds : bool
    """

    task: str
    claim: str
    measured: Estimate
    holds: bool


def check_bars(rows: pd.DataFrame) -> list[Bar]:
    """Hold the best policy of each task against search, operator and hindsight."""
    bars = []
    for task, own in rows.groupby("task", sort=False):
        tables = {name: table for name, table in own.groupby("tuner")}
        present = [name for name in POLICIES if name in tables]
        if not present:
            continue
        best = max(present, key=lambda name: tables[name]["score"].mean())
        bars.extend(_bars_of(str(task), best, tables))
    return bars


def _bars_of(task: str, best: str, tables: dict[Any, pd.DataFrame]) -> list[Bar]:
    bars, ours = [], tables[best]
    if SEARCH in tables:
        ratio = ratio_interval(cells_of(ours, "score"), cells_of(tables[SEARCH], "score"))
        claim = f"score of {best} with 1 evaluation over that of the genetic search, at least 0.97"
        bars.append(Bar(task, claim, ratio, ratio.value >= 0.97))
    if OPERATOR in tables and "f1" in ours:
        gain = mean_interval(paired_cells(ours, tables[OPERATOR], "f1"))
        claim = f"F1 of {best} less that of frozen-start, at least 0.08 and its interval above 0"
        bars.append(Bar(task, claim, gain, gain.value >= 0.08 and gain.above()))
    if HINDSIGHT in tables and "f1" in ours:
        loss = mean_interval(paired_cells(ours, tables[HINDSIGHT], "f1"))
        claim = f"F1 of {best} less that of hindsight, at least -0.02"
        bars.append(Bar(task, claim, loss, loss.value >= -0.02))
    return bars


def summarise_task(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a contender: interquartile means with intervals, and means of the rest."""
    lines = []
    for name, own in rows.groupby("tuner", sort=False):
        line: dict[str, Any] = {"tuner": name, "seeds": own["seed"].nunique()}
        for measure in ("score", "f1"):
            if measure in own:
                line[measure] = own[measure].mean()
                line[f"{measure}_iqm"] = iqm_interval(cells_of(own, measure))
        for measure in (*MEASURES, "n_evaluations", "n_prompts", "ms"):
            if measure in own and measure != "f1":
                line[measure] = own[measure].mean()
        lines.append(line)
    return pd.DataFrame(lines)


def frames_to_pay_off(sheet: dict[str, Any], policy_ms: float, search_ms: float) -> float:
    """Frames after which a training's seconds are saved against searching each frame."""
    saved_s = (search_ms - policy_ms) / 1e3
    return float("inf") if saved_s <= 0 else sheet["seconds"] / saved_s


def write_benchmark_report(plan: BenchmarkPlan, results: BenchmarkResults, root: Path) -> Path:
    """Write report, TensorBoard's events, results.csv (and .parquet with pyarrow)."""
    rows = results.rows
    rows.to_csv(root / "results.csv", index=False)
    _write_parquet(rows, root / "results.parquet")
    report = Report(
        "samstar_rl: learned policies against searches",
        "All contenders meet the same frames, maximise the same objective and are charged by the "
        "same clerk. Intervals are 95 %, bootstrapped over seeds and streams.",
    )
    _add_bars(report, rows)
    for task in plan.tasks:
        own = rows[rows["task"] == task]
        if len(own):
            _add_task(report, task, own, results)
    report.heading("Protocol")
    report.code(json.dumps(asdict(plan), indent=1), "configuration")
    write_events(results, root / "tensorboard")
    return report.write(root / "report.html")


def _add_bars(report: Report, rows: pd.DataFrame) -> None:
    bars = check_bars(rows)
    if not bars:
        return
    report.heading("Claims")
    table = pd.DataFrame(
        {"task": b.task, "claim": b.claim, "measured": str(b.measured), "holds": _yes(b.holds)}
        for b in bars
    )
    report.table(table)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _add_task(report: Report, task: str, rows: pd.DataFrame, results: BenchmarkResults) -> None:
    report.heading(f"Task {task}")
    summary = summarise_task(rows)
    headings = {"tuner": "contender", "seeds": "seeds"}
    headings |= {"score_iqm": "score, IQM [95 %]", "f1_iqm": "F1, IQM [95 %]"}
    headings |= {name: text for name, text in HEADINGS.items() if name not in ("tuner",)}
    headings = {name: text for name, text in headings.items() if name in summary}
    formats = {**FORMATS, "seeds": "d", "score_iqm": str, "f1_iqm": str}
    strong = [i for i, name in enumerate(summary["tuner"]) if name in POLICIES]
    report.table(summary, headings=headings, formats=formats, strong=strong)
    curves = _curves(results, task)
    if curves:
        report.figure(draw_seed_curves(curves), "Score on the validation streams.")
    report.figure(draw_profiles(rows), "Share of test frames above each value.")
    _add_payoff(report, task, summary, results)


def _add_payoff(
    report: Report, task: str, summary: pd.DataFrame, results: BenchmarkResults
) -> None:
    ms = dict(zip(summary["tuner"], summary["ms"], strict=True))
    if SEARCH not in ms:
        return
    for unit, sheet in results.sheets.items():
        if unit.task == task and unit.contender in POLICIES and unit.seed == 0:
            frames = frames_to_pay_off(sheet, ms[unit.contender], ms[SEARCH])
            report.text(
                f"Training {unit.contender} took {sheet['seconds']:.0f} s and "
                f"{sheet['evaluations']:,} evaluations: paid for after {frames:,.0f} frames "
                "against searching each one.",
                note=True,
            )


Curves = dict[str, list[list[list[float]]]]
"""For each contender, for each seed, points of (evaluations, seconds, score)."""


def _curves(results: BenchmarkResults, task: str) -> Curves:
    curves: Curves = {}
    for unit, sheet in results.sheets.items():
        if unit.task == task and sheet["curve"]:
            curves.setdefault(unit.contender, []).append(sheet["curve"])
    return curves


def draw_seed_curves(curves: Curves) -> Figure:
    """Learning curves against evaluations and against seconds: each seed thin, the mean thick."""
    figure, axes = new_figure(9.6, 3.8, ncols=2, sharey=True)
    for axis, column, name in zip(axes, (0, 1), ("evaluations", "seconds"), strict=True):
        for colour, (contender, seeds) in zip(COLOURS, curves.items(), strict=False):
            for points in seeds:
                array = np.asarray(points)
                axis.plot(array[:, column], array[:, 2], color=colour, linewidth=0.8, alpha=0.4)
            xs, ys = _mean_curve(seeds, column)
            axis.plot(xs, ys, color=colour, linewidth=2.2, label=contender)
        label(axis, name, "score" if column == 0 else "")
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def _mean_curve(seeds: Sequence[Any], column: int) -> tuple[np.ndarray, np.ndarray]:
    arrays = [np.asarray(points, dtype=float) for points in seeds]
    xs = np.linspace(max(a[0, column] for a in arrays), min(a[-1, column] for a in arrays), 50)
    return xs, np.mean([np.interp(xs, a[:, column], a[:, 2]) for a in arrays], axis=0)


def draw_profiles(rows: pd.DataFrame, most: int = 8) -> Figure:
    """Performance profiles of score and F1."""
    measures = [name for name in ("score", "f1") if name in rows]
    figure, axes = new_figure(9.6, 3.4, ncols=len(measures), sharey=True)
    thresholds = np.linspace(0, 1, 101)
    names = list(rows["tuner"].unique())
    chosen = [n for n in (*POLICIES, SEARCH, OPERATOR, HINDSIGHT, "static-search", "static",
                          "default") if n in names][:most]  # fmt: skip
    for axis, measure in zip(np.ravel(axes), measures, strict=True):
        for colour, name in zip(COLOURS, chosen, strict=False):
            profile = performance_profile(rows[rows["tuner"] == name], measure, thresholds)
            axis.plot(thresholds, profile, color=colour, linewidth=1.8, label=name)
        axis.axvline(0.5, color=FAINT, linewidth=0.6)
        label(axis, measure, "share of frames above")
    np.ravel(axes)[0].legend(frameon=False, fontsize=9)
    return figure


def write_events(results: BenchmarkResults, folder: Path) -> None:
    """Write TensorBoard's events: a run for each task, contender and seed, and the layout."""
    for unit, sheet in results.sheets.items():
        own = results.rows
        own = own[(own["task"] == unit.task) & (own["tuner"] == unit.contender)]
        own = own[own["seed"] == unit.seed]
        run = folder / unit.task / f"{unit.contender}-{unit.seed}"
        with CurveWriter(run) as events:
            for evaluations, seconds, score in sheet["curve"]:
                events.point({"score": score}, evaluations=int(evaluations), seconds=seconds)
            values = {
                f"test/{name}": float(own[name].mean()) for name in ("score", "f1") if name in own
            }
            described = {"task": unit.task, "contender": unit.contender, "seed": unit.seed}
            events.hyperparameters(described, values)
    tags = {"score against evaluations": f"{BY_EVALUATIONS}/score",
            "score against seconds": f"{BY_SECONDS}/score"}  # fmt: skip
    with CurveWriter(folder) as events:
        charts = {title: ["Multiline", [tag]] for title, tag in tags.items()}
        events.layout({"RL and GA on the same axes": charts})


def _write_parquet(rows: pd.DataFrame, path: Path) -> None:
    """Parquet where pyarrow is installed; the CSV holds the same."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return
    rows.to_parquet(path)
