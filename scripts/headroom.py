"""Measure where adapting pays, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command

if TYPE_CHECKING:
    from samstar_rl.agents.studies.headroom import Headroom
    from samstar_rl.tasks.task import Task

DRIFTS = (0.0, 0.5, 1.0, 2.0)
FRAME_STEP = 20
"""Every twentieth frame of an experiment, as in the benchmark: a few frames show its drift."""


def headroom(
    task: options.TaskArgument,
    frames: options.Frames = None,
    labels: options.Labels = None,
    names: options.Names = None,
    out: options.Out = Path("runs/headroom"),
    drift: Annotated[
        list[float] | None,
        typer.Option("--drift", min=0, help="Repeatable; 0, 0.5, 1 and 2 by default."),
    ] = None,
    streams: Annotated[
        int, typer.Option("--streams", min=2, help="Simulated streams, each another sample.")
    ] = 4,
    n_frames: Annotated[int, typer.Option("--n-frames", min=2, help="Frames of each stream.")] = 24,
    n_settings: Annotated[
        int, typer.Option("--settings", min=2, help="Settings tried on each frame.")
    ] = 300,
    size: Annotated[
        int, typer.Option("--size", min=64, help="Side of simulated frames in px.")
    ] = 256,
    points_per_side: options.PointsPerSide = None,
    pixel_size: options.PixelSize = None,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    seed: options.Seed = 0,
) -> None:
    """Measure where adapting pays, before any training.

    Compares settings frozen after a stream's first frames, the best static choice in hindsight,
    and settings chosen for each frame by the score and by ground truth; says which settings carry
    the gain and how it grows with drift. Real images are one set without drift. OUT gets
    headroom.json, headroom.png and the banks of proposals, from which the command starts again.
    """
    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.studies.headroom import HeadroomPlan, measure_headroom
    from samstar_rl.agents.studies.headroom_report import write_headroom
    from samstar_rl.bank.build import build_for_task
    from samstar_rl.bank.labelled import read_labelled
    from samstar_rl.bank.simulated import SimulatedStreams, with_ladder
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.scripts._shared.inputs import find_labelled
    from samstar_rl.simulator.seeds import first_seed
    from samstar_rl.tasks.task import load_task
    from samstar_rl.tuning.objective import Objective

    loaded = with_ladder(load_task(task), points_per_side)
    images = find_labelled(frames, labels, names)
    RunFolder(out).record(
        {"task": loaded.to_dict(), "frames": frames, "labels": labels, "names": names,
         "drift": drift, "streams": streams, "n_frames": n_frames, "n_settings": n_settings,
         "size": size, "points_per_side": points_per_side, "pixel_size": pixel_size, "sam": sam,
         "seed": seed}
    )  # fmt: skip
    plan = HeadroomPlan(n_settings=n_settings, n_refined=n_settings, seed=seed)
    engine = ProposalEngine(load_sam(sam, device=device), device=device)
    with StageDisplay() as display:

        def measure(name: str, streams: Any, n_frames: int, *, alone: bool) -> Headroom:
            bank = build_for_task(
                loaded, streams, out / "banks" / name, engine, n_frames=n_frames,
                on_progress=display.stage(f"{name}: SAM proposes masks"),
            )  # fmt: skip
            return measure_headroom(
                bank,
                Objective(loaded),
                plan,
                is_stream=any(len(stream) > 1 for stream in bank.streams),
                each_setting=alone,
                on_progress=display.stage(f"{name}: choices compared"),
            )

        by_drift: dict[float, Headroom] = {}
        if images is not None and labels is not None:
            found = read_labelled(images, labels, pixel_size_nm=pixel_size)
            measured = measure("images", found, len(images), alone=True)
        else:
            drifts = sorted(set(drift or DRIFTS))
            main = min(drifts, key=lambda value: abs(value - 1.0))
            for value in drifts:
                simulated = SimulatedStreams(
                    streams, n_frames, size, value, FRAME_STEP, first_seed("headroom", seed)
                )
                name, alone = f"drift-{value:g}", value == main
                frames_of = simulated.streams(loaded)
                by_drift[value] = measure(name, frames_of, len(simulated), alone=alone)
            measured = by_drift[main]
    sentences = write_headroom(out, loaded.name, engine.sha256, measured, by_drift)
    _print(loaded, measured, by_drift)
    for sentence in sentences:
        typer.echo(sentence)
    typer.echo(f"wrote {out / 'headroom.json'} and {out / 'headroom.png'}")


def _print(task: Task, measured: Headroom, by_drift: dict[float, Headroom]) -> None:
    from rich.table import Table

    from samstar_rl.scripts._shared.display import console

    levels = Table("choice", "F1 at IoU 0.5 [95 %]", "score [95 %]", title=f"Task '{task.name}'")
    for name, f1 in measured.levels.items():
        levels.add_row(name, str(f1), str(measured.scores[name]))
    console.print(levels)
    columns = {f"drift {drift:g}": one for drift, one in by_drift.items()} or {"[95 %]": measured}
    gains = Table("gain in F1", *columns)
    for name in measured.gains:
        gains.add_row(name, *(str(column.gains[name]) for column in columns.values()))
    console.print(gains)
    alone = Table("setting that adapts alone", "gain by score [95 %]", "gain by truth [95 %]")
    for name, (by_score, by_truth) in measured.settings.items():
        alone.add_row(name, str(by_score), str(by_truth))
    console.print(alone)


if __name__ == "__main__":
    run_command(headroom)
