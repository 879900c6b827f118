"""What a benchmark found: claims, F1 over the budget, curves, pictures, in one HTML file."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.claims import (
    DEFAULT,
    GENETIC,
    ORACLE,
    SEARCH,
    best_policy,
    check_claims,
    claimed,
    gain_over,
    tables_of,
)
from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.benchmark.figures import (
    TRUTH,
    curves_of,
    draw_budgets,
    draw_front,
    draw_seed_curves,
    front_of,
    milliseconds,
    over_budgets,
    pictures_of,
)
from samstar_rl.agents.benchmark.units import PACE, short_name
from samstar_rl.agents.judging.judge import MEASURES
from samstar_rl.agents.reporting.figures import is_constant, settings_moved
from samstar_rl.agents.reporting.html import Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from samstar_rl.agents.benchmark.claims import Claim, Tables
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.run import BenchmarkResults
    from samstar_rl.tasks.task import Task

REPORT, TABLE, FIGURE = "report.html", "table.md", "budgets.png"
_UNSIGNED = ("count_error", "mean_diameter_error")


def write_benchmark_report(plan: BenchmarkPlan, results: BenchmarkResults, root: Path) -> Path:
    """Write report.html, table.md, budgets.png and results.csv (and .parquet with pyarrow).

    Parameters
    ----------
    plan : BenchmarkPlan
    results : BenchmarkResults
    root : path
        The benchmark's folder.

    Returns
    -------
    Path
        Of the report.
    """
    rows = results.rows
    # a single seed carries no claim
    claims = check_claims(plan, results) if plan.n_seeds > 1 else []
    atomic.write_csv(root / "results.csv", rows)
    if importlib.util.find_spec("pyarrow") is not None:
        with atomic.replacing(root / "results.parquet") as temporary:
            rows.to_parquet(temporary)
    atomic.write_text(root / TABLE, headline_table(plan, results, claims))
    report = Report("samstar_rl: learned policies against searches", _lead(plan))
    pace = read_pace(root)
    of_main = {c: tables_of(rows, c, plan.tasks[0]) for c in plan.conditions}
    of_main = {condition: tables for condition, tables in of_main.items() if tables}
    for measure in [name for name in ("f1", "score") if name in rows]:
        figure = draw_budgets(of_main, measure, pace)
        if measure == "f1":
            atomic.write_figure(root / FIGURE, figure, dpi=130)
        report.figure(
            figure, f"Task {short_name(plan.tasks[0])}: means over test frames, 95 % intervals."
        )
    if pace is not None:
        times = ", ".join(f"{milliseconds(b, pace):.0f} ms at {b:g}" for b in plan.limits[:-1])
        report.text(
            f"On this machine a live frame takes {pace['constant_ms']:.0f} ms and "
            f"{pace['ms_per_unit']:.2f} ms for each unit of cost, the foreground and the score "
            f"included ({times}): measured on {pace['n_frames']:.0f} test frames.",
            note=True,
        )
        if "stock_ms" in pace:
            report.text(
                f"segment_anything's own generator takes {pace['stock_ms']:.0f} ms.", note=True
            )
    _add_claims(report, claims)
    for condition, task in plan.banks():
        tables = tables_of(rows, condition, task)
        if tables:
            _Section(report, plan, results, condition, task, tables).add()
    _add_protocol(report, plan)
    return report.write(root / REPORT)


def read_pace(root: Path) -> dict[str, float] | None:
    """The measured pace of this machine, None if it was not."""
    path = root / PACE
    return dict(atomic.read_json(path)) if path.is_file() else None


def budget_table(tables: Tables, measure: str) -> pd.DataFrame:
    """A measure of each contender: ``tuner, seeds``, and a column of `Estimate` for each budget.

    Who has no budget stands under "no limit".
    """
    lines = []
    for name, own in tables.items():
        line: dict[str, Any] = {"tuner": name, "seeds": own["seed"].nunique()}
        if measure in own:
            line |= {name_of(b): value for b, value in over_budgets(own, measure).items()}
        lines.append(line)
    return pd.DataFrame(lines)


def name_of(budget: float) -> str:
    """How a budget is called in tables."""
    return "no limit" if math.isinf(budget) else f"{budget:g}"


def summarise_task(tables: Tables, pace: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row a contender: means over the budgets that claims are about.

    ``tuner, score, f1, f1_gain`` (the paired difference to the best static choice for each budget),
    means of the other measures (of errors their absolute values), ``n_evaluations, n_prompts, cost,
    tuner_ms``; with the machine's pace ``live_ms``, what a live frame of this cost takes, of SAM's
    defaults what `segment_anything`'s own generator takes.
    """
    lines = []
    near = {name: claimed(own) for name, own in tables.items()}
    for name, own in near.items():
        line: dict[str, Any] = {"tuner": name}
        counts = ("n_evaluations", "n_prompts", "cost", "tuner_ms")
        for measure in ("score", *MEASURES, *counts):
            if measure in own and own[measure].notna().any():
                values = own[measure].abs() if measure in _UNSIGNED else own[measure]
                line[measure] = values.mean()
        if pace is not None:
            line["live_ms"] = milliseconds(line["cost"], pace)
            if name == "default":
                line["live_ms"] = pace.get("stock_ms", line["live_ms"])
        line["f1_gain"] = gain_over(near, name, "f1")
        lines.append(line)
    return pd.DataFrame(lines)


def headline_table(plan: BenchmarkPlan, results: BenchmarkResults, claims: list[Claim]) -> str:
    """F1 of all contenders at all budgets, a table for each condition, and the claims: Markdown.

    Parameters
    ----------
    plan : BenchmarkPlan
    results : BenchmarkResults
    claims : list of Claim

    Returns
    -------
    str
    """
    lines: list[str] = []
    for condition, task in plan.banks():
        tables = tables_of(results.rows, condition, task)
        if not tables:
            continue
        measure = "f1" if "f1" in results.rows else "score"
        table = budget_table(tables, measure)
        limits = dict.fromkeys((*plan.limits, math.inf))
        budgets = [name_of(b) for b in limits if name_of(b) in table]
        lines += [
            f"{condition}, task {short_name(task)}: "
            f"{'F1 at IoU 0.5' if measure == 'f1' else 'score'} by budget (cost of a frame).",
            "",
            "| contender | " + " | ".join(budgets) + " |",
            "|---|" + "---:|" * len(budgets),
        ]
        for _, line in table.iterrows():
            cells = [line[budget] for budget in budgets]
            shown = ["" if isinstance(cell, float) else f"{cell.value:.3f}" for cell in cells]
            lines.append(f"| {line['tuner']} | " + " | ".join(shown) + " |")
        lines.append("")
    if claims:
        lines += ["| where | claim | needed | measured [95 %] | holds |", "|---|---|---|---:|---|"]
        lines += [
            f"| {c.where} | {c.text} | {c.needed} | {c.measured} | {_yes(c.holds)} |"
            for c in claims
        ]
    return "\n".join(lines).rstrip() + "\n"


def _lead(plan: BenchmarkPlan) -> str:
    parts = ["Simulated experiments and surveys that were never learned from"]
    if plan.real is not None:
        fit, judge = len(plan.real.fit), len(plan.real.judge)
        parts.append(f"real micrographs, {fit} to fit on and {judge} others to judge on")
    return (
        f"{'; '.join(parts)}. At each budget all contenders meet the same frames, maximise the "
        "same objective and are charged alike. Intervals are 95 %, bootstrapped over seeds and "
        "streams."
    )


def _add_claims(report: Report, claims: list[Claim]) -> None:
    if not claims:
        return
    report.heading("Claims")
    table = pd.DataFrame(
        {"where": c.where, "claim": c.text, "needed": c.needed,
         "measured": str(c.measured), "holds": _yes(c.holds)}
        for c in claims
    )  # fmt: skip
    report.table(
        table,
        headings={**{str(name): str(name) for name in table}, "measured": "measured [95 %]"},
        words=("claim", "needed"),
    )
    report.text(
        "Ratios and differences are paired stream by stream at equal budgets. The learned policy "
        "is the one whose seeds did best on the validation streams, before any test.",
        note=True,
    )


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


class _Section:
    """The part of the report that belongs to one task under one condition."""

    def __init__(
        self,
        report: Report,
        plan: BenchmarkPlan,
        results: BenchmarkResults,
        condition: str,
        name: str,
        tables: Tables,
    ) -> None:
        self.report, self.plan, self.results = report, plan, results
        self.condition, self.name, self.tables = condition, name, tables
        self.best = best_policy(results, condition, name)

    def add(self) -> None:
        """Tables, curves, pictures."""
        self.report.heading(f"{self.condition}: task {short_name(self.name)}")
        for measure, text in (("f1", "F1 at IoU 0.5"), ("score", "Score"), ("cost", "Cost")):
            self._add_budgets(measure, text)
        self._add_means()
        self._add_curves()
        self._add_moves()
        self._add_pictures()

    def _table(
        self, table: pd.DataFrame, headings: dict[str, str], formats: dict[str, Any]
    ) -> None:
        headings = {n: text for n, text in headings.items() if n in table}
        strong = [i for i, name in enumerate(table["tuner"]) if name == self.best]
        self.report.table(table, headings=headings, formats=formats, strong=strong)

    def _add_budgets(self, measure: str, text: str) -> None:
        if not any(measure in own for own in self.tables.values()):
            return
        table = budget_table(self.tables, measure)
        budgets = [name_of(budget) for budget in (*self.plan.limits, math.inf)]
        brief = measure == "cost"

        def cell(value: Any) -> str:
            if isinstance(value, float):
                return ""
            return f"{value.value:,.0f}" if brief else str(value)

        self._table(
            table,
            {"tuner": "contender", "seeds": "seeds"} | {name: name for name in budgets},
            {"seeds": "d"} | dict.fromkeys(budgets, cell),
        )
        self.report.text(f"{text} by budget, means [95 %] over test frames.", note=True)
        slow = [name for name in self.tables if CONTENDERS[name].slow]
        if slow and self.plan.slow_every > 1:
            self.report.text(
                f"To spare hours, {', '.join(slow)} searched one in {self.plan.slow_every} frames "
                "of each test stream.",
                note=True,
            )
        if DEFAULT in self.tables and self.plan.grid_every > 1:
            self.report.text(
                f"SAM's defaults, which cost most, were judged on one in {self.plan.grid_every} "
                "frames of each test stream.",
                note=True,
            )

    def _add_means(self) -> None:
        headings = {"tuner": "contender", "f1_gain": "F1 less static-search's [95 %]", **MEASURES}
        headings |= {"n_evaluations": "evaluations", "n_prompts": "prompts decoded",
                     "cost": "cost", "tuner_ms": "ms, SAM left out"}  # fmt: skip
        headings.pop("f1")
        counts = dict.fromkeys(("n_evaluations", "n_prompts", "cost", "tuner_ms"), ",.0f")
        gain = {"f1_gain": lambda value: "" if value is None else str(value)}
        table = summarise_task(self.tables)
        self._table(table, headings, dict.fromkeys(MEASURES, ".3f") | counts | gain)
        self.report.text(
            "Means a frame at budgets of 150 to 600; errors by their absolute value.", note=True
        )

    def _add_curves(self) -> None:
        curves = curves_of(self.results, self.condition, self.name)
        if curves:
            self.report.figure(
                draw_seed_curves(curves),
                "Learning and searching on the same frames: score on the validation streams.",
            )
        front = front_of(self.results, self.condition, self.name)
        if front is not None:
            self.report.figure(
                draw_front(front),
                f"What NSGA-II tried on frame {front['frame_id']}: score against cost.",
            )

    def _add_moves(self) -> None:
        task = self.plan.task(self.name)
        lines = [
            {"policy": name, **moves_of(self.tables[name], task)}
            for name, contender in CONTENDERS.items()
            if contender.is_policy and name in self.tables
        ]
        if not lines:
            return
        self.report.table(pd.DataFrame(lines))
        self.report.text(
            "What each policy moves: standard deviation of a setting over test frames at a budget, "
            "mean of all budgets, as a share of its range. A policy that answers a constant, "
            "but for the filters that are chosen on each frame, is a static choice and is called "
            "one.",
            note=True,
        )

    def _add_pictures(self) -> None:
        wanted = [n for n in (DEFAULT, SEARCH, self.best, GENETIC, ORACLE) if n is not None]
        cells: list[tuple[str, str, NDArray[np.uint8]]] = []
        columns = 1
        for index, pictures in pictures_of(self.results, self.condition, self.name, wanted):
            columns = max(columns, len(pictures))
            for name, picture in pictures.items():
                cells.append((name, self._caption(name, index), picture))
        if cells:
            self.report.gallery(cells, columns=columns)

    def _caption(self, name: str, index: int) -> str:
        if name == TRUTH:
            rows = next(iter(self.tables.values()))
            return str(rows.loc[rows.frame_index == index, "frame_id"].iloc[0])
        rows = self.tables[name]
        budgets = sorted(rows["budget"].unique())
        at = rows[(rows.budget == budgets[len(budgets) // 2]) & (rows.frame_index == index)]
        row = at.iloc[0]
        f1 = f", F1 {row['f1']:.2f}" if "f1" in row else ""
        return f"budget {name_of(row['budget'])}, score {row['score']:.2f}{f1}"


def moves_of(rows: pd.DataFrame, task: Task) -> dict[str, str]:
    """How a policy moves each setting, from its rows of all seeds and budgets.

    For each setting ``"12.0%"``, over the frames at a budget, means over budgets and seeds;
    ``answers`` says "constant: static", or "moves".
    """
    found = [settings_moved(own, task) for _, own in rows.groupby(["seed", "budget"])]
    overall = np.mean([moved["moves"] for moved in found], axis=0)
    shown = {name: f"{share:.1%}" for name, share in zip(task.space.names, overall, strict=True)}
    constant = sum(is_constant(moved) for moved in found)
    verdict = "moves" if constant == 0 else "constant: static"
    if 0 < constant < len(found):
        verdict = f"constant in {constant} of {len(found)} cases"
    return shown | {"answers": verdict}


def _add_protocol(report: Report, plan: BenchmarkPlan) -> None:
    report.heading("Protocol")
    report.text(
        f"Every learner spends {plan.steps:,} evaluations on the frames to learn from, and so does "
        "the search for one static choice at each budget; a search may spend "
        f"{plan.n_evaluations} on each test frame, and its budget on all of them together: each "
        "zoom's views and longest prefix of prompts are charged once. SAM's defaults have no "
        "budget. Truth judges; no contender but the oracle sees it."
    )
    report.code(json.dumps(asdict(plan), indent=1), "configuration")
