"""How `samstar benchmark` and `samstar demo` end: a report, a table, where everything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared.display import console

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.run import BenchmarkResults


def _print_comparison(summary: pd.DataFrame, *, title: str) -> None:
    """Print a comparison of tuners as one table, the best of each measure in bold."""
    from samstar_rl.agents.reporting.figures import FORMATS, HEADINGS
    from samstar_rl.agents.reporting.html import format_cells

    columns = [name for name in HEADINGS if name in summary.columns]
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(HEADINGS[name], justify="left" if name == "tuner" else "right")
    best: dict[str, object] = {
        name: summary[name].idxmax() for name in ("score", "f1") if name in columns
    }
    for index, cells in zip(summary.index, format_cells(summary, columns, FORMATS), strict=True):
        shown = [
            f"[bold]{cell}[/]" if best.get(name) == index else cell
            for name, cell in zip(columns, cells, strict=True)
        ]
        table.add_row(*shown)
    console.print()
    console.print(table)


def report_benchmark(plan: BenchmarkPlan, results: BenchmarkResults, out: Path) -> None:
    """Write what a benchmark found, and print a table of each task and where the report is.

    Parameters
    ----------
    plan : BenchmarkPlan
    results : BenchmarkResults
    out : path
        The benchmark's folder.

    Raises
    ------
    SamstarError
        If no contender is done.
    """
    from samstar_rl.agents.benchmark.claims import tables_of
    from samstar_rl.agents.benchmark.report import (
        read_pace,
        summarise_task,
        write_benchmark_report,
    )
    from samstar_rl.agents.benchmark.tensorboard import events_folder, write_events
    from samstar_rl.agents.benchmark.units import short_name

    if results.rows.empty:
        raise SamstarError(f"{out} holds no results yet: no contender is done")
    report = write_benchmark_report(plan, results, out)
    write_events(plan, results, out / "tensorboard")
    pace = read_pace(out)
    for condition, name in plan.banks():
        tables = tables_of(results.rows, condition, name)
        if tables:
            title = f"{condition}, task '{short_name(name)}', budgets of 150 to 600"
            _print_comparison(summarise_task(tables, pace), title=title)
    # one of them: TensorBoard opens with nothing selected where there are more than 40 runs
    shown = events_folder(out / "tensorboard", plan.conditions[0], plan.tasks[0])
    console.print(
        f"\nReport: [bold]{report}[/] (open it in a browser: {report.resolve().as_uri()})"
    )
    console.print(f"Curves: [bold]tensorboard --logdir {shown}[/], then http://localhost:6006")
