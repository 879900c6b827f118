"""`samstar demo`: see the whole idea work in a few minutes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from samstar_rl.scripts._shared.command import run_command
from samstar_rl.scripts._shared.options import Out, Seed, Task

STEPS_HELP = "Evaluations that PPO, and the search for a static choice, may spend."


def demo(
    out: Out = Path("runs/demo"),
    task: Task = "particles",
    steps: Annotated[int, typer.Option("--steps", min=1000, help=STEPS_HELP)] = 5000,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of everything: a minute, and no fair picture.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Simulate, train, compare all tuners: a table and a report.

    Simulates a survey that moves from field to field at changing magnification, lets SAM propose
    masks, trains a PPO policy, runs the genetic search on the same frames and budgets, judges all
    tuners on fresh streams, and writes an HTML report. Takes a few minutes on two cores.
    Stopped at any moment, the same command goes on; where OUT holds another demo, it begins anew.
    """
    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.run import clear_other, run_benchmark
    from samstar_rl.agents.benchmark.units import Unit
    from samstar_rl.scripts._shared.comparison import report_benchmark
    from samstar_rl.scripts._shared.display import StageDisplay

    plan = BenchmarkPlan.demo(task, steps=steps, seed=seed, quick=quick)
    RunFolder(out).record({"out": out, "plan": asdict(plan)})
    clear_other(plan, out)
    with StageDisplay() as display:
        results = run_benchmark(plan, out, announce=display.announce)
    report_benchmark(plan, results, out)
    policy = Unit(plan.conditions[0], task, "ppo", 0).folder(out) / "policy.bundle"
    typer.echo(f"use the policy: samstar segment IMAGES --task {task} --tuner {policy}")


if __name__ == "__main__":
    run_command(demo)
