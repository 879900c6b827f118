"""How masks lie on the image and its foreground: what the particle table does not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl._io.opencv import avoid_ipp

if TYPE_CHECKING:
    from samstar_rl.foreground.estimate import Foreground
    from samstar_rl.masks.particle_table import Scene
    from samstar_rl.masks.store import Ids, MaskStore, Window

Index = NDArray[np.intp]

_MARGIN_PX = 5
#: Outline pixels that are described together.
_OUTLINE_PX = 16_384
#: Intensities and their steps are summed in whole numbers of this fineness.
_STEPS = 4095


#: How single masks lie on the image and its foreground; see `FrameEvidence.columns`.
EVIDENCE = ("purity", "inside_std", "rim_support")

_INSIDE = slice(0, 2)
_RIM_SUPPORT = EVIDENCE.index("rim_support")


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
        row[_INSIDE] = on_foreground / area, inside_std
        return _Outline.of(k, window, box, self._foreground.mask.shape)

    def _describe_outlines(self, rows: NDArray[np.float64], outlines: list[_Outline]) -> None:
        """`rim_support` of the outlines off the frame's border.

        A step is the image's derivative along the mask's inward normal.
        """
        foreground = self._foreground
        counts = np.array([len(outline.ys) for outline in outlines])
        owner = np.repeat(np.arange(len(outlines)), counts)
        ys, xs = (np.concatenate([getattr(o, name) for o in outlines]) for name in ("ys", "xs"))
        normal_x, normal_y = np.concatenate([outline.normals for outline in outlines], axis=1)
        slope_x, slope_y = (slope[ys, xs].astype(np.float32) for slope in self._slopes)
        step = normal_x * slope_x + normal_y * slope_y
        steps = np.clip(foreground.polarity * step / foreground.full_slope, 0, 1)
        whole = np.rint(steps * _STEPS)
        to = [outline.position for outline in outlines]
        rows[to, _RIM_SUPPORT] = np.bincount(owner, whole) / counts / _STEPS


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
    """

    position: int
    ys: Index
    xs: Index
    normals: NDArray[np.float32]

    @classmethod
    def of(cls, position: int, window: Window, box: list[int], shape: tuple[int, ...]) -> _Outline:
        """Follow a mask, its window in a frame of some shape."""
        x0, y0, x1, y1 = box
        left, top = max(0, x0 - _MARGIN_PX), max(0, y0 - _MARGIN_PX)
        right, bottom = min(shape[1], x1 + _MARGIN_PX), min(shape[0], y1 + _MARGIN_PX)
        mask = np.zeros((bottom - top, right - left), dtype=np.float32)
        mask[y0 - top : y1 - top, x0 - left : x1 - left] = window
        # Beyond the frame the mask goes on: its border is no outline.
        soft = cv2.GaussianBlur(mask, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
        across_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
        across_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
        steepness = cv2.magnitude(across_x, across_y)
        flat = np.flatnonzero(steepness > 0.5)
        ys, xs = np.divmod(flat, mask.shape[1])
        across = np.stack([across_x.ravel()[flat], across_y.ravel()[flat]])
        return cls(position, ys + top, xs + left, across / steepness.ravel()[flat])


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
    cover = foreground.cover_of(window, box)
    pixels = np.bincount(foreground.bodies[cover.where].ravel(), cover.pixels.ravel(), 1)
    pixels[0] = 0
    met = np.flatnonzero(pixels)
    return met, pixels[met].astype(np.float64)
