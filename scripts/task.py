"""Write a task from an image, and see what the score sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from samstar_rl._io import atomic
from samstar_rl.errors import SamstarError
from samstar_rl.evidence.mask_evidence import foreground_for
from samstar_rl.frames.frame import Frame
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.rewards import PhysicsReward, Score
from samstar_rl.rewards.terms.size import SizeTarget
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import make_progress, reporting_errors
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.sources.readers.files import iterate_file, read_frame
from samstar_rl.tasks.from_frame import task_from_image, task_from_labels
from samstar_rl.tasks.task import Task, TaskError, load_task, task_toml

app = typer.Typer(
    help="Write a task from an image, and see what the score sees.", no_args_is_help=True
)


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
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name or TOML file of the task.")],
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
    loaded, frame = load_task(task), read_frame(image, pixel_size_nm=pixel_size)
    reward = PhysicsReward(loaded)
    if labels is not None:
        found = Segmentation.from_labels(read_labels(labels), frame)
    else:
        engine = ProposalEngine(load_sam(sam, device=device), device=device)
        found = engine.segment(frame, loaded.static, **reward.gauge(frame))
    score = reward.score(found, frame)
    _print(loaded, score, len(found))
    with atomic.replacing(out) as temporary:
        draw_check(loaded, frame, found, score).savefig(temporary, dpi=90)
    typer.echo(f"wrote {out}")


def read_labels(path: Path) -> NDArray[np.int32]:
    """A label image of any format that frames are read from; colour is no label image."""
    values = next(iterate_file(path)).image
    labels = np.rint(values)
    if not np.array_equal(labels, values):
        raise TaskError(f"{path} is no label image: its values are not whole numbers")
    return labels.astype(np.int32)


def contributions(task: Task, frame: Frame, found: Segmentation) -> NDArray[np.float64]:
    """What the score would lose without each mask, (K,); negative where it would gain."""
    reward = PhysicsReward(task)
    whole = reward.score(found, frame).total
    with make_progress() as progress:
        positions = progress.track(range(len(found)), description="contributions")
        return np.array([whole - reward.score(_without(found, k), frame).total for k in positions])


def _without(found: Segmentation, k: int) -> Segmentation:
    others = np.delete(np.arange(len(found)), k)
    return Segmentation(
        found.frame_id,
        found.settings,
        found.proposals,
        found.kept[others],
        found.mask_ids[others],
    )


def draw_check(task: Task, frame: Frame, found: Segmentation, score: Score) -> Figure:
    """Masks by contribution, foreground, terms, and diameters against the target."""
    figure = Figure(figsize=(13, 9), layout="constrained")
    panels = figure.subplots(2, 2)
    _draw_masks(panels[0, 0], figure, frame, found, contributions(task, frame, found))
    _draw_foreground(panels[0, 1], task, frame)
    _draw_terms(panels[1, 0], task, score)
    _draw_diameters(panels[1, 1], task, frame, found)
    name = f"{task.name} (experimental)" if task.experimental else task.name
    figure.suptitle(f"{name} on {frame.id}: score {score.total:.3f}, {len(found)} masks")
    return figure


def _draw_masks(
    panel: Any, figure: Figure, frame: Frame, found: Segmentation, losses: NDArray[np.float64]
) -> None:
    panel.imshow(to_sam_rgb(frame.image))
    limit = max(float(np.abs(losses).max(initial=0.0)), 1e-6)
    colours = np.full((*frame.shape, 1), np.nan)[..., 0]
    for k in np.argsort(-found.table.area):
        (x0, y0, x1, y1), window = found.mask_in_box(int(k))
        colours[y0:y1, x0:x1][window] = losses[k]
    shown = panel.imshow(colours, cmap="RdYlGn", vmin=-limit, vmax=limit, alpha=0.5)
    figure.colorbar(shown, ax=panel, shrink=0.8, label="what the score loses without the mask")
    panel.set_title("masks by their contribution")
    panel.set_axis_off()


def _draw_foreground(panel: Any, task: Task, frame: Frame) -> None:
    foreground = foreground_for(frame, task.sample.scaled(task.length_unit_px(frame)))
    picture = to_sam_rgb(frame.image).copy()
    outlines, _ = cv2.findContours(
        foreground.mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(picture, outlines, -1, (255, 170, 0), 1)
    panel.imshow(picture)
    panel.set_title(
        f"estimated foreground: {'bright' if foreground.polarity > 0 else 'dark'} particles"
    )
    panel.set_axis_off()


def _draw_terms(panel: Any, task: Task, score: Score) -> None:
    total = sum(target.weight for target in task.terms.values())
    names = [f"{name}\nweight {target.weight / total:.2f}" for name, target in task.terms.items()]
    bars = panel.barh(names, list(score.terms.values()), color="tab:blue")
    panel.bar_label(bars, fmt="%.2f", padding=3)
    panel.axvline(score.total, color="black", linewidth=1, label=f"score {score.total:.3f}")
    panel.set_xlim(0, 1.1)
    panel.invert_yaxis()
    panel.legend(loc="lower right")
    panel.set_title("terms")


def _draw_diameters(panel: Any, task: Task, frame: Frame, found: Segmentation) -> None:
    diameters = found.table.equivalent_diameter / task.length_unit_px(frame)
    target = task.terms.get("size")
    expected = np.exp(target.quantiles()) if isinstance(target, SizeTarget) else np.zeros(0)
    everything = np.concatenate([diameters, expected])
    if len(everything):
        edges = np.geomspace(0.9 * everything.min(), 1.1 * everything.max(), 25)
        panel.hist(diameters, bins=edges, weights=_shares(diameters), alpha=0.6, label="masks")
        if len(expected):
            weights = _shares(expected)
            panel.hist(expected, bins=edges, weights=weights, histtype="step", label="target")
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_ylabel("share of all")
        panel.legend()
    panel.set_xlabel(f"equivalent diameter / {task.length_unit}")
    panel.set_title("diameters")


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights by which a histogram shows shares: densities would shrink with wide log bins."""
    return np.full(len(values), 1 / max(len(values), 1))


def _print(task: Task, score: Score, n_masks: int) -> None:
    table = Table("term", "value", "weight", title=f"{n_masks} masks")
    for name, target in task.terms.items():
        table.add_row(name, f"{score.terms[name]:.3f}", f"{target.weight:g}")
    table.add_section()
    table.add_row("score", f"{score.total:.3f}", task.combination)
    Console().print(table)


if __name__ == "__main__":
    app()
