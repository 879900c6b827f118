"""Measure where choosing the gaze by frame pays, before any training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command

if TYPE_CHECKING:
    from samstar_rl.agents.studies.headroom import Headroom

FRAME_STEP = 20
"""Every twentieth frame of an experiment, as in the benchmark: a few frames show its drift."""
BUDGETS = (75.0, 150.0, 300.0, 600.0, 1200.0)
ZOOMS = (1.0, 2.0, 3.0, 4.0, 6.0)


def headroom(
    task: options.TaskArgument,
    frames: options.Frames = None,
    labels: options.Labels = None,
    names: options.Names = None,
    out: options.Out = Path("runs/headroom"),
    budget: Annotated[
        list[float] | None,
        typer.Option("--budget", min=1, help="Cost of a frame; repeatable, 75 to 1200 by default."),
    ] = None,
    streams: Annotated[
        int, typer.Option("--streams", min=2, help="Simulated streams, each another sample.")
    ] = 6,
    n_frames: Annotated[int, typer.Option("--n-frames", min=1, help="Frames of each stream.")] = 12,
    size: Annotated[
        int, typer.Option("--size", min=64, help="Side of simulated frames in px.")
    ] = 512,
    zoom: Annotated[
        list[float] | None,
        typer.Option("--zoom", min=1, help="Repeatable; 1, 2, 3, 4 and 6 by default."),
    ] = None,
    prompts: Annotated[int, typer.Option("--prompts", min=9, help="At each zoom at most.")] = 384,
    pixel_size: options.PixelSize = None,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    seed: options.Seed = 0,
) -> None:
    """Measure where choosing the gaze by frame pays, before any training.

    Evaluates every zoom with ten numbers of prompts on each frame, SAM stopped at each budget and
    without limit, and compares the one gaze that is best for all frames with the best for each
    frame, by the score and by ground truth. Simulated experiments that drift and simulated surveys,
    or real images with --frames. OUT gets headroom.json, headroom.png and the banks of proposals,
    from which the command starts again.
    """
    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.studies.headroom import measure_headroom, write_headroom
    from samstar_rl.bank.build import build_for_task
    from samstar_rl.bank.labelled import read_labelled
    from samstar_rl.bank.simulated import SimulatedStreams, with_gaze
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.scripts._shared.inputs import find_labelled
    from samstar_rl.simulator.seeds import first_seed
    from samstar_rl.tasks.task import load_task
    from samstar_rl.tuning.objective import Objective

    loaded = with_gaze(load_task(task), zooms=zoom or ZOOMS, most_prompts=prompts)
    images = find_labelled(frames, labels, names)
    budgets = [*sorted(budget or BUDGETS), math.inf]
    RunFolder(out).record(
        {"task": loaded.to_dict(), "frames": frames, "labels": labels, "names": names,
         "budgets": budgets[:-1], "streams": streams, "n_frames": n_frames, "size": size,
         "pixel_size": pixel_size, "sam": sam, "seed": seed}
    )  # fmt: skip
    engine = ProposalEngine(load_sam(sam, device=device), device=device)
    measured: dict[str, list[Headroom]] = {}
    with StageDisplay() as display:

        def measure(name: str, streams: Any, n_frames: int) -> None:
            bank = build_for_task(
                loaded, streams, out / "banks" / name, engine, n_frames=n_frames,
                on_progress=display.stage(f"{name}: SAM proposes masks"),
            )  # fmt: skip
            measured[name] = measure_headroom(
                bank, Objective(loaded), budgets,
                on_progress=display.stage(f"{name}: gazes compared"),
            )  # fmt: skip

        if images is not None and labels is not None:
            measure("images", read_labelled(images, labels, pixel_size_nm=pixel_size), len(images))
        else:
            first = first_seed("headroom", seed)
            for name, survey, every in (("drift", 0, FRAME_STEP), ("survey", 1, 1)):
                simulated = SimulatedStreams(
                    streams, n_frames, size, every=every, first_seed=first, survey=survey
                )
                measure(name, simulated.streams(loaded), len(simulated))
    for sentence in write_headroom(out, loaded.name, engine.sha256, measured):
        typer.echo(sentence)
    typer.echo(f"wrote {out / 'headroom.json'} and {out / 'headroom.png'}")


if __name__ == "__main__":
    run_command(headroom)
