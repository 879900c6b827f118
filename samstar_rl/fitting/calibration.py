"""Make a small SAM's predicted IoU and stability mean what SAM's usual thresholds expect.

A small network knows well which of its masks are better, but its IoU head is modest and its logits
are soft, so that SAM's default thresholds (0.88 and 0.95) leave next to nothing. Two changes mend
that without touching a single mask: an affine map of the predicted IoU (its order stays) and a
factor on the logits (their signs stay). Both are folded into the last linear layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam

from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.settings import Settings
from samstar_rl.truth.metrics import Truth, f1_at

if TYPE_CHECKING:
    from samstar_rl.fitting.emps import Labelled

SHARPNESSES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
LARGEST_ERROR = 0.08
"""Bound on the mean absolute error of the predicted IoU that the default thresholds may cost."""


@dataclass(frozen=True)
class Calibration:
    """``slope * predicted IoU + intercept``, ``sharpness * logits``."""

    slope: float = 1.0
    intercept: float = 0.0
    sharpness: float = 1.0


def apply_calibration(sam: Sam, calibration: Calibration) -> None:
    """Fold a calibration into the weights, in place."""
    decoder = sam.mask_decoder
    with torch.no_grad():
        last = decoder.iou_prediction_head.layers[-1]
        last.weight.mul_(calibration.slope)
        last.bias.mul_(calibration.slope).add_(calibration.intercept)
        for head in decoder.output_hypernetworks_mlps:
            head.layers[-1].weight.mul_(calibration.sharpness)
            head.layers[-1].bias.mul_(calibration.sharpness)


def undo_calibration(sam: Sam, calibration: Calibration) -> None:
    """Take a calibration out of the weights again, in place: training goes on from soft logits."""
    slope, sharpness = 1 / calibration.slope, 1 / calibration.sharpness
    apply_calibration(sam, Calibration(slope, -calibration.intercept * slope, sharpness))


def fit_calibration(
    sam: Sam,
    frames: Sequence[Labelled],
    *,
    true_iou: NDArray[np.float64],
    iou_pred: NDArray[np.float64],
) -> Calibration:
    """Choose the calibration under which SAM's default thresholds segment best.

    Among the affine maps whose mean absolute error stays under `LARGEST_ERROR` (or close to the
    smallest possible, where that is larger) and the sharpnesses in `SHARPNESSES`, the pair with the
    highest mean F1 at IoU 0.5 is taken.

    Parameters
    ----------
    sam : Sam
    frames : sequence of (image, labels)
        Frames that the SAM has not seen.
    true_iou, iou_pred : (K, 3) arrays
        Of interior points, see `samstar_rl.fitting.evaluation.point_ious`.

    Returns
    -------
    Calibration
    """
    engine = ProposalEngine(sam)
    settings = Settings(points_per_side=16)
    # sharper logits are as stable at an offset of 1 as these are at a smaller one
    offsets = [settings.stability_score_offset / sharpness for sharpness in SHARPNESSES]
    proposals = []
    for index, (image, labels) in enumerate(frames):
        frame = Frame(image.astype(np.float32), id=str(index))
        found = engine.propose(frame, settings.prompt, offsets=offsets)
        proposals.append((found, Truth(labels)))
    scored: dict[tuple[float, float], float] = {}
    best, best_f1 = Calibration(), -1.0
    for slope, intercept in _allowed_maps(true_iou, iou_pred):
        raw_threshold = round((settings.pred_iou_thresh - intercept) / slope, 2)
        for sharpness, offset in zip(SHARPNESSES, offsets, strict=True):
            key = (raw_threshold, offset)
            if key not in scored:
                raw = settings.replace(pred_iou_thresh=raw_threshold, stability_score_offset=offset)
                scored[key] = float(
                    np.mean(
                        [f1_at(filter_proposals(found, raw), truth) for found, truth in proposals]
                    )
                )
            if scored[key] > best_f1:
                best_f1 = scored[key]
                best = Calibration(slope, intercept, sharpness)
    return best


def fit_affine(
    true_iou: NDArray[np.float64], iou_pred: NDArray[np.float64], *, sharpness: float = 1.0
) -> Calibration:
    """Choose the truest affine map of the predicted IoU, with a sharpness that is given.

    Takes a moment where `fit_calibration`, which also asks how well SAM's default thresholds
    segment, takes minutes.

    Parameters
    ----------
    true_iou, iou_pred : (K, 3) arrays
        See `fit_calibration`.
    sharpness : float
        Factor on the logits.

    Returns
    -------
    Calibration
    """
    slope, intercept = _allowed_maps(true_iou, iou_pred)[0]
    return Calibration(slope, intercept, sharpness)


def _allowed_maps(
    true_iou: NDArray[np.float64], iou_pred: NDArray[np.float64]
) -> list[tuple[float, float]]:
    maps = [
        (slope, intercept)
        for slope in np.arange(0.8, 1.61, 0.05)
        for intercept in np.arange(-0.4, 0.41, 0.02)
    ]
    errors = np.array([np.abs(a * iou_pred + b - true_iou).mean() for a, b in maps])
    bound = max(LARGEST_ERROR, errors.min() + 0.003)
    # the most truthful first, so that it wins among maps of equal F1
    return [
        (float(maps[k][0]), float(maps[k][1])) for k in np.argsort(errors) if errors[k] <= bound
    ]
