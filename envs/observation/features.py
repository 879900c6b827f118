"""Numbers that describe a frame: its image, where particles are likely, what a gaze would find.

What each number is says `samstar_rl.envs.observation.schema`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl._io.opencv import avoid_ipp
from samstar_rl.envs.observation.schema import (
    BODY_QUANTILES,
    FOREGROUND_STATISTICS,
    GAZE_STATISTICS,
    GAZE_ZOOMS,
    IMAGE_STATISTICS,
    SIZE_QUANTILES,
)
from samstar_rl.foreground.network import at_working_size, maps_of
from samstar_rl.frames.intensity import normalise
from samstar_rl.sam.prompt_order import FEW_BODIES, LONG_SIDE_PX, bodies_of, lay_tiles

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame

_SMALLEST_SHARE = float(np.exp(-7.0))

_LONGEST_SIDE_PX = 512


def image_statistics(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Statistics of the intensities of an image (H, W), `IMAGE_STATISTICS`, (27,).

    NaN and infinities are missing pixels; the numbers are finite, whatever the image holds. Scaling
    the intensities by a positive factor or shifting them changes nothing.
    """
    avoid_ipp()
    height, width = image.shape
    finite = np.isfinite(image)
    values, filled = image.ravel(), image
    if not finite.all():
        values = image[finite] if finite.any() else np.zeros(1, dtype=np.float32)
        filled = np.where(finite, image, np.median(values))
    small = _scaled(_shrink(filled), values)
    numbers = [
        np.log2(min(height, width) / 512.0),
        min(height, width) / max(height, width),
        1.0 - finite.mean(),
        (values == values.min()).mean(),
        (values == values.max()).mean(),
        *_histogram(small),
        *_detail(small),
        *_shading(small),
    ]
    return _clipped(numbers, IMAGE_STATISTICS)


def foreground_statistics(frame: Frame) -> NDArray[np.float32]:
    """Statistics of where particles are likely, `FOREGROUND_STATISTICS`, (8,).

    They tell how many particles there are and how large, before anything is segmented.
    """
    maps = maps_of(frame)
    probability, short_side = maps.probability, min(maps.probability.shape)
    _, _, bodies, _ = cv2.connectedComponentsWithStats((maps.core > 0.5).astype(np.uint8))
    areas = bodies[1:, cv2.CC_STAT_AREA]
    diameters = np.sqrt(4 / np.pi * (areas if len(areas) else np.zeros(1))) / short_side
    mean_diameter = np.sqrt(4 / np.pi * probability.sum() / max(len(areas), 1)) / short_side
    numbers = [
        probability.mean(),
        np.abs(2 * probability - 1).mean(),
        np.log1p(len(areas)),
        np.log(max(mean_diameter, _SMALLEST_SHARE)),
        *np.log(np.maximum(np.quantile(diameters, SIZE_QUANTILES), _SMALLEST_SHARE)),
        _contrast(at_working_size(normalise(frame.image)), probability),
    ]
    return _clipped(numbers, FOREGROUND_STATISTICS)


def gaze_statistics(frame: Frame) -> NDArray[np.float32]:
    """Statistics of what looking closer would find and cost, `GAZE_STATISTICS`, (21,).

    They come from the foreground alone: nothing is decoded for them.
    """
    shape = frame.shape
    bodies = bodies_of(maps_of(frame), shape)
    widths = bodies.width_px if len(bodies.width_px) else np.zeros(1)
    widths = np.maximum(widths * LONG_SIDE_PX / max(shape), 1e-3)
    numbers = [np.log1p(len(bodies.width_px)), *np.log(np.quantile(widths, BODY_QUANTILES))]
    for zoom in GAZE_ZOOMS:
        layout = lay_tiles(bodies, shape, zoom)
        in_tiles = np.bincount(layout.view, minlength=len(layout.boxes))[1:]
        numbers += [
            np.log1p(np.count_nonzero(in_tiles)),
            np.log1p(np.count_nonzero(in_tiles >= FEW_BODIES)),
            (layout.view == 0).mean() if len(layout.view) else 0.0,
        ]
    return _clipped(numbers, GAZE_STATISTICS)


def _contrast(unit: NDArray[np.float32], probability: NDArray[np.float32]) -> float:
    inside, outside = float(probability.sum()), float((1 - probability).sum())
    if min(inside, outside) < 1:
        return 0.0
    return float((unit * probability).sum() / inside - (unit * (1 - probability)).sum() / outside)


def _clipped(
    numbers: Sequence[Any], table: tuple[tuple[str, float, float], ...]
) -> NDArray[np.float32]:
    low, high = np.array([entry[1:] for entry in table], dtype=np.float32).T
    return np.clip(np.asarray(numbers, dtype=np.float32), low, high)


def _shrink(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring large frames to a size at which the statistics cost a few milliseconds."""
    factor = _LONGEST_SIDE_PX / max(image.shape)
    if factor >= 1:
        return image.astype(np.float32)
    height, width = (max(1, round(factor * side)) for side in image.shape)
    return cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)


def _scaled(image: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intensities scaled so that the 1st and 99th percentile become 0 and 1, clipped."""
    low, high = np.percentile(values[:: max(1, values.size // 100_000)], (1, 99))
    if not high > low:
        return np.zeros_like(image)
    return np.clip((image - low) / (high - low), 0.0, 1.0).astype(np.float32)


def _histogram(image: NDArray[np.float32]) -> list[float]:
    """Quantiles, moments and Otsu's split of intensities in [0, 1]."""
    quantiles = np.quantile(image, (0.05, 0.25, 0.5, 0.75, 0.95))
    std = float(image.std())
    standardised = (image - image.mean()) / max(std, 1e-6)
    # by products: higher powers of float32 take ten times as long
    squared = np.square(standardised)
    skewness, kurtosis = float((squared * standardised).mean()), float(np.square(squared).mean())
    return [*quantiles, std, skewness, np.log(max(kurtosis, 0.2)), *_otsu(image)]


def _otsu(image: NDArray[np.float32]) -> tuple[float, float, float]:
    """Threshold, between-class over total variance, share above it (Otsu 1979)."""
    counts, edges = np.histogram(image, bins=64, range=(0.0, 1.0))
    share = counts / counts.sum()
    centres = 0.5 * (edges[:-1] + edges[1:])
    below = share.cumsum()
    mean_below = (share * centres).cumsum()
    mean = mean_below[-1]
    weight = below * (1 - below)
    between = np.divide(
        (mean * below - mean_below) ** 2, weight, out=np.zeros(64), where=weight > 1e-9
    )
    split = int(between.argmax())
    total = float((share * (centres - mean) ** 2).sum())
    return (
        float(edges[split + 1]),
        float(between[split] / max(total, 1e-9)),
        1 - float(below[split]),
    )


def _detail(image: NDArray[np.float32]) -> list[float]:
    """Noise, energy per scale, edges and streaks of an image in [0, 1]."""
    finest = image - cv2.GaussianBlur(image, (0, 0), 1.0)
    numbers = [1.4826 * float(np.median(np.abs(finest)))]
    level = image
    for _ in range(5):
        smooth = cv2.GaussianBlur(level, (0, 0), 1.0)
        numbers.append(float((level - smooth).std()))
        level = smooth[::2, ::2] if min(smooth.shape) > 8 else smooth
    smooth = cv2.GaussianBlur(image, (0, 0), 2.0)
    dy, dx = (_differences(smooth, axis) for axis in (0, 1))
    threshold = 0.25 * max(float(dx.max(initial=0.0)), float(dy.max(initial=0.0)), 1e-3)
    edges = 0.5 * (float((dx > threshold).mean()) + float((dy > threshold).mean()))
    rough_y, rough_x = (float(_differences(image, axis).mean()) for axis in (0, 1))
    return [*numbers, edges, float(np.log((rough_y + 1e-4) / (rough_x + 1e-4)))]


def _differences(image: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    if image.shape[axis] < 2:
        return np.zeros((1, 1), dtype=np.float32)
    return np.abs(np.diff(image, axis=axis))


def _shading(image: NDArray[np.float32]) -> tuple[float, float, float]:
    """Differences of halves, and of centre and rim, on a 4 x 4 raster."""
    raster = cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA)
    centre = raster[1:3, 1:3].mean()
    rim = (raster.sum() - 4 * centre) / 12
    right, lower = raster[:, 2:].mean(), raster[2:].mean()
    return (
        float(right - raster[:, :2].mean()),
        float(lower - raster[:2].mean()),
        float(centre - rim),
    )
