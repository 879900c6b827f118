"""Segmentations that a bad score would take for good ones, made from ground truth.

They are for testing scores: the truth must score above every one of them.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Masks = list[Mask]
Labels = NDArray[np.integer]

#: How far outlines are moved: as a share of the particle's diameter, and at least in px.
SHARE_OF_DIAMETER = 0.2
LEAST_MOVE_PX = 2.0
FEW = 0.3


def no_mask(truth: Masks, rng: np.random.Generator) -> Masks:
    """Find nothing."""
    return []


def one_over_everything(truth: Masks, rng: np.random.Generator) -> Masks:
    """Take the whole frame for a particle."""
    return [np.ones_like(truth[0])]


def perfect_few(truth: Masks, rng: np.random.Generator) -> Masks:
    """Find three in ten, without fault; with fewer than four particles, nothing."""
    chosen = rng.permutation(len(truth))[: int(FEW * len(truth))]
    return [truth[i] for i in chosen]


def duplicates(truth: Masks, rng: np.random.Generator) -> Masks:
    """Find every particle twice."""
    return [*truth, *truth]


def merged(truth: Masks, rng: np.random.Generator) -> Masks:
    """Take each particle and its nearest free neighbour for one; of a single particle, nothing."""
    if len(truth) == 1:
        return []
    centres = np.array([np.argwhere(mask).mean(axis=0) for mask in truth])
    free = set(range(len(truth)))
    found = []
    while free:
        first = min(free)
        free.remove(first)
        if not free:
            found.append(truth[first])
            break
        others = np.array(sorted(free))
        distances = np.linalg.norm(centres[others] - centres[first], axis=1)
        partner = int(others[distances.argmin()])
        free.remove(partner)
        found.append(truth[first] | truth[partner])
    return found


def split(truth: Masks, rng: np.random.Generator) -> Masks:
    """Cut every particle in two, across its long axis."""
    halves = []
    for mask in truth:
        points = np.argwhere(mask)
        offsets = points - points.mean(axis=0)
        axis = np.linalg.eigh(np.cov(offsets.T) + 1e-9 * np.eye(2))[1][:, 1]
        first = offsets @ axis < 0
        for side in (first, ~first):
            half = np.zeros_like(mask)
            half[tuple(points[side].T)] = True
            halves.append(half)
    return [half for half in halves if half.any()]


def shifted(truth: Masks, rng: np.random.Generator) -> Masks:
    """Move every mask by a fifth of its diameter, each in a direction of its own."""
    moved = []
    for mask in truth:
        angle = rng.uniform(0, 2 * np.pi)
        dx, dy = np.rint(np.ceil(_move_px(mask)) * np.array([np.cos(angle), np.sin(angle)]))
        affine = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float64)
        moved.append(cv2.warpAffine(mask.astype(np.uint8), affine, mask.shape[::-1]) > 0)
    return [mask for mask in moved if mask.any()]


def dilated(truth: Masks, rng: np.random.Generator) -> Masks:
    """Move every outline outwards by a fifth of the diameter."""
    return [_distance_px(~mask) <= _move_px(mask) for mask in truth]


def eroded(truth: Masks, rng: np.random.Generator) -> Masks:
    """Move every outline inwards by a fifth of the diameter."""
    shrunk = [_distance_px(mask) > _move_px(mask) for mask in truth]
    return [mask for mask in shrunk if mask.any()]


def noise_blobs(truth: Masks, rng: np.random.Generator) -> Masks:
    """Put as many random blobs of the same sizes anywhere."""
    height, width = truth[0].shape
    rows, columns = np.mgrid[:height, :width]
    blobs = []
    for mask in truth:
        radius = np.sqrt(mask.sum() / np.pi)
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        angle = np.arctan2(rows - y, columns - x)
        waves = sum(
            rng.normal(0, 0.25 / n) * np.cos(n * angle + rng.uniform(0, 2 * np.pi))
            for n in range(1, 5)
        )
        blobs.append(np.hypot(rows - y, columns - x) <= radius * (1 + waves))
    return [blob for blob in blobs if blob.any()]


#: Name -> function of the true masks and a generator of random numbers.
ADVERSARIES: dict[str, Callable[[Masks, np.random.Generator], Masks]] = {
    "no mask": no_mask,
    "one mask over everything": one_over_everything,
    "the perfect few": perfect_few,
    "duplicates": duplicates,
    "merged": merged,
    "split": split,
    "shifted": shifted,
    "dilated": dilated,
    "eroded": eroded,
    "noise blobs": noise_blobs,
}


def true_masks(truth: Labels) -> Masks:
    """The masks of a label image (H, W), 0 being background."""
    return [truth == label for label in np.unique(truth[truth > 0])]


def _move_px(mask: Mask) -> float:
    diameter = np.sqrt(4 / np.pi * np.count_nonzero(mask))
    return max(LEAST_MOVE_PX, SHARE_OF_DIAMETER * float(diameter))


def _distance_px(mask: Mask) -> NDArray[np.float32]:
    """Distance of each pixel of the mask to the nearest one outside; beyond the frame is inside."""
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5))
