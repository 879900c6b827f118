"""Draw the pictures of the README and of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from samstar_rl._io.atomic import replacing
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.scripts.maintain.pictures.browser import BrowserMissingError
from samstar_rl.scripts.maintain.pictures.dashboard import photograph_dashboard
from samstar_rl.scripts.maintain.pictures.tasks import write_task_picture
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.simulator import SimulatedStream
from samstar_rl.tasks.shipped import task_names
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.truth.metrics import f1_at

FAILURE_MODES = {
    "overlap": "overlapping clusters",
    "morphology": "mixed shapes",
    "size": "small beside large",
}
Column = tuple[str, NDArray[np.uint8], str]


def figures(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the pictures.")] = Path(
        "docs/figures"
    ),
    seed: Annotated[int, typer.Option(help="Of the simulated frames.")] = 2000,
    only: Annotated[
        Literal["failure-modes", "tasks", "dashboard"] | None,
        typer.Option("--only", help="One of them; all by default."),
    ] = None,
) -> None:
    """Draw the pictures of the README.

    SAM*'s three failure modes: SAM's defaults, tuned by score, truth. For each task a simulated
    frame, what the task's static settings find, and the truth. And the dashboard of a run (needs
    Chromium: make system-deps).
    """
    out.mkdir(parents=True, exist_ok=True)
    if only in (None, "tasks"):
        engine = ProposalEngine(load_sam("tiny"))
        for name in task_names():
            path = out / f"task_{name}.png"
            write_task_picture(path, engine, load_task(name), seed)
            typer.echo(f"wrote {path}")
    if only in (None, "failure-modes"):
        path = out / "failure_modes.png"
        picture = draw_failure_modes(ProposalEngine(load_sam("tiny")), seed)
        with replacing(path) as temporary:
            picture.savefig(temporary, dpi=112)
        typer.echo(f"wrote {path}")
    if only in (None, "dashboard"):
        path = out / "dashboard.png"
        try:
            photograph_dashboard(path, seed=seed)
        except BrowserMissingError as error:
            if only is not None:
                raise
            typer.echo(f"left out {path}: {error}", err=True)
        else:
            typer.echo(f"wrote {path}")


def draw_failure_modes(engine: ProposalEngine, seed: int) -> Figure:
    """One row a task, from the frame to its truth."""
    figure = Figure(figsize=(14, 11.4), layout="constrained")
    axes = figure.subplots(len(FAILURE_MODES), 4)
    for row, (name, title) in zip(axes, FAILURE_MODES.items(), strict=True):
        with SimulatedStream(name, seed=seed, size=384, drift=0.0) as stream:
            labelled = stream.frame_at(0)
        for ax, (heading, picture, note) in zip(
            row, _columns(engine, load_task(name), labelled), strict=True
        ):
            ax.imshow(picture, interpolation="nearest")
            ax.set_title(heading, fontsize=11)
            ax.set_xlabel(note, fontsize=8.5, family="monospace")
            ax.set_xticks([])
            ax.set_yticks([])
        row[0].set_ylabel(title, fontsize=13)
    return figure


def _columns(engine: ProposalEngine, task: Task, labelled: LabelledFrame) -> list[Column]:
    frame = labelled.frame
    defaults = engine.segment(frame, Settings())
    static = engine.segment(frame, task.static, **PhysicsReward(task).gauge(frame))
    truth = Segmentation.from_labels(labelled.truth, frame)
    return [
        ("frame", to_sam_rgb(frame.image), ""),
        _column("SAM's defaults", task, labelled, defaults),
        _column("tuned by score", task, labelled, static),
        _column("truth", task, labelled, truth),
    ]


def _column(title: str, task: Task, labelled: LabelledFrame, found: Segmentation) -> Column:
    score = PhysicsReward(task).score(found, labelled.frame)
    heading = f"{title}: score {score.total:.2f}, F1 {f1_at(found, labelled.truth):.2f}"
    terms = [f"{name} {value:.2f}" for name, value in score.terms.items()]
    lines = ["   ".join(terms[start : start + 2]) for start in range(0, len(terms), 2)]
    return heading, draw_outlines(labelled.frame, found), "\n".join(lines)


if __name__ == "__main__":
    run_command(figures)
