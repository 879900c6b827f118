"""Find out which blocks of the observation a policy needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samstar_rl._io import atomic
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command

EVERY = 30
"""Frames of an experiment are taken so far apart: a few show its drift."""


def ablate(
    task: options.TaskArgument,
    out: options.Out = Path("runs/ablation"),
    algo: options.Learner = "PPO",
    block: Annotated[
        list[str] | None,
        typer.Option(
            "--block",
            metavar="image|foreground|embedding|gaze|targets|budget|last frame",
            help="Leave out only these, one at a time; repeatable.",
        ),
    ] = None,
    n_seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each variant.")] = 3,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Of each training; by default the learner's."),
    ] = None,
    streams: Annotated[
        int, typer.Option("--streams", min=2, help="Simulated streams to learn on.")
    ] = 60,
    n_frames: Annotated[int, typer.Option("--frames", min=1, help="Of each of those.")] = 2,
    test_streams: Annotated[
        int, typer.Option("--test-streams", min=1, help="Fresh streams to be judged on.")
    ] = 8,
    test_frames: Annotated[int, typer.Option("--test-frames", min=1, help="Of each of those.")] = 8,
    size: Annotated[int, typer.Option("--size", min=64, help="Side of a frame in px.")] = 256,
    points_per_side: options.PointsPerSide = None,
    seed: options.Seed = 0,
) -> None:
    """Find out which blocks of the observation a policy needs.

    Trains a policy with all blocks, without each, and without any (which then answers a constant),
    and judges all of them on the same fresh simulated streams. OUT/ablation.md is the table, with
    95 % intervals over streams and seeds. Stopped at any moment, the same command goes on.
    """
    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.learning.plan import plan_training
    from samstar_rl.agents.studies import ablation
    from samstar_rl.bank.simulated import SimulatedStreams, simulated_bank, with_ladder
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.simulator.seeds import FIRST_SEEDS
    from samstar_rl.tasks.task import load_task

    blocks = block or tuple(ablation.BLOCKS)
    ablation.check_blocks(blocks)
    loaded = with_ladder(load_task(task), points_per_side)
    plan = plan_training(algo, [loaded], steps=steps)
    run = RunFolder(out)
    run.record(
        {"task": loaded.to_dict(), "algo": plan.algorithm, "blocks": block, "seeds": n_seeds,
         "hyperparameters": dict(plan.hyperparameters), "streams": streams,
         "test_streams": test_streams, "frames": n_frames, "test_frames": test_frames,
         "size_px": size, "seed": seed}
    )  # fmt: skip
    to_learn_from = SimulatedStreams(streams, n_frames, size, every=EVERY)
    to_judge_on = SimulatedStreams(
        test_streams, test_frames, size, every=EVERY, first_seed=FIRST_SEEDS["test"]
    )
    with StageDisplay() as display:
        found = ablation.ablate(
            loaded,
            simulated_bank(
                loaded,
                to_learn_from,
                on_progress=display.stage(f"{loaded.name}: SAM's proposals to learn from"),
            ),
            simulated_bank(
                loaded,
                to_judge_on,
                on_progress=display.stage(f"{loaded.name}: SAM's proposals to be judged on"),
            ),
            plan,
            out,
            seeds=range(seed, seed + n_seeds),
            blocks=blocks,
            on_unit=display.stage("trainings"),
        )
    table = ablation.to_markdown(found)
    atomic.write_text(out / "ablation.md", table)
    run.write_results({one.name: one.score.value for one in found})
    typer.echo(table)


if __name__ == "__main__":
    run_command(ablate)
