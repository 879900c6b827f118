"""How masks lie on the image and its foreground: what the particle table does not say."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl._io.opencv import avoid_ipp

if TYPE_CHECKING:
    from samstar_rl.foreground.estimate import Cover, Foreground
    from samstar_rl.masks.particle_table import Scene
    from samstar_rl.masks.store import Ids, MaskStore, Window

Index = NDArray[np.intp]

_MARGIN_PX = 5
#: Outline pixels that are described together.
_OUTLINE_PX = 16_384
#: Sectors about a mask's centre, centred on the axes: no lattice direction lies on their borders.
_SECTORS = 16
#: The sectors' steps in ascending order are summed up by the means of these groups.
_RANKS = np.array([0, 1, 2, 4, 8, 12])
#: Neighbouring sectors that make up an arc.
_ARC = 3
_RING = np.ones((7, 7), np.uint8)
#: Intensities and their steps are summed in whole numbers of this fineness.
_STEPS = 4095


#: How single masks lie on the image and its foreground; see `FrameEvidence.columns`.
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

_INSIDE = slice(0, 2)
_RIM_SUPPORT = EVIDENCE.index("rim_support")
_SECTOR_COLUMNS = slice(EVIDENCE.index("weakest_arc"), EVIDENCE.index("ring"))
_RING_COLUMN = EVIDENCE.index("ring")
_RIM_CORE = EVIDENCE.index("rim_core")
_MAPS = slice(EVIDENCE.index("probability"), len(EVIDENCE))


def frame_rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Values of the outermost rows and columns, one after the other."""
    return np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])


class MaskDescriber:
    """Describes masks of one frame; what lies on their outlines is summed up for all at once.

    Sums are of whole numbers: those of floats depend on the order of summation, which numpy
    chooses by size and alignment, and a mask must be described alike in any company.
    """

    def __init__(self, store: MaskStore, scene: Scene, foreground: Foreground) -> None:
        self._store, self._foreground = store, foreground
        self._slopes = scene.slopes
        self._unit = scene.unit
        self._is_foreground = foreground.mask.view(np.uint8)

    def __call__(self, ids: Ids) -> NDArray[np.float64]:
        """A row a mask, a column for each of `EVIDENCE`."""
        avoid_ipp()
        rows = np.zeros((len(ids), len(EVIDENCE)))
        outlines: list[_Outline] = []
        for k, mask_id in enumerate(ids.tolist()):
            box = self._store.boxes[mask_id].tolist()
            if box[2] > box[0]:
                window = self._store.window(mask_id)
                area = cv2.countNonZero(window.view(np.uint8))
                if area:
                    outlines.append(self._describe_inside(rows[k], k, window, box, area))
        for together in _batched(outlines):
            self._describe_outlines(rows, together)
        return rows

    def _describe_inside(
        self, row: NDArray[np.float64], k: int, window: Window, box: list[int], area: int
    ) -> _Outline:
        """All but what is said of the outline, which is returned."""
        x0, y0, x1, y1 = box
        pixels = window.view(np.uint8)
        on_foreground = cv2.countNonZero(pixels & self._is_foreground[y0:y1, x0:x1])
        steps = np.rint(self._unit[y0:y1, x0:x1][window] * _STEPS).astype(np.float64)
        mean = float(steps.sum()) / area
        inside_std = np.sqrt(max(float(steps @ steps) / area - mean**2, 0.0)) / _STEPS
        around = _Surroundings.of(window, box, self._foreground.mask.shape)
        ring = cv2.dilate(around.mask, _RING) - around.mask
        n_ring = cv2.countNonZero(ring)
        shared = cv2.countNonZero(ring & around.cut(self._is_foreground)) if n_ring else 0
        cover = self._foreground.cover_of(window, box)
        row[_INSIDE] = on_foreground / area, inside_std
        row[_RING_COLUMN] = shared / max(n_ring, 1)
        row[_MAPS] = _describe_maps(cover, area, self._foreground)
        return _Outline.of(k, around, area)

    def _describe_outlines(self, rows: NDArray[np.float64], outlines: list[_Outline]) -> None:
        """`rim_support` to `step_5` and `rim_core`, of the outlines off the frame's border.

        A step is the image's derivative along the mask's inward normal.
        """
        foreground = self._foreground
        counts = np.array([len(outline.ys) for outline in outlines])
        owner = np.repeat(np.arange(len(outlines)), counts)
        ys, xs = (np.concatenate([getattr(o, name) for o in outlines]) for name in ("ys", "xs"))
        normal_x, normal_y = np.concatenate([outline.normals for outline in outlines], axis=1)
        slope_x, slope_y = (slope[ys, xs].astype(np.float32) for slope in self._slopes)
        step = normal_x * slope_x + normal_y * slope_y
        steps = np.clip(foreground.polarity * step / foreground.full_slope, -1, 1)
        whole = np.rint(steps * _STEPS)
        core = foreground.maps[1][foreground.at_working_size(ys, xs)]
        area, sum_y, sum_x = np.array([outline.moments for outline in outlines]).T
        sector = _sectors(ys - (sum_y / area)[owner], xs - (sum_x / area)[owner])
        to = [outline.position for outline in outlines]
        rows[to, _RIM_SUPPORT] = np.bincount(owner, np.maximum(whole, 0)) / counts / _STEPS
        rows[to, _SECTOR_COLUMNS] = _sector_steps(whole, sector, owner, len(outlines))
        rows[to, _RIM_CORE] = np.bincount(owner, core) / counts / 255


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


@dataclass(frozen=True)
class _Outline:
    """A mask's outline off the frame's border.

    Attributes
    ----------
    position : int
        Of the mask among those described.
    ys, xs : (N,) int arrays
        Its pixels in the frame.
    normals : (2, N) float32 array
        Of unit length, inward, x and y.
    moments : (area, sum of y, sum of x) of the mask's pixels
    """

    position: int
    ys: Index
    xs: Index
    normals: NDArray[np.float32]
    moments: tuple[int, int, int]

    @classmethod
    def of(cls, position: int, around: _Surroundings, area: int) -> _Outline:
        mask = around.mask.astype(np.float32)
        # Beyond the frame the mask goes on: its border is no outline.
        soft = cv2.GaussianBlur(mask, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
        across_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
        across_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
        steepness = cv2.magnitude(across_x, across_y)
        flat = np.flatnonzero(steepness > 0.5)
        ys, xs = np.divmod(flat, mask.shape[1])
        across = np.stack([across_x.ravel()[flat], across_y.ravel()[flat]])
        rows = cv2.reduce(around.mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
        columns = cv2.reduce(around.mask, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
        sum_y = int(rows @ np.arange(len(rows))) + around.top * area
        sum_x = int(columns @ np.arange(len(columns))) + around.left * area
        normals = across / steepness.ravel()[flat]
        return cls(position, ys + around.top, xs + around.left, normals, (area, sum_y, sum_x))


def _batched(outlines: Sequence[_Outline]) -> Iterator[list[_Outline]]:
    """Outlines, none of them empty, in groups whose arrays fit a core's cache."""
    group: list[_Outline] = []
    size = 0
    for outline in outlines:
        if len(outline.ys) == 0:
            continue
        group.append(outline)
        size += len(outline.ys)
        if size >= _OUTLINE_PX:
            yield group
            group, size = [], 0
    if group:
        yield group


def _sectors(off_y: NDArray[np.float64], off_x: NDArray[np.float64]) -> Index:
    """The sector about a mask's centre in which a pixel lies."""
    angle = np.arctan2(off_y.astype(np.float32), off_x.astype(np.float32))
    return np.rint(angle * np.float32(_SECTORS / (2 * np.pi))).astype(np.intp) % _SECTORS


def _sector_steps(
    steps: NDArray[np.float32], sector: Index, owner: Index, n_masks: int
) -> NDArray[np.float64]:
    """The weakest arc and the steps by rank of each mask; see `FrameEvidence.columns`."""
    place, size = owner * _SECTORS + sector, n_masks * _SECTORS
    count = np.bincount(place, minlength=size).reshape(n_masks, _SECTORS)
    total = np.bincount(place, steps, minlength=size).reshape(n_masks, _SECTORS)
    turns = (np.arange(_SECTORS) + np.arange(_ARC)[:, None]) % _SECTORS
    arc_count, arc_total = count[:, turns].sum(axis=1), total[:, turns].sum(axis=1)
    arcs = np.divide(
        arc_total, arc_count, out=np.full(arc_total.shape, np.inf), where=arc_count > 0
    )
    mean = total.sum(axis=1) / count.sum(axis=1)
    means = np.where(count > 0, total / np.maximum(count, 1), mean[:, None])
    ranked = np.sort(means, axis=1).T
    groups = np.split(ranked, _RANKS[1:])
    by_rank = [functools.reduce(np.add, group) / len(group) for group in groups]
    return np.stack([arcs.min(axis=1), *by_rank], axis=1) / _STEPS


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
    """Count in how many pixels a mask meets the bodies of the foreground.

    Parameters
    ----------
    window : (h, w) bool array
        The mask in its box.
    box : list of int
        x0, y0, x1, y1 in px of the frame, half-open.
    foreground : Foreground

    Returns
    -------
    bodies : (B,) int array
        Numbers of those that it meets.
    pixels : (B,) float64 array
        Shared with each, px^2.
    """
    return _count_bodies(foreground.cover_of(window, box), foreground)


def _count_bodies(cover: Cover, foreground: Foreground) -> tuple[Index, NDArray[np.float64]]:
    pixels = np.bincount(foreground.bodies[cover.where].ravel(), cover.pixels.ravel())
    pixels[0] = 0
    met = np.flatnonzero(pixels)
    return met, pixels[met].astype(np.float64)
