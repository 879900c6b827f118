"""What a benchmark found: claims, tables with intervals, curves, pictures, in one HTML file."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.claims import (
    DEFAULT,
    SEARCH,
    STATIC,
    best_policy,
    check_claims,
    gain_over,
    tables_of,
)
from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.agents.benchmark.figures import (
    TRUTH,
    curves_of,
    draw_front,
    draw_profiles,
    draw_searches,
    draw_seed_curves,
    front_of,
    levels_of,
    pictures_of,
    searches_of,
)
from samstar_rl.agents.benchmark.units import short_name
from samstar_rl.agents.judging.judge import MEASURES
from samstar_rl.agents.judging.statistics import cells_of, iqm_interval
from samstar_rl.agents.reporting.figures import is_constant, settings_moved
from samstar_rl.agents.reporting.html import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from samstar_rl.agents.benchmark.claims import (
        Claim,
    )
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.run import BenchmarkResults
    from samstar_rl.tasks.task import Task

REPORT, TABLE = "report.html", "table.md"
_UNSIGNED = ("count_error", "mean_diameter_error")


def summarise_task(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a contender: means, interquartile means with intervals, gains over the static ones.

    Parameters
    ----------
    rows : DataFrame
        Of one task.

    Returns
    -------
    DataFrame
        ``tuner, seeds, frames``, each of score and F1 as mean, ``_iqm`` and ``_gain`` (the paired
        difference to the static settings on the frames that both met), means of the other measures
        (of errors their absolute values), of each term as ``term_...``, and of the costs.
    """
    tables = {str(name): own for name, own in rows.groupby("tuner", sort=False)}
    lines = []
    for name, own in tables.items():
        line: dict[str, Any] = {"tuner": name, "seeds": own["seed"].nunique()}
        line["frames"] = own["frame_index"].nunique()
        for measure in ("score", "f1"):
            if measure in own:
                line[measure] = own[measure].mean()
                line[f"{measure}_iqm"] = iqm_interval(cells_of(own, measure))
                line[f"{measure}_gain"] = gain_over(tables, name, measure)
        terms = [column for column in own if str(column).startswith("term_")]
        for measure in (*MEASURES, *terms, "n_evaluations", "n_prompts", "cost", "tuner_ms"):
            if measure != "f1" and measure in own and own[measure].notna().any():
                values = own[measure].abs() if measure in _UNSIGNED else own[measure]
                line[str(measure)] = values.mean()
        lines.append(line)
    return pd.DataFrame(lines)


def write_benchmark_report(plan: BenchmarkPlan, results: BenchmarkResults, root: Path) -> Path:
    """Write report.html, table.md and results.csv (and results.parquet where pyarrow is there).

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
    _add_claims(report, claims)
    for task in plan.tasks:
        own = rows[rows["task"] == task]
        if len(own):
            _TaskSection(report, plan, results, task, own).add()
    _add_protocol(report, plan)
    return report.write(root / REPORT)


def headline_table(plan: BenchmarkPlan, results: BenchmarkResults, claims: list[Claim]) -> str:
    """Score and F1 of all contenders on all tasks, and the claims, as Markdown.

    Parameters
    ----------
    plan : BenchmarkPlan
    results : BenchmarkResults
    claims : list of Claim

    Returns
    -------
    str
    """
    summaries = {
        task: summarise_task(results.rows[results.rows["task"] == task]).set_index("tuner")
        for task in plan.tasks
        if (results.rows["task"] == task).any()
    }
    names = [n for n in CONTENDERS if any(n in summary.index for summary in summaries.values())]
    lines = [
        "Mean score / mean F1 at IoU 0.5 over test frames.",
        "",
        "| contender | evaluations a frame | " + " | ".join(map(short_name, summaries)) + " |",
        "|---|---:|" + "---:|" * len(summaries),
    ]
    for name in names:
        present = [s.loc[name] for s in summaries.values() if name in s.index]
        evaluations = float(np.mean([line["n_evaluations"] for line in present]))
        cells = [_cell(s.loc[name]) if name in s.index else "" for s in summaries.values()]
        lines.append(f"| {name} | {evaluations:,.0f} | " + " | ".join(cells) + " |")
    if claims:
        lines += [
            "",
            "| task | claim | needed | measured [95 %] | holds |",
            "|---|---|---|---:|---|",
        ]
        lines += [
            f"| {short_name(c.task)} | {c.text} | {c.needed} | {c.measured} | {_yes(c.holds)} |"
            for c in claims
        ]
    return "\n".join(lines) + "\n"


def _cell(line: pd.Series) -> str:
    f1 = f" / {line['f1']:.3f}" if "f1" in line and not np.isnan(line["f1"]) else ""
    return f"{line['score']:.3f}{f1}"


def _lead(plan: BenchmarkPlan) -> str:
    where = (
        "Simulated experiments drift as real ones do; those judged on were never learned from."
        if plan.real is None
        else f"Real micrographs: {len(plan.real.fit)} to fit on, {len(plan.real.judge)} others "
        "to judge on."
    )
    return (
        f"{where} All contenders meet the same frames, maximise the same objective and are charged "
        "alike. Intervals are 95 %, bootstrapped over seeds and streams."
    )


def _add_claims(report: Report, claims: list[Claim]) -> None:
    if not claims:
        return
    report.heading("Claims")
    table = pd.DataFrame(
        {"task": short_name(c.task), "claim": c.text, "needed": c.needed,
         "measured": str(c.measured), "holds": _yes(c.holds)}
        for c in claims
    )  # fmt: skip
    report.table(
        table,
        headings={**{str(name): str(name) for name in table}, "measured": "measured [95 %]"},
        words=("claim", "needed"),
    )
    report.text(
        "Ratios and differences are paired frame by frame. The learned policy is the one whose "
        "seeds did best on the validation streams, before any test.",
        note=True,
    )


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


class _TaskSection:
    """The part of the report that belongs to one task."""

    def __init__(
        self,
        report: Report,
        plan: BenchmarkPlan,
        results: BenchmarkResults,
        name: str,
        rows: pd.DataFrame,
    ) -> None:
        self.report, self.plan, self.results = report, plan, results
        self.name, self.rows = name, rows
        self.task: Task = plan.task(name)
        self.summary = summarise_task(rows)
        self.best = best_policy(results, name)

    def add(self) -> None:
        """Tables, curves, pictures."""
        self.report.heading(f"Task {short_name(self.name)}")
        self._add_scores()
        self._add_costs()
        self._add_terms()
        self._add_curves()
        self._add_moves()
        self._add_pictures()

    def _table(self, headings: dict[str, str], formats: dict[str, Any]) -> None:
        headings = {n: text for n, text in headings.items() if n in self.summary}
        strong = [i for i, name in enumerate(self.summary["tuner"]) if name == self.best]
        self.report.table(self.summary, headings=headings, formats=formats, strong=strong)

    def _add_scores(self) -> None:
        self._table(
            {
                "tuner": "contender", "seeds": "seeds", "frames": "frames",
                "score_iqm": "score, IQM [95 %]", "score_gain": "score less static's [95 %]",
                "f1_iqm": "F1, IQM [95 %]", "f1_gain": "F1 less static's [95 %]",
            },
            dict.fromkeys(("score_iqm", "f1_iqm", "score_gain", "f1_gain"), str)
            | {"seeds": "d", "frames": "d"},
        )  # fmt: skip
        slow = [name for name in sorted(set(self.rows["tuner"])) if CONTENDERS[name].slow]
        if slow and self.plan.slow_every > 1:
            self.report.text(
                f"To spare hours, {', '.join(slow)} searched one in {self.plan.slow_every} frames "
                "of each test stream; what is compared with them is compared on those frames.",
                note=True,
            )

    def _add_costs(self) -> None:
        headings = {"tuner": "contender", **MEASURES}
        headings |= {"n_evaluations": "evaluations", "n_prompts": "prompts decoded",
                     "cost": "cost", "tuner_ms": "ms, SAM left out"}  # fmt: skip
        headings.pop("f1")
        counts = dict.fromkeys(("n_evaluations", "n_prompts", "cost", "tuner_ms"), ",.0f")
        self._table(headings, dict.fromkeys(MEASURES, ".3f") | counts)
        self.report.text("Means a frame; errors by their absolute value.", note=True)

    def _add_terms(self) -> None:
        terms = [c for c in self.summary if str(c).startswith("term_")]
        headings = {"tuner": "contender"} | {c: str(c).removeprefix("term_") for c in terms}
        self._table(headings, dict.fromkeys(terms, ".3f"))
        self.report.text("Terms of the score, each by itself.", note=True)

    def _add_curves(self) -> None:
        curves = curves_of(self.results, self.name)
        if curves:
            self.report.figure(
                draw_seed_curves(curves),
                "Learning and searching on the same frames: score on the validation streams.",
            )
        searches = searches_of(self.results, self.name)
        if searches:
            self.report.figure(
                draw_searches(searches, levels_of(self.rows)),
                "What searching a frame reaches with so many evaluations, beside what answers "
                "with one: mean reward (score less cost of prompts) over the test frames it met.",
            )
        self.report.figure(draw_profiles(self.rows), "Share of test frames above each value.")
        front = front_of(self.results, self.name)
        if front is not None:
            self.report.figure(
                draw_front(front),
                f"What NSGA-II tried on frame {front['frame_id']}: the two terms that "
                "contradict each other most on its front.",
            )

    def _add_moves(self) -> None:
        tables = tables_of(self.rows, self.name)
        lines = [
            {"policy": name, **moves_of(tables[name], self.task)}
            for name, contender in CONTENDERS.items()
            if contender.is_policy and name in tables
        ]
        if not lines:
            return
        table = pd.DataFrame(lines)
        self.report.table(table)
        self.report.text(
            "What each policy moves: standard deviation of a setting over test frames, and in "
            "brackets from frame to frame within a stream, as shares of its range. A policy that "
            "answers a constant is a static choice and is called one.",
            note=True,
        )

    def _add_pictures(self) -> None:
        wanted = [n for n in (DEFAULT, STATIC, self.best, SEARCH) if n is not None]
        cells: list[tuple[str, str, NDArray[np.uint8]]] = []
        columns = 1
        for index, pictures in pictures_of(self.results, self.name, wanted):
            columns = max(columns, len(pictures))
            for name, picture in pictures.items():
                cells.append((name, self._caption(name, index), picture))
        if cells:
            self.report.gallery(cells, columns=columns)

    def _caption(self, name: str, index: int) -> str:
        rows = self.rows
        if name == TRUTH:
            return str(rows.loc[rows.frame_index == index, "frame_id"].iloc[0])
        row = rows[(rows.tuner == name) & (rows.frame_index == index)].iloc[0]
        f1 = f", F1 {row['f1']:.2f}" if "f1" in row else ""
        return f"score {row['score']:.2f}{f1}"


def moves_of(rows: pd.DataFrame, task: Task) -> dict[str, str]:
    """How a policy moves each setting, and whether it answers a constant.

    Parameters
    ----------
    rows : DataFrame
        One contender's, all seeds.
    task : Task

    Returns
    -------
    dict
        For each setting ``"12.0% (3.0%)"``, over all frames and within a stream, means over seeds;
        Single images are no streams: there is nothing in brackets then. ``answers`` says
        "constant: static", or "moves".
    """
    seeds = [settings_moved(own, task) for _, own in rows.groupby("seed")]
    streams = [settings_moved(own, task) for _, own in rows.groupby(["seed", "stream"])]
    overall = np.mean([moved["moves"] for moved in seeds], axis=0)
    within = np.mean([moved["moves"] for moved in streams], axis=0)
    shown = {name: f"{share:.1%}" for name, share in zip(task.space.names, overall, strict=True)}
    if rows.groupby(["seed", "stream"]).size().max() > 1:
        brackets = zip(shown.items(), within, strict=True)
        shown = {name: f"{text} ({share:.1%})" for (name, text), share in brackets}
    constant = sum(is_constant(moved) for moved in seeds)
    verdict = "moves" if constant == 0 else "constant: static"
    if 0 < constant < len(seeds):
        verdict = f"constant in {constant} of {len(seeds)} seeds"
    return shown | {"answers": verdict}


def _add_protocol(report: Report, plan: BenchmarkPlan) -> None:
    report.heading("Protocol")
    ladder = " or ".join(map(str, plan.points_per_side))
    report.text(
        f"Every learner and the search for one static choice spend {plan.steps:,} evaluations on "
        f"the frames to learn from; a search may spend {plan.n_evaluations} on each test frame. "
        f"Settings are kept to {ladder} points a side, SAM's defaults as well. Truth judges; no "
        "contender but the oracle sees it.",
    )
    report.code(json.dumps(asdict(plan), indent=1), "configuration")
