"""Test whether a task's score stands in for ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command

if TYPE_CHECKING:
    from samstar_rl.frames.frame import LabelledFrame
    from samstar_rl.truth.validity import FrameValidity


def validate(
    task: options.TaskArgument,
    frames: options.Frames = None,
    labels: options.Labels = None,
    names: options.Names = None,
    out: options.Out = Path("validity"),
    n_frames: Annotated[int, typer.Option("--n-frames", min=1, help="Frames at most.")] = 24,
    n_settings: Annotated[
        int, typer.Option("--settings", min=2, help="Settings drawn for each frame.")
    ] = 200,
    every: Annotated[
        int, typer.Option("--every", min=1, help="Takes every so many-th of the images.")
    ] = 1,
    gaze: Annotated[
        bool,
        typer.Option(
            "--gaze",
            help="Draw zoom (1 to 4) and number of prompts (16 to 128) in place of a grid, and "
            "see how much F1 is lost where the score chooses them.",
        ),
    ] = False,
    size: Annotated[
        int, typer.Option("--size", min=64, help="Side of simulated frames in px.")
    ] = 512,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    seed: options.Seed = 0,
) -> None:
    """Test whether a task's score stands in for ground truth.

    Draws settings for each frame and compares score and F1 at IoU 0.5: Spearman's rank agreement,
    and the F1 of the settings that the score likes best over the best F1 there is (regret). Then
    sees to it that the truth scores above segmentations that are wrong on purpose. Simulated
    samples are met with the targets that an operator would write for them, up to 20 % off. OUT gets
    validity.json, validity.png, worst.png (the frames of lowest agreement), and the bank of
    proposals, from which the command starts again.
    """
    from samstar_rl.agents.studies.validity import (
        draw_from,
        simulated_places,
        validate_bank,
        write_validity,
    )
    from samstar_rl.bank.build import build_for_task
    from samstar_rl.bank.labelled import read_labelled
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.scripts._shared.inputs import find_labelled
    from samstar_rl.tasks.from_simulation import task_for_stream
    from samstar_rl.tasks.task import load_task
    from samstar_rl.truth.gazes import with_gaze
    from samstar_rl.truth.validity import draw_settings

    loaded, images = load_task(task), find_labelled(frames, labels, names)
    if gaze:
        loaded = with_gaze(loaded)
    streams: Iterable[Iterable[LabelledFrame]]
    if images is None or labels is None:
        places = simulated_places(loaded, n_frames, size_px=size, seed=seed)
        streams = [draw_from(places)]
        tasks = [task_for_stream(loaded, stream) for stream, _ in places]
    else:
        images = images[::every][:n_frames]
        streams, tasks = read_labelled(images, labels), [loaded] * len(images)
    engine = ProposalEngine(load_sam(sam, device=device), device=device)
    with StageDisplay() as display:
        bank = build_for_task(
            loaded, streams, out / "bank", engine, n_frames=len(tasks),
            on_progress=display.stage("SAM's proposals"),
        )  # fmt: skip
        settings = draw_settings(loaded.space, n_settings, seed)
        validities = validate_bank(
            tasks, bank, settings, seed=seed, gaze=gaze, on_progress=display.stage("frames")
        )
    figures = write_validity(out, validities, tasks, bank, settings)
    _print(validities, figures)
    typer.echo(f"wrote validity.json, validity.png and worst.png into {out}")


def _print(validities: Sequence[FrameValidity], figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("frame", "rho", "rho top", "F1 chosen", "F1 best", "regret", "above the truth")
    for validity in sorted(validities, key=lambda validity: validity.spearman):
        table.add_row(
            validity.frame_id,
            f"{validity.spearman:.3f}",
            f"{validity.spearman_top:.3f}",
            f"{validity.chosen_f1:.3f}",
            f"{validity.f1s.max():.3f}",
            f"{validity.regret:.3f}",
            ", ".join(validity.better_than_truth) or "-",
        )
    table.add_section()
    table.add_row(
        "mean",
        f"{figures['spearman']['mean']:.3f}",
        f"{figures['spearman_top']['mean']:.3f}",
        f"{figures['regret']['chosen_f1']:.3f}",
        f"{figures['regret']['best_f1']:.3f}",
        f"{figures['regret']['mean']:.3f}",
        f"none on {figures['adversaries']['share_below_truth']:.0%} of frames",
    )
    console = Console()
    console.print(table)
    if "gaze" in figures:
        lost = figures["gaze"]["lost_f1"]
        console.print(f"F1 lost by choosing the gaze by score instead of by truth: {lost:.3f}")


if __name__ == "__main__":
    run_command(validate)
