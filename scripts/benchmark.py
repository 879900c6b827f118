"""Compare tuners on the same unseen frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from samstar_rl.scripts.command import run_command
from samstar_rl.scripts.options import Out


def benchmark(
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", "-t", metavar="NAME", help="Repeatable; by default the four that ship."
        ),
    ] = None,
    contender: Annotated[
        list[str] | None,
        typer.Option("--tuner", metavar="NAME", help="Repeatable; by default all contenders."),
    ] = None,
    out: Out = Path("runs/benchmark"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One task, the main contenders, two seeds: 10 minutes.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Of PPO and SAC; by default 5.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; by default one a core.")
    ] = None,
) -> None:
    """Compare tuners on the same unseen frames.

    Every contender gets the same simulated frames to learn from, the same number of evaluations
    and the same objective, and is judged on fresh streams. Run again, it goes on where it was
    stopped. OUT/report.html tells all; OUT/tensorboard overlays RL and genetic search.
    """
    from samstar_rl.agents.benchmark import BenchmarkPlan, run_benchmark
    from samstar_rl.agents.benchmark_report import summarise_task, write_benchmark_report
    from samstar_rl.run_folder import RunFolder
    from samstar_rl.scripts.display import StageDisplay, print_comparison, print_outputs

    tasks = tuple(task or ())
    plan = BenchmarkPlan.quick(*tasks[:1]) if quick else BenchmarkPlan()
    if tasks:
        plan = replace(plan, tasks=tasks)
    if contender:
        plan = replace(plan, contenders=tuple(contender))
    if seeds is not None:
        plan = replace(plan, n_seeds=seeds)
    run = RunFolder(out)
    run.record({"plan": vars(plan), "workers": workers})
    with StageDisplay() as display:
        results = run_benchmark(plan, out, n_workers=workers, announce=display.announce)
    report = write_benchmark_report(plan, results, out)
    for name in plan.tasks:
        rows = results.rows[results.rows["task"] == name]
        print_comparison(summarise_task(rows), title=f"Fresh streams of '{name}'")
    print_outputs(report, out / "tensorboard")


if __name__ == "__main__":
    run_command(benchmark)
