"""Judge a SAM on labelled frames: one point an instance, and the automatic mask generator."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from samstar_rl._io.atomic import write_json
from samstar_rl.fitting.emps import Labelled, load_pairs, split_names
from samstar_rl.fitting.evaluation import best_of_three, grid_result, proposal_recall, quarters
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.settings import Settings
from samstar_rl.tasks.task import load_task

STOCK_RUNS = 3


def evaluate_sam(
    frames: Annotated[Path, typer.Option(help="Folder of grey images NAME.png.")],
    labels: Annotated[Path, typer.Option(help="Folder of instance labels NAME.png.")],
    model: Annotated[str, typer.Option(help="tiny, or the path of a checkpoint.")] = "tiny",
    part: Annotated[
        str | None, typer.Option(help="Only these frames of EMPS' split: sam, tune or check.")
    ] = None,
    most_instances: Annotated[
        int | None,
        typer.Option(min=1, help="Prompt no more instances of a frame than this, drawn at random."),
    ] = None,
    task: Annotated[
        str, typer.Option(help="Task whose static settings are judged (length unit px or frame).")
    ] = "particles",
    tiles: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="In place of all else: which share of the particles so many prompts a frame find, "
            "in tiles at zoom 1, 2 and 4.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file.")] = None,
) -> None:
    """Judge a SAM on labelled frames.

    Prints what one interior point an instance finds, how true the predicted IoUs are, and F1 of the
    automatic mask generator; with --tiles the recall of proposals in tiles.
    """
    sam = load_sam(model)
    pairs = load_pairs(frames, labels, split_names(part) if part else None)
    if tiles is None:
        results = measure(sam, pairs, task, most_instances=most_instances)
        Console().print(_as_table(results, len(pairs)))
    else:
        results = asdict(proposal_recall(ProposalEngine(sam), track(pairs, "tiles"), prompts=tiles))
        Console().print(_recall_table(results, len(pairs)))
    if out is not None:
        write_json(out, results)


def measure(
    sam: Sam, pairs: list[Labelled], task_name: str, *, most_instances: int | None = None
) -> dict[str, Any]:
    """Measure all figures of the model card.

    Parameters
    ----------
    sam : Sam
    pairs : list of (image, labels)
    task_name : str
        Whose static settings and gates are judged.
    most_instances : int, optional
        Instances of a frame that are prompted, drawn at random; all by default.

    Returns
    -------
    dict
        For JSON.
    """
    task = load_task(task_name)
    engine = ProposalEngine(sam)
    return {
        "frames": asdict(
            best_of_three(sam, track(pairs, "points, whole frames"), most_instances=most_instances)
        ),
        "crops_2x2": asdict(
            best_of_three(
                sam, quarters(track(pairs, "points, 2x2 crops")), most_instances=most_instances
            )
        ),
        "static": asdict(
            grid_result(
                engine,
                track(pairs, "generator, static settings"),
                task.static,
                task=task,
            )
        ),
        "sam_defaults": asdict(
            grid_result(engine, track(pairs, "generator, SAM's defaults"), Settings())
        ),
        "stock_seconds_512_16_points": stock_seconds(sam),
    }


def stock_seconds(sam: Sam) -> float:
    """Median time of the stock generator on one 512x512 frame with 16 points a side."""
    image = to_sam_rgb(np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32))
    generator = SamAutomaticMaskGenerator(sam, points_per_side=16)
    times = []
    for _ in range(STOCK_RUNS):
        start = time.perf_counter()
        generator.generate(image)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _recall_table(results: dict[str, Any], count: int) -> Table:
    table = Table(title=f"{count} frames, {results['prompts']} prompts each")
    for column in ("zoom", "recall of instances", "mean over frames"):
        table.add_column(column, justify="right")
    for zoom, recall in results["recall"].items():
        table.add_row(zoom, f"{recall:.3f}", f"{results['frame_recall'][zoom]:.3f}")
    return table


def _as_table(results: dict[str, Any], count: int) -> Table:
    table = Table(title=f"{count} frames", show_header=True)
    table.add_column("measure")
    table.add_column("value", justify="right")
    for key, title in (("frames", "whole frames"), ("crops_2x2", "2x2 crops")):
        points = results[key]
        table.add_row(f"best-of-3 IoU, {title}", f"{points['best_of_three_iou']:.3f}")
        table.add_row(f"IoU of the mask SAM picks, {title}", f"{points['selected_iou']:.3f}")
        table.add_row(f"calibration error, {title}", f"{points['calibration_error']:.3f}")
    for key, title in (("static", "static settings"), ("sam_defaults", "SAM's defaults")):
        grid = results[key]
        table.add_row(
            f"F1@0.5, {title}", f"{grid['f1']:.3f} ({grid['masks']:.1f} of {grid['particles']:.1f})"
        )
    seconds = results["stock_seconds_512_16_points"]
    table.add_row("stock generator, 512x512, 16 points", f"{seconds:.2f} s")
    return table


if __name__ == "__main__":
    run_command(evaluate_sam)
