"""Intensities of any detector to what SAM takes: one mapping, in training and at the instrument."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from samstar_rl.errors import SamstarError

# a tenth of a percent on either side: hot pixels and dead ones go, small bright particles stay
OUTSIDE_PERCENT = 0.1
# percentiles of larger images are taken from a regular subset of about this many pixels
MAX_PERCENTILE_PIXELS = 1 << 18
# one in so many of these bounds the values among which a percentile is sought
TAIL_STEP = 64
# between these float32 arithmetic neither overflows nor underflows
TINY_SPAN, HUGE_SPAN = 1e-30, 1e30
NEUTRAL = 0.5


def normalise(image: ArrayLike) -> NDArray[np.float32]:
    """Map intensities linearly to [0, 1] between two robust percentiles.

    The mapping keeps the order of intensities and undoes gain and offset: ``normalise(a * x + b)``
    equals ``normalise(x)`` for a > 0, and an inverted image comes out inverted.

    Parameters
    ----------
    image : (H, W) array of bool, integers or real floats
        In any range. NaN marks missing pixels.

    Returns
    -------
    (H, W) float32 array
        From the 0.1th to the 99.9th percentile, clipped. Missing pixels, and all pixels of a
        constant image, are 0.5; infinite ones are at the end of the range where they belong.

    Raises
    ------
    SamstarError
        If the image is not two-dimensional, is empty, or is not of real numbers.
    """
    values = _as_real_2d(image)
    low, high = _robust_range(values)
    if not low < high:
        return np.full(values.shape, NEUTRAL, dtype=np.float32)
    unit = _rescale(values, low, high)
    unit[np.isnan(unit)] = NEUTRAL
    return unit.astype(np.float32, copy=False)


def to_sam_rgb(image: ArrayLike) -> NDArray[np.uint8]:
    """Turn intensities of any dtype and range into the picture that SAM takes.

    Parameters
    ----------
    image : (H, W) array
        As for `normalise`.

    Returns
    -------
    (H, W, 3) uint8 array
        The normalised image from 0 to 255, three times the same channel.
    """
    return unit_to_rgb(normalise(image))


def unit_to_rgb(unit: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn an image that `normalise` made, (H, W) in [0, 1], into (H, W, 3) uint8."""
    grey = cv2.convertScaleAbs(unit, alpha=255.0)
    return np.asarray(cv2.merge([grey, grey, grey]))


def _as_real_2d(image: ArrayLike) -> NDArray[np.floating]:
    array = np.asarray(image)
    if array.ndim != 2 or array.size == 0:
        raise SamstarError(
            f"expected an image of the shape (height, width), got {array.shape}; "
            "select a channel of a colour image, iterate over a stack"
        )
    if array.dtype.kind not in "buif":
        raise SamstarError(
            f"expected an image of real numbers (bool, integer or float), got {array.dtype}; "
            "take the modulus of a complex image"
        )
    # float32 holds every value of 16 bits; wider integers would lose steps
    narrow = array.dtype.itemsize <= 2 or array.dtype == np.float32
    return array.astype(np.float32 if narrow else np.float64, copy=False)


def _robust_range(values: NDArray[np.floating]) -> tuple[float, float]:
    """The two percentiles, or the extremes where those coincide (a nearly empty image)."""
    finite = np.isfinite(values)
    known = values.ravel() if finite.all() else values[finite]
    if known.size == 0:
        return 0.0, 0.0
    known = known[:: max(1, known.size // MAX_PERCENTILE_PIXELS)]
    low, high = _low_percentile(known, OUTSIDE_PERCENT), -_low_percentile(-known, OUTSIDE_PERCENT)
    if not low < high:
        low, high = known.min(), known.max()
    return float(low), float(high)


def _low_percentile(values: NDArray[np.floating], percentile: float) -> float:
    """As `np.percentile`, but quick where the percentile is low: few of many values are sorted."""
    place = percentile / 100 * (values.size - 1)
    sample = values[::TAIL_STEP]
    reach = int(2 * place / TAIL_STEP) + 8
    if reach < sample.size:
        least = values[values <= np.partition(sample, reach)[reach]]
        if least.size >= place + 2:
            values = least
    below = int(place)
    found = np.partition(values, [below, min(below + 1, values.size - 1)])[below : below + 2]
    # of float32 the difference of two may be beyond the range of it
    low, high = found[[0, -1]].astype(np.float64)
    return float(low + (high - low) * (place - below))


def _rescale(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
    """(values - low) / (high - low), clipped, for spans up to the whole range of float64."""
    if not TINY_SPAN < high - low < HUGE_SPAN:
        values = values.astype(np.float64)
    if not np.isfinite(high - low):
        values, low, high = values / 2, low / 2, high / 2
    unit = np.clip(values, low, high)
    unit -= low
    unit /= high - low
    # a rounding error above 1 would be a wrap to 0 in 8 bits
    return np.clip(unit, 0.0, 1.0, out=unit)
