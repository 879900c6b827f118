"""Find out which blocks of the observation a policy needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from samstar_rl._io.atomic import write_text
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.scripts._shared.options import Out, PointsPerSide, Seed


def ablate(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name or TOML file of the task.")],
    out: Out = Path("runs/ablation"),
    algo: Annotated[str, typer.Option("--algo", help="Class name of the learner.")] = "PPO",
    block: Annotated[
        list[str] | None,
        typer.Option(
            "--block",
            metavar="image|foreground|embedding|probe|targets|last frame",
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
    points_per_side: PointsPerSide = None,
    seed: Seed = 0,
) -> None:
    """Find out which blocks of the observation a policy needs.

    Trains a policy with all blocks, without each, and without any (which then answers a constant),
    and judges all of them on the same fresh simulated streams. OUT/ablation.md is the table, with
    95 % intervals over streams and seeds. Stopped at any moment, the same command goes on.
    """
    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.learning.train import TrainingPlan
    from samstar_rl.agents.studies import ablation
    from samstar_rl.bank.simulated import with_ladder
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.scripts._shared.training_frames import TEST_SEED, Lessons
    from samstar_rl.tasks.task import load_task

    blocks = block or tuple(ablation.BLOCKS)
    ablation.check_blocks(blocks)
    loaded = load_task(task)
    if points_per_side:
        loaded = with_ladder(loaded, sorted(set(points_per_side)))
    learner, hyperparameters = _learner(algo, loaded.name, steps)
    run = RunFolder(out)
    run.record(
        {"task": loaded.to_dict(), "algo": learner, "blocks": block, "seeds": n_seeds,
         "hyperparameters": hyperparameters, "streams": streams, "test_streams": test_streams,
         "frames": n_frames, "test_frames": test_frames, "size_px": size, "seed": seed}
    )  # fmt: skip
    with StageDisplay() as display:
        source = Lessons("tiny", display.announce)
        found = ablation.ablate(
            loaded,
            source.simulated(loaded, n_streams=streams, n_frames=n_frames, size_px=size),
            source.simulated(
                loaded,
                n_streams=test_streams,
                n_frames=test_frames,
                size_px=size,
                first_seed=TEST_SEED,
            ),
            TrainingPlan(learner, hyperparameters),
            out,
            seeds=range(seed, seed + n_seeds),
            blocks=blocks,
            on_unit=lambda done, total: display.announce("trainings", done / total),
        )
    table = ablation.to_markdown(found)
    write_text(out / "ablation.md", table)
    run.write_results({one.name: one.score.value for one in found})
    typer.echo(table)


def _learner(algo: str, task: str, steps: int | None) -> tuple[str, dict[str, Any]]:
    from samstar_rl.agents.learning.hyperparameters import load_hyperparameters
    from samstar_rl.agents.learning.learners import algorithm_name
    from samstar_rl.envs import STREAM_ID

    name = algorithm_name(algo)
    overrides = {} if steps is None else {"total_steps": steps}
    return name, load_hyperparameters(name, task=task, env_id=STREAM_ID, overrides=overrides)


if __name__ == "__main__":
    run_command(ablate)
