"""What the terms need to know of masks beyond the particle table, computed once a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.columns import MaskColumns
from samstar_rl.foreground import Cover, Foreground, foreground_of, slopes
from samstar_rl.frames.frame import Frame
from samstar_rl.masks import Ids, MaskStore, Window
from samstar_rl.reproducible import avoid_ipp
from samstar_rl.rewards.target import Sample
from samstar_rl.segmentation import Segmentation

Index = NDArray[np.intp]

_MARGIN_PX = 5
#: Sectors about a mask's centre, centred on the axes: no lattice direction lies on their borders.
_SECTORS = 16
#: The sectors' steps in ascending order are summed up by the means of these groups.
_RANKS = np.array([0, 1, 2, 4, 8, 12])
#: Neighbouring sectors that make up an arc.
_ARC = 3
_RING = np.ones((7, 7), np.uint8)
_STEPS = 4095


@dataclass(frozen=True)
class Explained:
    """How the union of the masks lies on the foreground."""

    union_px: int
    shared_px: int


#: What is known of single masks, see `mask_evidence`.
EVIDENCE = (
    "purity",
    "inside_std",
    "rim_support",
    "weakest_arc",
    *(f"step_{rank}" for rank in range(len(_RANKS))),
    "ring",
    "rim_core",
    "probability",
    "probability_std",
    "core",
    "body_iou",
    "body_share",
    "body_cover",
    "n_bodies",
)

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


def mask_evidence(
    segmentation: Segmentation, foreground: Foreground, *names: str
) -> tuple[NDArray[np.float64], ...]:
    """How single masks lie on the image and its foreground, an array (K,) for each name.

    Computed once a mask. Steps are changes of intensity across the outline, in shares of a full
    step of the right sign.

    Parameters
    ----------
    segmentation : Segmentation
        Of K masks.
    foreground : Foreground
    *names : str
        Of `EVIDENCE`:

        - ``purity``: share of the mask that is foreground
        - ``inside_std``: standard deviation of the normalised intensity inside
        - ``rim_support``: mean step, those of the wrong sign counting 0
        - ``weakest_arc``: mean step, signs kept, on the weakest fifth or so of the outline
        - ``step_0`` to ``step_5``: steps of 16 sectors about the centre, from the weakest to the
          strongest; means of 1, 1, 2, 4, 4 and 4 of them
        - ``ring``: share of the surroundings, 3 px wide, that is foreground
        - ``rim_core``: mean of the network's core map on the outline
        - ``probability``, ``probability_std``: mean and spread inside of the network's probability
        - ``core``: share of the mask in the network's cores
        - ``body_iou``, ``body_share``, ``body_cover``: IoU with the foreground's body that fits
          best, share of the mask in it, and share of it in the mask
        - ``n_bodies``: bodies that lie in the mask by half or more
    """
    store, unit = segmentation.masks, segmentation.proposals.scene.unit
    of_store = _DESCRIBED.setdefault(store, WeakKeyDictionary())
    columns = of_store.get(foreground)
    if columns is None:
        columns = of_store[foreground] = MaskColumns(EVIDENCE)

    def describe(ids: Ids) -> list[tuple[float, ...]]:
        boxes = store.boxes
        return [_describe(store.window(i), boxes[i].tolist(), unit, foreground) for i in ids]

    ids, n_masks = segmentation.mask_ids, len(store)
    return tuple(columns.get(name, ids, n_masks, describe) for name in names)


def frame_rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Values of the outermost rows and columns, one after the other."""
    return np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])


def _describe(
    window: Window, box: list[int], unit: NDArray[np.float32], foreground: Foreground
) -> tuple[float, ...]:
    x0, y0, x1, y1 = box
    if x1 <= x0 or not window.any():
        return (0.0,) * len(EVIDENCE)
    purity = float(foreground.mask[y0:y1, x0:x1][window].mean())
    inside_std = _exact_std(unit[y0:y1, x0:x1][window])
    around = _Surroundings.of(window, box, unit.shape)
    return (
        purity,
        inside_std,
        *_describe_rim(around, unit, foreground),
        *_describe_maps(foreground.cover_of(window, box), int(window.sum()), foreground),
    )


@dataclass(frozen=True)
class _Surroundings:
    """A mask with a margin around it: corner in the frame (left, top, right, bottom), pixels."""

    left: int
    top: int
    right: int
    bottom: int
    mask: NDArray[np.uint8]

    @classmethod
    def of(cls, window: Window, box: list[int], shape: tuple[int, ...]) -> _Surroundings:
        x0, y0, x1, y1 = box
        left, top = max(0, x0 - _MARGIN_PX), max(0, y0 - _MARGIN_PX)
        right, bottom = min(shape[1], x1 + _MARGIN_PX), min(shape[0], y1 + _MARGIN_PX)
        mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
        mask[y0 - top : y1 - top, x0 - left : x1 - left] = window
        return cls(left, top, right, bottom, mask)

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        return image[self.top : self.bottom, self.left : self.right]


def _describe_rim(
    around: _Surroundings, unit: NDArray[np.float32], foreground: Foreground
) -> tuple[float, ...]:
    """`rim_support` to `rim_core`, of the outline off the frame's border.

    A step is the image's derivative along the mask's outward normal.
    """
    avoid_ipp()
    mask = around.mask.astype(np.float32)
    # Beyond the frame the mask goes on: its border is no outline.
    soft = cv2.GaussianBlur(mask, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    across_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    across_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    steepness = cv2.magnitude(across_x, across_y)
    ys, xs = np.nonzero(steepness > 0.5)
    ring = around.cut(foreground.mask)[(cv2.dilate(around.mask, _RING) > 0) & (around.mask == 0)]
    surrounded = float(ring.mean()) if len(ring) else 0.0
    if len(ys) == 0:
        return (0.0,) * (2 + len(_RANKS)) + (surrounded, 0.0)
    slope_x, slope_y = slopes(around.cut(unit))
    step = (across_x * slope_x + across_y * slope_y)[ys, xs] / steepness[ys, xs]
    steps = np.clip(foreground.polarity * step / foreground.full_slope, -1, 1)
    core = foreground.maps[1][foreground.at_working_size(ys + around.top, xs + around.left)]
    return (
        _exact_mean(np.clip(steps, 0, 1)),
        *_sector_steps(_to_integers(steps), ys, xs, around.mask),
        surrounded,
        int(core.sum(dtype=np.int64)) / len(core) / 255,
    )


def _sector_steps(
    steps: NDArray[np.int64], ys: Index, xs: Index, mask: NDArray[np.uint8]
) -> list[float]:
    """The weakest arc and the steps by rank, of an outline's pixels; see `mask_evidence`."""
    of_rows, of_columns = mask.sum(axis=1, dtype=np.int64), mask.sum(axis=0, dtype=np.int64)
    # whole numbers: the angle must not depend on the order of a sum
    area = int(of_rows.sum())
    centre_y = int(of_rows @ np.arange(len(of_rows)))
    centre_x = int(of_columns @ np.arange(len(of_columns)))
    angle = np.arctan2(ys * area - centre_y, xs * area - centre_x)
    sector = np.rint(angle * (_SECTORS / (2 * np.pi))).astype(np.intp) % _SECTORS
    count = np.bincount(sector, minlength=_SECTORS)
    total = np.bincount(sector, steps, minlength=_SECTORS)
    turns = (np.arange(_SECTORS) + np.arange(_ARC)[:, None]) % _SECTORS
    arc_count, arc_total = count[turns].sum(axis=0), total[turns].sum(axis=0)
    weakest_arc = float((arc_total[arc_count > 0] / arc_count[arc_count > 0]).min()) / _STEPS
    means = np.full(_SECTORS, total.sum() / count.sum())
    means[count > 0] = total[count > 0] / count[count > 0]
    ranked = np.add.reduceat(np.sort(means), _RANKS) / np.diff(_RANKS, append=_SECTORS)
    return [weakest_arc, *(ranked / _STEPS).tolist()]


def _describe_maps(
    cover: Cover, area: int, foreground: Foreground
) -> tuple[float, float, float, float, float, float, float]:
    """`probability` to `n_bodies` of a mask."""
    probability, core = foreground.maps[:, *cover.where].astype(np.int64)
    mean = int((cover.pixels * probability).sum()) / area
    square = int((cover.pixels * probability**2).sum()) / area
    spread = float(np.sqrt(max(square - mean**2, 0.0)))
    in_cores = int(cover.pixels[core > 127].sum()) / area
    return mean / 255, spread / 255, in_cores, *_describe_bodies(cover, area, foreground)


def _describe_bodies(
    cover: Cover, area: int, foreground: Foreground
) -> tuple[float, float, float, float]:
    """`body_iou`, `body_share`, `body_cover` and `n_bodies` of a mask."""
    bodies, shared = _count_bodies(cover, foreground)
    if len(bodies) == 0:
        return 0.0, 0.0, 0.0, 0.0
    areas = foreground.body_areas_px[bodies]
    ious = shared / np.maximum(area + areas - shared, 1)
    covered = np.minimum(shared / areas, 1)
    best = int(ious.argmax())
    n_covered = float(np.count_nonzero(covered >= 0.5))
    return float(ious[best]), float(shared[best] / area), float(covered[best]), n_covered


def count_bodies_in(
    window: Window, box: list[int], foreground: Foreground
) -> tuple[Index, NDArray[np.float64]]:
    """Which bodies of the foreground a mask meets, and in how many pixels."""
    return _count_bodies(foreground.cover_of(window, box), foreground)


def _count_bodies(cover: Cover, foreground: Foreground) -> tuple[Index, NDArray[np.float64]]:
    pixels = np.bincount(foreground.bodies[cover.where].ravel(), cover.pixels.ravel())
    pixels[0] = 0
    met = np.flatnonzero(pixels)
    return met, pixels[met].astype(np.float64)


def _exact_std(values: NDArray[np.float32]) -> float:
    """Standard deviation of values in [0, 1], the same to the last bit wherever they lie in memory.

    Sums of floats depend on the order of summation, which numpy chooses by alignment; those of
    integers do not.
    """
    steps = _to_integers(values)
    mean = int(steps.sum()) / len(steps)
    return float(np.sqrt(max(int((steps * steps).sum()) / len(steps) - mean**2, 0.0))) / _STEPS


def _exact_mean(values: NDArray[np.float32]) -> float:
    """Mean of values in [0, 1]; see `_exact_std`."""
    return int(_to_integers(values).sum()) / len(values) / _STEPS


def _to_integers(values: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(np.rint(values * _STEPS), dtype=np.int64)
