"""`min_mask_region_area`: holes filled and islands removed, as the stock generator does it.

`segment_anything.utils.amg.remove_small_regions` labels connected components of the whole frame,
once for the background and once for the mask. Here the components are found in the mask's window;
what lies outside of it is accounted for by weights. Areas are remembered for each mask, so that a
mask without small parts costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from samstar_rl.masks.store import Ids, MaskStore, Window

Corner = tuple[int, int]


@dataclass(frozen=True)
class _Cleaned:
    """What a mask becomes for every threshold in (low, high]."""

    low: float
    high: float
    mask_id: int


@dataclass(frozen=True)
class _Parts:
    """Connected components (8-neighbours) of a padded window: label 0 is the rest."""

    labels: NDArray[np.int32]
    areas: NDArray[np.float64]


class RegionCleaner:
    """Clean the masks of a store, remembering their components and what came out.

    Cleaned masks are added to the store.

    Parameters
    ----------
    store : MaskStore
    """

    def __init__(self, store: MaskStore) -> None:
        self._store = store
        self._smallest = np.zeros(0)
        self._cleaned: dict[int, list[_Cleaned]] = {}

    def clean(self, ids: Ids, min_area: int) -> tuple[Ids, NDArray[np.bool_]]:
        """Return the ids of the cleaned masks and which of them counts as changed.

        Parameters
        ----------
        ids : (K,) int array
        min_area : int
            px^2; smaller holes are filled, smaller islands removed, but for the largest.
        """
        self._look_at(ids)
        changed = self._smallest[ids] < min_area
        cleaned = ids.copy()
        for position in np.flatnonzero(changed).tolist():
            cleaned[position] = self._look_up(int(ids[position]), min_area)
        return cleaned, changed

    def _look_at(self, ids: Ids) -> None:
        """Know the smallest component, of mask or background, of each of these masks."""
        if len(self._smallest) < len(self._store):
            more = len(self._store) - len(self._smallest)
            self._smallest = np.pad(self._smallest, (0, more), constant_values=np.nan)
        for mask_id in ids[np.isnan(self._smallest[ids])].tolist():
            padded, weights, _ = self._padded(mask_id)
            parts = [_parts_of(pixels, weights).areas for pixels in (padded, ~padded)]
            self._smallest[mask_id] = np.concatenate(parts).min()

    def _look_up(self, mask_id: int, min_area: int) -> int:
        known = self._cleaned.setdefault(mask_id, [])
        for cleaned in known:
            if cleaned.low < min_area <= cleaned.high:
                return cleaned.mask_id
        known.append(self._clean_one(mask_id, min_area))
        return known[-1].mask_id

    def _clean_one(self, mask_id: int, min_area: int) -> _Cleaned:
        padded, weights, corner = self._padded(mask_id)
        holes = _parts_of(~padded, weights)
        filled = _fill_holes(holes, min_area)
        islands = _parts_of(filled, weights)
        kept = _remove_islands(islands, min_area)
        areas = np.concatenate([holes.areas, islands.areas])
        return _Cleaned(
            low=areas[areas < min_area].max(initial=-np.inf),
            high=areas[areas >= min_area].min(initial=np.inf),
            mask_id=self._added(mask_id, corner, padded, kept),
        )

    def _added(self, mask_id: int, corner: Corner, before: Window, after: Window) -> int:
        """The id of the cleaned mask; the old one where no pixel differs."""
        if np.array_equal(before, after):
            return mask_id
        if self._store.areas[mask_id] == 0 or self._fills_the_outside(corner, after):
            corner, after = self._in_whole_frame(corner, after)
        return int(self._store.add([(corner, after)])[0])

    def _padded(self, mask_id: int) -> tuple[Window, NDArray[np.float64], Corner]:
        """A mask's window with a rim of background where the frame goes on.

        Returns the window, the pixels of the frame that each of its pixels stands for (those
        outside belong to the nearest one inside, with which they are connected), and its corner.
        """
        window = self._store.window(mask_id)
        x0, y0, x1, y1 = self._store.boxes[mask_id].tolist()
        height, width = self._store.shape
        # cv2 labels blocks of 2 x 2 pixels in their order: even corners give the whole frame's
        left, top = max(0, (x0 - 1) // 2 * 2), max(0, (y0 - 1) // 2 * 2)
        right, bottom = min(width, x1 + 1), min(height, y1 + 1)
        padded = np.zeros((bottom - top, right - left), dtype=bool)
        padded[y0 - top : y1 - top, x0 - left : x1 - left] = window
        rows, columns = np.ones(bottom - top), np.ones(right - left)
        rows[0] += top
        rows[-1] += height - bottom
        columns[0] += left
        columns[-1] += width - right
        return padded, np.outer(rows, columns), (left, top)

    def _fills_the_outside(self, corner: Corner, window: Window) -> bool:
        """Say whether a pixel that stands for others outside of the window was filled."""
        left, top = corner
        height, width = self._store.shape
        return bool(
            (left > 0 and window[:, 0].any())
            or (top > 0 and window[0].any())
            or (left + window.shape[1] < width and window[:, -1].any())
            or (top + window.shape[0] < height and window[-1].any())
        )

    def _in_whole_frame(self, corner: Corner, window: Window) -> tuple[Corner, Window]:
        """The window continued beyond its rim by its outermost pixels."""
        left, top = corner
        height, width = self._store.shape
        rows = np.clip(np.arange(height) - top, 0, window.shape[0] - 1)
        columns = np.clip(np.arange(width) - left, 0, window.shape[1] - 1)
        return (0, 0), window[np.ix_(rows, columns)]


def _parts_of(pixels: Window, weights: NDArray[np.float64]) -> _Parts:
    n_labels, labels = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=8)
    areas = np.bincount(labels.ravel(), weights=weights.ravel(), minlength=n_labels)
    return _Parts(np.asarray(labels, dtype=np.int32), areas[1:].astype(np.float64))


def _fill_holes(holes: _Parts, min_area: int) -> Window:
    filled = np.concatenate([[True], holes.areas < min_area])
    return np.asarray(filled[holes.labels])


def _remove_islands(islands: _Parts, min_area: int) -> Window:
    kept = np.concatenate([[False], islands.areas >= min_area])
    if len(islands.areas) and not kept.any():
        # every island is below the threshold: the largest stays
        kept[1 + int(islands.areas.argmax())] = True
    return np.asarray(kept[islands.labels])
