"""Frames whose particles are known exactly."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.frames.frame import Frame
from samstar_rl.segmentation.segmentation import Segmentation

Mask = NDArray[np.bool_]
Circle = tuple[float, float, float]


def disc(shape: tuple[int, int], x: float, y: float, diameter: float) -> Mask:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= (diameter / 2) ** 2


def draw(
    shape: tuple[int, int],
    circles: Sequence[Circle],
    *,
    level: float = 0.8,
    background: float = 0.2,
    noise: float = 0.02,
    pixel_size_nm: float | None = 1.0,
    seed: int = 0,
) -> tuple[Frame, list[Mask]]:
    """A frame with discs (x, y, diameter), slightly blurred and noisy, and their masks."""
    masks = [disc(shape, *circle) for circle in circles]
    image = np.full(shape, background, dtype=np.float32)
    for mask in masks:
        image[mask] = level
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(image, (0, 0), 0.8) + rng.normal(0, noise, shape).astype(np.float32)
    return Frame(image, pixel_size_nm, "drawn"), masks


def grid(
    shape: tuple[int, int], spacing: float, diameter: float, jitter: float = 0.0, seed: int = 0
) -> list[Circle]:
    """Circles on a square lattice, off the border."""
    rng = np.random.default_rng(seed)
    ys = np.arange(spacing / 2, shape[0] - spacing / 2 + 1, spacing)
    xs = np.arange(spacing / 2, shape[1] - spacing / 2 + 1, spacing)
    return [
        (x + jitter * rng.normal(), y + jitter * rng.normal(), diameter) for y in ys for x in xs
    ]


def hexagonal(shape: tuple[int, int], constant: float, diameter: float) -> list[Circle]:
    """Circles on a hexagonal lattice, off the border."""
    height = constant * np.sqrt(3) / 2
    circles = []
    for row, y in enumerate(np.arange(constant / 2, shape[0] - constant / 2, height)):
        start = constant / 2 + (row % 2) * constant / 2
        circles += [(x, y, diameter) for x in np.arange(start, shape[1] - constant / 2, constant)]
    return circles


def found(frame: Frame, masks: Sequence[Mask]) -> Segmentation:
    return Segmentation.from_masks(list(masks), frame)


def labelled_discs():
    """Two images of bright discs with their labels: something to train on."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(2):
        rows, columns = np.mgrid[:120, :120]
        labels = np.zeros((120, 120), np.int32)
        for k, (y, x) in enumerate(rng.uniform(20, 100, (4, 2))):
            labels[np.hypot(rows - y, columns - x) < 14] = k + 1
        frames.append((np.where(labels > 0, 220, 30).astype(np.uint8), labels))
    return frames
