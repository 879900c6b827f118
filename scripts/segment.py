"""Segment images: labels, particle tables, pictures and records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command


def segment(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE|FOLDER...",
            help="TIFF, PNG, dm4, emd, Zarr, ...; stacks as well.",
            callback=options.check_inputs,
        ),
    ],
    task: options.TaskOfTuner = None,
    tuner: options.Tuner = None,
    out: options.Out = Path("out"),
    formats: options.Formats = None,
    pixel_size: options.PixelSize = None,
    exclude_border: options.ExcludeBorder = False,
    evaluations: options.Evaluations = 300,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    precision: options.Precision = "float32",
    points: options.Points = None,
    n_prompts: options.NPrompts = None,
    zoom: options.Zoom = None,
    budget_ms: options.BudgetMs = None,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Segment images and write labels, tables and pictures.

    For each image NAME the folder OUT gets NAME.labels.tif (0 is background; where particles
    overlap the smaller one is on top), NAME.particles.csv (in px and, where the pixel size is
    known, nm), or what --format asks for, NAME.overlay.png to look at, and NAME.json (settings,
    score, terms, cost). Of --format coco there is one file for all images, annotations.coco.json.
    Images of several folders that have the same name get their folder's in front. Results of
    earlier runs are not segmented, and files that are no results are not overwritten. Images are
    treated one by one; only the planes of a stack are treated as a stream. An image that is blank
    or saturated, cannot be read, or lacks the pixel size that the task needs fails; the others are
    done. OUT/run holds the configuration, TensorBoard events and a summary. The exit code is 1 if
    an image failed.
    """
    given: dict[str, Any] = {name: value for name, value in locals().items() if name != "points"}
    # what is wrong is said by the options before anything that takes seconds is imported
    from samstar_rl.scripts._shared.segmenting import segment_images

    segment_images(**given | {"tuner": options.tuner_or_usual(tuner, task, sam)})


if __name__ == "__main__":
    run_command(segment)
