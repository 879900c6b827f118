"""How good a SAM is on labelled frames: what one point finds, and how true its own estimate is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards import PhysicsReward
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.truth.metrics import Truth, f1_at

if TYPE_CHECKING:
    from samstar_rl.fitting.emps import Labelled
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.tasks.task import Task

SMALLEST_INSTANCE_PX = 30
MATCH_IOU = 0.5
BATCH = 64


@dataclass(frozen=True)
class PointResult:
    """Means over instances, each prompted by its innermost pixel.

    Parameters
    ----------
    best_of_three_iou : float
        IoU of the best of SAM's three masks with the instance.
    selected_iou : float
        IoU of the mask that SAM itself thinks best.
    recall : float
        Share of instances whose best mask has an IoU above 0.5.
    calibration_error : float
        Mean absolute difference of predicted and true IoU, over all three masks.
    instances : int
    """

    best_of_three_iou: float
    selected_iou: float
    recall: float
    calibration_error: float
    instances: int


def best_of_three(
    sam: Sam, frames: Iterable[Labelled], *, most_instances: int | None = None
) -> PointResult:
    """Prompt every instance with one interior point, at the frame's full resolution.

    Parameters
    ----------
    sam, frames, most_instances
        As of `point_ious`.

    Returns
    -------
    PointResult
    """
    return point_result(*point_ious(sam, frames, most_instances=most_instances))


def point_ious(
    sam: Sam, frames: Iterable[Labelled], *, most_instances: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True and predicted IoU of all three masks of each instance's innermost pixel.

    Parameters
    ----------
    sam : Sam
    frames : iterable of (image, labels)
        (H, W) uint8 and (H, W) int32.
    most_instances : int, optional
        Judge only this many instances a frame, drawn at random.

    Returns
    -------
    true_iou, iou_pred : (K, 3) float arrays

    Raises
    ------
    SamstarError
        If no frame holds an instance large enough.
    """
    predictor = SamPredictor(sam)
    rng = np.random.default_rng(0)
    true_parts, predicted_parts = [], []
    for image, labels in frames:
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        instances = np.flatnonzero(areas >= SMALLEST_INSTANCE_PX)
        if most_instances is not None and len(instances) > most_instances:
            instances = rng.choice(instances, most_instances, replace=False)
        if len(instances):
            true, predicted = _prompt_instances(predictor, image, labels, instances)
            true_parts.append(true)
            predicted_parts.append(predicted)
    if not true_parts:
        raise SamstarError(
            f"no frame holds an instance of {SMALLEST_INSTANCE_PX} px or more: nothing to judge"
        )
    return np.concatenate(true_parts), np.concatenate(predicted_parts)


def point_result(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> PointResult:
    """Means over instances; both arrays are (K, 3)."""
    best = true.max(axis=1)
    selected = np.take_along_axis(true, predicted.argmax(axis=1)[:, None], axis=1)
    return PointResult(
        best_of_three_iou=float(best.mean()),
        selected_iou=float(selected.mean()),
        recall=float((best > 0.5).mean()),
        calibration_error=float(np.abs(true - predicted).mean()),
        instances=len(best),
    )


def quarters(frames: Iterable[Labelled]) -> Iterator[Labelled]:
    """The 2x2 crops of each frame: the same instances at twice the size for SAM."""
    for image, labels in frames:
        height, width = image.shape
        for rows in (slice(0, height // 2), slice(height - height // 2, height)):
            for columns in (slice(0, width // 2), slice(width - width // 2, width)):
                yield (
                    np.ascontiguousarray(image[rows, columns]),
                    np.ascontiguousarray(labels[rows, columns]),
                )


def innermost_pixel(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """x, y of the pixel farthest from the mask's rim and from the border of the frame."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(column), int(row)


@torch.no_grad()
def _prompt_instances(
    predictor: SamPredictor,
    image: NDArray[np.uint8],
    labels: NDArray[np.int32],
    instances: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True and predicted IoU, each (K, 3)."""
    predictor.set_image(np.repeat(image[..., None], 3, axis=-1))
    device = predictor.device
    true, predicted = [], []
    for start in range(0, len(instances), BATCH):
        batch = instances[start : start + BATCH]
        truth = torch.from_numpy(labels == batch[:, None, None]).to(device)
        points = np.array([innermost_pixel(labels == instance) for instance in batch])
        coords = predictor.transform.apply_coords(points.astype(np.float64), image.shape)
        masks, iou_pred, _ = predictor.predict_torch(
            torch.as_tensor(coords, dtype=torch.float32, device=device)[:, None],
            torch.ones((len(batch), 1), dtype=torch.int, device=device),
            multimask_output=True,
        )
        shared = (masks & truth.unsqueeze(1)).flatten(2).sum(dim=-1)
        union = (masks | truth.unsqueeze(1)).flatten(2).sum(dim=-1)
        true.append((shared / union.clamp_min(1)).cpu().numpy())
        predicted.append(iou_pred.cpu().numpy())
    return np.concatenate(true), np.concatenate(predicted)


@dataclass(frozen=True)
class GridResult:
    """Means over frames of the automatic mask generator's result.

    Parameters
    ----------
    f1 : float
        F1 at IoU 0.5.
    masks, particles : float
        Found, and in the truth.
    """

    f1: float
    masks: float
    particles: float


def grid_result(
    engine: ProposalEngine,
    frames: Iterable[Labelled],
    settings: Settings,
    *,
    task: Task | None = None,
) -> GridResult:
    """Segment frames with one choice of settings: as the stock generator does, then the gates.

    Parameters
    ----------
    engine : ProposalEngine
    frames : iterable of (image, labels)
    settings : Settings
    task : Task, optional
        Says what the gates measure in; without one lengths are in px. Not one in nm.

    Returns
    -------
    GridResult
        Means over the frames.
    """
    f1, masks, particles = [], [], []
    for index, (image, labels) in enumerate(frames):
        frame = Frame(image.astype(np.float32), id=str(index))
        if task is None:
            found = engine.segment(frame, settings)
        else:
            found = engine.segment(frame, settings, **PhysicsReward(task).gauge(frame))
        f1.append(f1_at(found, labels))
        masks.append(len(found))
        particles.append(len(np.unique(labels[labels > 0])))
    return GridResult(float(np.mean(f1)), float(np.mean(masks)), float(np.mean(particles)))


@dataclass(frozen=True)
class RecallResult:
    """Which instances have a proposal that matches them.

    Parameters
    ----------
    recall : dict of float
        Share of all instances, by zoom; under "as needed" each frame at its best zoom.
    frame_recall : dict of float
        The same as a mean over frames.
    instances, prompts : int
        Instances in all, and prompts a frame.
    """

    recall: dict[str, float]
    frame_recall: dict[str, float]
    instances: int
    prompts: int


def proposal_recall(
    engine: ProposalEngine,
    frames: Iterable[Labelled],
    *,
    zooms: Sequence[float] = (1.0, 2.0, 4.0),
    prompts: int = 500,
) -> RecallResult:
    """Prompt frames as a gaze does, and count the instances that a proposal matches.

    An instance of at least `SMALLEST_INSTANCE_PX` px is found if one of the three masks of any
    prompt has an IoU of at least 0.5 with it.

    Parameters
    ----------
    engine : ProposalEngine
    frames : iterable of (image, labels)
        (H, W) uint8 and (H, W) int32.
    zooms : sequence of float
        Each is tried by itself with the same prompts.
    prompts : int
        A frame, whatever the zoom.

    Returns
    -------
    RecallResult

    Raises
    ------
    SamstarError
        If no frame holds an instance that is large enough.
    """
    found: list[dict[str, float]] = []
    counts: list[int] = []
    for index, (image, labels) in enumerate(frames):
        truth = Truth(labels)
        large = truth.areas >= SMALLEST_INSTANCE_PX
        if not large.any():
            continue
        frame = Frame(image.astype(np.float32), id=str(index))
        embedding = engine.embed(frame)
        shares = {}
        for zoom in zooms:
            settings = Settings(n_prompts=prompts, zoom=zoom)
            proposals = engine.propose(frame, settings.prompt, embedding=embedding)
            each = np.arange(len(proposals))
            ious = truth.ious(Segmentation(frame.id, settings, proposals, each, each))
            best = np.zeros(len(truth))
            np.maximum.at(best, ious.coords[1], ious.data)
            shares[f"{zoom:g}"] = float((best[large] >= MATCH_IOU).mean())
        found.append({**shares, "as needed": max(shares.values())})
        counts.append(int(large.sum()))
    if not found:
        raise SamstarError(f"no frame holds an instance of {SMALLEST_INSTANCE_PX} px or more")
    columns = {key: [shares[key] for shares in found] for key in found[0]}
    return RecallResult(
        {key: float(np.average(column, weights=counts)) for key, column in columns.items()},
        {key: float(np.mean(column)) for key, column in columns.items()},
        sum(counts),
        prompts,
    )
