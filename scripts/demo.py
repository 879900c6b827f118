"""`samstar demo`: see the whole idea work in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samstar_rl.scripts._shared.command import run_command
from samstar_rl.scripts._shared.options import Out, Seed, Task

STEPS_HELP = "Evaluations that PPO, and the search for a static choice, may spend."


def demo(
    out: Out = Path("runs/demo"),
    task: Task = "particles",
    steps: Annotated[int, typer.Option("--steps", min=1000, help=STEPS_HELP)] = 20_000,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of everything: a minute, and no fair picture.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Simulate, train, compare all tuners: a table and a report.

    Simulates micrographs that drift, lets SAM propose masks, trains a PPO policy, runs the genetic
    search on the same frames and budget, judges all tuners on fresh streams, and writes an HTML
    report. Takes less than five minutes on two cores.
    """
    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.studies.demo import DemoPlan, demonstrate
    from samstar_rl.scripts._shared.display import StageDisplay, print_comparison, print_outputs

    plan = DemoPlan(task=task, steps=steps, seed=seed)
    if quick:
        plan = plan.quick()
    folder = RunFolder(out)
    folder.record({"out": out, **vars(plan)})
    with StageDisplay() as display:
        done = demonstrate(plan, folder.path, display.announce)
    folder.write_results({"summary": done.summary.to_dict("records"), "seconds": done.seconds})
    print_comparison(done.summary, title=f"Fresh streams of '{task}'")
    print_outputs(done.report, done.tensorboard)


if __name__ == "__main__":
    run_command(demo)
