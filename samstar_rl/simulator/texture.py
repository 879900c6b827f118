"""Random fields: the raw material of films, surfaces and shading.

Each texture takes a random generator, the shape (height, width) in px and the width of its grains
in px, and returns an (H, W) float32 array.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Shape = tuple[int, int]

# Below this grain a coarse grid would show its own lattice; blurred white noise does not.
_FINEST_GRID_PX = 3.0


def white(rng: np.random.Generator, shape: Shape) -> Field:
    """Independent normal numbers of variance 1."""
    return rng.standard_normal(shape, dtype=np.float32)


def smooth(rng: np.random.Generator, shape: Shape, grain_px: float) -> Field:
    """Draw smooth noise of variance about 1.

    Parameters
    ----------
    rng, shape, grain_px
        As in every texture; the grains are its bumps.

    Returns
    -------
    (H, W) float32 array
    """
    if grain_px < _FINEST_GRID_PX:
        sigma_px = max(0.35 * grain_px, 0.3)
        return blurred(white(rng, shape), sigma_px) * np.float32(max(1.0, 3.5 * sigma_px))
    rows, columns = (int(side / grain_px) + 4 for side in shape)
    coarse = white(rng, (rows, columns))
    scale = np.float32(1 / grain_px)
    offset = rng.uniform(1, 2, 2)
    affine = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]], dtype=np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    height, width = shape
    field = cv2.warpAffine(
        coarse, affine, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(1.25 * field, dtype=np.float32)


def amorphous(rng: np.random.Generator, shape: Shape, grain_px: float) -> Field:
    """Draw band-limited noise of variance about 1: an amorphous film under a little defocus.

    Parameters
    ----------
    rng, shape, grain_px
        As in every texture.

    Returns
    -------
    (H, W) float32 array
    """
    sigma_px = max(0.35 * grain_px, 0.4)
    noise = white(rng, shape)
    field = blurred(noise, sigma_px) - blurred(noise, 2 * sigma_px)
    return np.asarray(field / max(float(field.std()), 1e-6), dtype=np.float32)


def octaves(rng: np.random.Generator, shape: Shape, grain_px: float) -> Field:
    """Draw a rough surface: three octaves of smooth noise, variance about 1.

    Parameters
    ----------
    rng, shape, grain_px
        As in every texture; the grains are the coarsest bumps.

    Returns
    -------
    (H, W) float32 array
    """
    field = smooth(rng, shape, grain_px) + 0.6 * smooth(rng, shape, grain_px / 2.3)
    return np.asarray((field + 0.4 * smooth(rng, shape, grain_px / 5)) / 1.23, dtype=np.float32)


def ridged(rng: np.random.Generator, shape: Shape, grain_px: float) -> Field:
    """Draw wrinkles or cracks: sharp bright lines where smooth noise crosses 0; mean about 0.

    Parameters
    ----------
    rng, shape, grain_px
        As in every texture; the grains are the fields between lines.

    Returns
    -------
    (H, W) float32 array
    """
    field = 1 - 2.5 * np.abs(smooth(rng, shape, grain_px))
    return np.asarray(np.maximum(field, -0.6), dtype=np.float32)


def relief(rng: np.random.Generator, shape: Shape, grain_px: float) -> Field:
    """Draw a rough surface lit from a side: the slope of octaves along a random direction.

    Parameters
    ----------
    rng, shape, grain_px
        As in every texture; the grains are the coarsest bumps.

    Returns
    -------
    (H, W) float32 array
    """
    height = octaves(rng, shape, grain_px)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * cv2.Sobel(height, cv2.CV_32F, 1, 0)
    slope += np.sin(angle) * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    return np.asarray(slope / max(float(slope.std()), 1e-6), dtype=np.float32).clip(-2.5, 2.5)


def _bumps(rng: np.random.Generator, shape: Shape, grain_px: float) -> Field:
    """Draw a granular surface as of sintered bodies: bright domes, dark seams."""
    height, width = shape
    rows, columns = int(height / grain_px) + 2, int(width / grain_px) + 2
    y, x = np.mgrid[:rows, :columns]
    jitter = rng.uniform(-0.4, 0.4, (2, rows, columns))
    seeds_x = np.clip(((x + jitter[0]) * grain_px).astype(int), 0, width - 1)
    seeds_y = np.clip(((y + jitter[1]) * grain_px).astype(int), 0, height - 1)
    free = np.ones(shape, np.uint8)
    free[seeds_y, seeds_x] = 0
    distance = cv2.distanceTransform(free, cv2.DIST_L2, 3) / (0.5 * grain_px)
    return np.asarray(0.8 - 1.1 * distance**1.5, dtype=np.float32).clip(-0.8, 1)


def _stripes(rng: np.random.Generator, shape: Shape, period_px: float) -> Field:
    """Straight fringes with a slowly wandering phase: twins, lattice fringes, bend contours."""
    angle = rng.uniform(0, np.pi)
    y, x = np.ogrid[: shape[0], : shape[1]]
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period_px)
    wander = smooth(rng, shape, max(8 * period_px, 8.0))
    return np.asarray(np.sin(phase + wander), dtype=np.float32)


def blurred(field: Field, sigma_px: float) -> Field:
    """Gaussian blur; a wide one is done on a smaller grid, which is as good and faster."""
    if sigma_px < 0.2:
        return field
    if sigma_px < 6:
        return cv2.GaussianBlur(field, (0, 0), sigma_px)
    height, width = field.shape
    shrink = sigma_px / 3
    small_size = (max(int(width / shrink), 2), max(int(height / shrink), 2))
    small = cv2.resize(field, small_size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 3.0)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


TEXTURES = {
    "smooth": smooth,
    "octaves": octaves,
    "ridged": ridged,
    "bumps": _bumps,
    "relief": relief,
    "stripes": _stripes,
}
