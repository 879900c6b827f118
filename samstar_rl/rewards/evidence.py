"""What the terms need to know of masks beyond the particle table, computed once a mask."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.columns import MaskColumns
from samstar_rl.foreground import Foreground, foreground_of, slopes
from samstar_rl.frames.frame import Frame
from samstar_rl.masks import Ids, MaskStore, Window
from samstar_rl.reproducible import avoid_ipp
from samstar_rl.rewards.target import Sample
from samstar_rl.segmentation import Segmentation

_EVIDENCE = ("purity", "rim_support", "inside_std")
_MARGIN_PX = 5
_STEPS = 4095


@dataclass(frozen=True)
class Explained:
    """How the union of the masks lies on the foreground."""

    union_px: int
    shared_px: int


@dataclass(frozen=True)
class MaskEvidence:
    """How single masks lie on the image and its foreground, arrays of (K,).

    Parameters
    ----------
    purity : share of the mask that is foreground.
    rim_support : share of the outline across which the intensity steps as it should.
    inside_std : standard deviation of the normalised intensity inside.
    """

    purity: NDArray[np.float64]
    rim_support: NDArray[np.float64]
    inside_std: NDArray[np.float64]


_EXPLAINED: WeakKeyDictionary[Segmentation, WeakKeyDictionary[Foreground, Explained]] = (
    WeakKeyDictionary()
)
_DESCRIBED: WeakKeyDictionary[MaskStore, WeakKeyDictionary[Foreground, MaskColumns]] = (
    WeakKeyDictionary()
)


def foreground_for(frame: Frame, sample: Sample) -> Foreground:
    """The frame's foreground, given what is known of the sample (lengths in px)."""
    return foreground_of(
        frame,
        sample.contrast,
        sample.min_diameter,
        sample.max_diameter,
        sample.sizes,
        sample.arrangement,
    )


def explained(segmentation: Segmentation, foreground: Foreground) -> Explained:
    """Union and its share on the foreground."""
    known = _EXPLAINED.setdefault(segmentation, WeakKeyDictionary())
    if foreground not in known:
        starts, stops = segmentation.union_runs
        shared = foreground.pixel_count.within(starts, stops)
        known[foreground] = Explained(int((stops - starts).sum()), shared)
    return known[foreground]


def mask_evidence(segmentation: Segmentation, foreground: Foreground) -> MaskEvidence:
    """Evidence for each mask of a segmentation."""
    store, unit = segmentation.masks, segmentation.proposals.scene.unit
    of_store = _DESCRIBED.setdefault(store, WeakKeyDictionary())
    columns = of_store.get(foreground)
    if columns is None:
        columns = of_store[foreground] = MaskColumns(_EVIDENCE)

    def describe(ids: Ids) -> list[tuple[float, ...]]:
        boxes = store.boxes
        return [_describe(store.window(i), boxes[i].tolist(), unit, foreground) for i in ids]

    ids, n_masks = segmentation.mask_ids, len(store)
    return MaskEvidence(*(columns.get(name, ids, n_masks, describe) for name in _EVIDENCE))


def frame_rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Values of the outermost rows and columns, one after the other."""
    return np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])


def _describe(
    window: Window, box: list[int], unit: NDArray[np.float32], foreground: Foreground
) -> tuple[float, float, float]:
    x0, y0, x1, y1 = box
    if x1 <= x0:
        return 0.0, 0.0, 0.0
    purity = float(foreground.mask[y0:y1, x0:x1][window].mean())
    inside_std = _exact_std(unit[y0:y1, x0:x1][window])
    return purity, _rim_support(window, box, unit, foreground), inside_std


def _exact_std(values: NDArray[np.float32]) -> float:
    """Standard deviation of values in [0, 1], the same to the last bit wherever they lie in memory.

    Sums of floats depend on the order of summation, which numpy chooses by alignment; those of
    integers do not.
    """
    steps = np.rint(values * _STEPS).astype(np.int64)
    mean = int(steps.sum()) / len(steps)
    return float(np.sqrt(max(int((steps * steps).sum()) / len(steps) - mean**2, 0.0))) / _STEPS


def _exact_mean(values: NDArray[np.float32]) -> float:
    """Mean of values in [0, 1]; see `_exact_std`."""
    return int(np.rint(values * _STEPS).astype(np.int64).sum()) / len(values) / _STEPS


def _rim_support(
    window: Window, box: list[int], unit: NDArray[np.float32], foreground: Foreground
) -> float:
    """Share of the outline, off the frame's border, with a step of the right sign and size.

    The step is the image's derivative along the mask's outward normal.
    """
    avoid_ipp()
    x0, y0, x1, y1 = box
    height, width = unit.shape
    left, top = max(0, x0 - _MARGIN_PX), max(0, y0 - _MARGIN_PX)
    right, bottom = min(width, x1 + _MARGIN_PX), min(height, y1 + _MARGIN_PX)
    mask = np.zeros((bottom - top, right - left), dtype=np.float32)
    mask[y0 - top : y1 - top, x0 - left : x1 - left] = window
    # Beyond the frame the mask goes on: its border is no outline.
    soft = cv2.GaussianBlur(mask, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    across_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    across_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    steepness = cv2.magnitude(across_x, across_y)
    rim = steepness > 0.5
    if not rim.any():
        return 0.0
    slope_x, slope_y = slopes(unit[top:bottom, left:right])
    step = (across_x * slope_x + across_y * slope_y)[rim] / steepness[rim]
    return _exact_mean(np.clip(foreground.polarity * step / foreground.full_slope, 0, 1))
