"""How many particles the proposals of a gaze reach: tiles of frames, a fixed number of prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from samstar_rl.errors import SamstarError
from samstar_rl.fitting.augmentation import letterbox
from samstar_rl.fitting.emps import Labelled
from samstar_rl.fitting.evaluation import SMALLEST_INSTANCE_PX
from samstar_rl.foreground.network import ForegroundMaps, particle_probability
from samstar_rl.sam.views import tile_boxes

Points = NDArray[np.float64]

OVERLAP = 0.25
"""Share of their distance by which tiles overlap, so that their neighbours' particles are whole."""

BATCH = 64
MATCH_IOU = 0.5
_LIKELY = 0.5


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
    sam: Sam,
    frames: Iterable[Labelled],
    *,
    zooms: Sequence[float] = (1.0, 2.0, 4.0),
    prompts: int = 500,
) -> RecallResult:
    """Prompt frames where the foreground network sees particles, tile by tile.

    An instance of at least `SMALLEST_INSTANCE_PX` px is found if one of the three masks of any
    prompt has an IoU above 0.5 with it; parts of it beyond the tile count as missed.

    Parameters
    ----------
    sam : Sam
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
    for image, labels in frames:
        points = prompt_points(particle_probability(image), image.shape, prompts)
        areas = np.bincount(labels.ravel())
        instances = np.flatnonzero(areas >= SMALLEST_INSTANCE_PX)
        instances = instances[instances > 0]
        if not len(instances):
            continue
        shares = {
            f"{zoom:g}": float(
                _matched(SamPredictor(sam), image, labels, points, zoom)[instances].mean()
            )
            for zoom in zooms
        }
        found.append({**shares, "as needed": max(shares.values())})
        counts.append(len(instances))
    if not found:
        raise SamstarError(f"no frame holds an instance of {SMALLEST_INSTANCE_PX} px or more")
    keys = list(found[0])
    columns = {key: [shares[key] for shares in found] for key in keys}
    return RecallResult(
        {key: float(np.average(columns[key], weights=counts)) for key in keys},
        {key: float(np.mean(columns[key])) for key in keys},
        sum(counts),
        prompts,
    )


def prompt_points(maps: ForegroundMaps, shape: tuple[int, ...], count: int) -> Points:
    """Place points in a frame: the middle of each core first, then all over particles.

    The latter are even in the order of a fixed low-discrepancy sequence; where no particle is seen
    they are spread over the frame.

    Parameters
    ----------
    maps : ForegroundMaps
        Of the frame.
    shape : tuple of int
        Its height and width in px.
    count : int
        Number of points.

    Returns
    -------
    (P, 2) float64 array
        x and y in px.
    """
    _, labels = cv2.connectedComponents((maps.core > _LIKELY).astype(np.uint8), connectivity=4)
    depth = cv2.distanceTransform((maps.core > _LIKELY).astype(np.uint8), cv2.DIST_L2, 5)
    order = np.argsort(depth, axis=None)
    deepest = np.zeros(labels.max() + 1, np.intp)
    deepest[labels.ravel()[order]] = order  # the last one written is the deepest
    middles = np.unravel_index(deepest[1:], labels.shape)
    likely = maps.probability > _LIKELY
    if not likely.any():
        likely = np.ones_like(likely)
    # the additive recurrence of the plastic number: even at any length
    steps = np.arange(1, 200 * count + 1)[:, None] * np.array([0.7548776662466927, 0.569840290998])
    spread = (steps % 1 * likely.shape).astype(np.intp)
    spread = spread[likely[spread[:, 0], spread[:, 1]]]
    places = np.concatenate([np.stack(middles, axis=1), spread])[:count]
    scale = np.array(shape) / np.array(likely.shape)
    return np.asarray((places + 0.5)[:, ::-1] * scale[::-1])


@torch.no_grad()
def _matched(
    predictor: SamPredictor,
    image: NDArray[np.uint8],
    labels: NDArray[np.int32],
    points: Points,
    zoom: float,
) -> NDArray[np.bool_]:
    """For each label whether a mask matches it, (number of labels,)."""
    size = predictor.model.image_encoder.img_size
    areas = np.bincount(labels.ravel())
    matched = np.zeros(len(areas), bool)
    height, width = image.shape
    boxes = tile_boxes((height, width), zoom, OVERLAP * max(height, width) / zoom)
    if not len(boxes):  # at zoom 1 the frame itself
        boxes = np.array([[0, 0, width, height]])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    owner = ((points[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
    for index, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        own = points[owner == index]
        if not len(own):
            continue
        view, seen = letterbox(image[y0:y1, x0:x1], labels[y0:y1, x0:x1], size)
        scale = max(view.shape) / max(x1 - x0, y1 - y0)
        predictor.set_image(np.repeat(view[..., None], 3, axis=-1))
        present, indexed = np.unique(seen, return_inverse=True)
        truth = torch.nn.functional.one_hot(torch.from_numpy(indexed.ravel())).float()
        whole = torch.from_numpy(areas[present] * scale**2)
        coords = torch.as_tensor((own - (x0, y0)) * scale, dtype=torch.float32)
        for start in range(0, len(coords), BATCH):
            batch = coords[start : start + BATCH, None]
            masks, _, _ = predictor.predict_torch(
                batch, torch.ones(batch.shape[:2], dtype=torch.int), multimask_output=True
            )
            found = masks.flatten(0, 1).flatten(1).float()
            shared = found @ truth
            iou = shared / (found.sum(dim=1, keepdim=True) + whole - shared)
            matched[present] |= (iou > MATCH_IOU).any(dim=0).numpy()
    matched[0] = False
    return matched
