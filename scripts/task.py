"""Write a task from an image, and see what the score sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import reporting_errors

if TYPE_CHECKING:
    from samstar_rl.rewards.reward import Score
    from samstar_rl.tasks.task import Task

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
@reporting_errors
def new(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.toml", help="The task file to write.")
    ],
    from_labels: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--from-labels", metavar="IMAGE LABELS", help="One annotated frame."),
    ] = None,
    from_image: Annotated[
        Path | None, typer.Option("--from-image", metavar="IMAGE", help="One unlabelled frame.")
    ] = None,
    pixel_size: options.PixelSize = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it exists.")
    ] = False,
) -> None:
    """Estimate a task's targets from one frame and write them as a task file to edit.

    From labels: size distribution, ranges of shape, number density, sign of contrast, and gates
    around them. From an image alone the same is proposed from the frame's foreground: look at
    every number.
    """
    if (from_labels is None) == (from_image is None):
        raise SamstarError("give either --from-labels IMAGE LABELS or --from-image IMAGE")
    if out.suffix != ".toml":
        raise SamstarError(f"the task file must end in .toml, got {out}")
    if out.exists() and not overwrite:
        raise SamstarError(f"{out} exists: give another name, or --overwrite")
    from samstar_rl._io import atomic
    from samstar_rl.bank.labelled import read_labels
    from samstar_rl.sources.readers.registry import read_frame
    from samstar_rl.tasks.from_frame import task_from_image, task_from_labels
    from samstar_rl.tasks.task import task_toml

    if from_labels is not None:
        frame = read_frame(from_labels[0], pixel_size_nm=pixel_size)
        task = task_from_labels(out.stem, frame, read_labels(from_labels[1]))
    else:
        frame = read_frame(from_image or "", pixel_size_nm=pixel_size)
        task = task_from_image(out.stem, frame)
    atomic.write_text(out, task_toml(task, f"Written by samstar task new from {frame.id}."))
    typer.echo(f"wrote {out}; see what its score sees: samstar task check {out} IMAGE")


@app.command()
@reporting_errors
def check(
    task: options.TaskArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A micrograph.")],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Score these masks instead of SAM's."),
    ] = None,
    pixel_size: options.PixelSize = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.png", help="The picture to write.")
    ] = Path("task_check.png"),
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
) -> None:
    """Draw what a task's score sees in an image.

    Each term's value, the diameters against the target, the estimated foreground, and the masks
    coloured by what each contributes to the score. SAM runs with the task's static settings.
    """
    from samstar_rl._io import atomic
    from samstar_rl.agents.studies.task_check import draw_check
    from samstar_rl.bank.labelled import read_labels
    from samstar_rl.rewards.reward import PhysicsReward
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.sources.readers.registry import read_frame
    from samstar_rl.tasks.task import load_task

    loaded, frame = load_task(task), read_frame(image, pixel_size_nm=pixel_size)
    reward = PhysicsReward(loaded)
    if labels is not None:
        found = Segmentation.from_labels(read_labels(labels), frame)
    else:
        engine = ProposalEngine(load_sam(sam, device=device), device=device)
        found = engine.segment(frame, loaded.static, **reward.gauge(frame))
    score = reward.score(found, frame)
    _print(loaded, score, len(found))
    atomic.write_figure(out, draw_check(loaded, frame, found, score), dpi=90)
    typer.echo(f"wrote {out}")


def _print(task: Task, score: Score, n_masks: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("term", "value", "weight", title=f"{n_masks} masks")
    for name, target in task.terms.items():
        table.add_row(name, f"{score.terms[name]:.3f}", f"{target.weight:g}")
    table.add_section()
    table.add_row("score", f"{score.total:.3f}", task.combination)
    Console().print(table)


if __name__ == "__main__":
    app()
