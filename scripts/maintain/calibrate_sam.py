"""Calibrate a trained embedded SAM on frames that it has not seen, and pack its weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from samstar_rl._io.cache import cache_folder
from samstar_rl.fitting.calibration import apply_calibration, fit_affine, fit_calibration
from samstar_rl.fitting.emps import load_labelled, split_names
from samstar_rl.fitting.evaluation import point_ious, point_result
from samstar_rl.fitting.iou_head import fit_iou_head, iou_samples
from samstar_rl.fitting.packing import pack_weights, round_to_half
from samstar_rl.fitting.sam_trainer import TrainingConfig
from samstar_rl.fitting.samples import BatchDataset, SimulatedPool
from samstar_rl.sam.architectures.tiny import build_tiny_sam
from samstar_rl.sam.load import packaged_weights_path
from samstar_rl.scripts._shared.command import make_progress, run_command

CACHE = cache_folder("pretrain")
DEFAULT_RUN = CACHE / "run"
#: Of the images that trained no SAM.
SEED = 1000
HEAD_STEPS = 250
HEAD_VIEWS = TrainingConfig(
    batch_size=8, real_share=0.8, mosaic_share=0.3, simulated_images=100, wide_images=20, seed=SEED
)
"""What the head that predicts IoUs is fitted to: views of `tune` frames and simulated ones."""


def calibrate_sam(
    emps: Annotated[
        Path, typer.Option(help="Folder of EMPS' train split: images/*.png and labels/*.png.")
    ],
    run: Annotated[
        Path, typer.Option(help="Run folder of `samstar dev pretrain-sam`.")
    ] = DEFAULT_RUN,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File; by default the packaged weights.")
    ] = None,
    sharpness: Annotated[
        float | None,
        typer.Option(
            help="Factor on the logits. Without it the factor is chosen, together with the map of "
            "the predicted IoU, by how well SAM's default thresholds segment: a few minutes."
        ),
    ] = None,
    most_instances: Annotated[
        int | None,
        typer.Option(min=1, help="Prompt no more instances of a frame than this, drawn at random."),
    ] = None,
) -> None:
    """Calibrate a trained embedded SAM on EMPS' `tune` frames and pack it.

    What predicts the IoU of its masks is fitted anew first, on views of those frames and on
    simulated images that it has not seen.

    Everything that builds on the weights (static settings, policies, figures) must be made anew
    afterwards: `make artefacts`.
    """
    console = Console()
    out = out or packaged_weights_path()
    sam = build_tiny_sam()
    checkpoint = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    sam.load_state_dict(checkpoint["average"])
    frames = load_labelled(emps, split_names("tune"))
    views = BatchDataset(
        HEAD_VIEWS,
        sam.image_encoder.img_size,
        SimulatedPool(
            CACHE / "pool",
            count=HEAD_VIEWS.simulated_images,
            size=HEAD_VIEWS.simulated_size,
            seed=SEED,
        ),
        frames,
        wide=SimulatedPool(
            CACHE / "pool",
            count=HEAD_VIEWS.wide_images,
            size=HEAD_VIEWS.wide_size,
            seed=SEED,
            wide=True,
        ),
    )
    with make_progress() as progress:
        batches = progress.track(range(HEAD_STEPS), description="views for the predicted IoU")
        fit_iou_head(sam, iou_samples(sam, (views[step] for step in batches)))
    with console.status("prompting every instance of the tune frames"):
        true_iou, iou_pred = point_ious(sam, frames, most_instances=most_instances)
    console.print("before:", asdict(point_result(true_iou, iou_pred)))
    if sharpness is not None:
        calibration = fit_affine(true_iou, iou_pred, sharpness=sharpness)
    else:
        with console.status("fitting the calibration: proposals of 70 frames, a few minutes"):
            calibration = fit_calibration(sam, frames, true_iou=true_iou, iou_pred=iou_pred)
    console.print("calibration:", asdict(calibration))
    apply_calibration(sam, calibration)
    round_to_half(sam)
    pack_weights(sam, out, calibration)
    console.print(
        "after:", asdict(point_result(*point_ious(sam, frames, most_instances=most_instances)))
    )
    console.print(f"wrote {out.name}, {out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    run_command(calibrate_sam)
