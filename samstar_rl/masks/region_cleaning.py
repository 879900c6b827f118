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


@dataclass(frozen=True)
class _Cleaned:
    """What a mask becomes for every threshold in (low, high]."""

    low: float
    high: float
    mask_id: int


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
        # the smallest component, of mask or background, of each of these masks
        if len(self._smallest) < len(self._store):
            more = len(self._store) - len(self._smallest)
            self._smallest = np.pad(self._smallest, (0, more), constant_values=np.nan)
        for mask_id in ids[np.isnan(self._smallest[ids])].tolist():
            padded, weights, _ = self._padded(mask_id)
            areas = [_parts_of(pixels, weights)[1] for pixels in (padded, ~padded)]
            self._smallest[mask_id] = np.concatenate(areas).min()
        changed = self._smallest[ids] < min_area
        cleaned = ids.copy()
        for position in np.flatnonzero(changed).tolist():
            mask_id = int(ids[position])
            known = self._cleaned.setdefault(mask_id, [])
            fitting = (one for one in known if one.low < min_area <= one.high)
            if (found := next(fitting, None)) is None:
                known.append(found := self._clean_one(mask_id, min_area))
            cleaned[position] = found.mask_id
        return cleaned, changed

    def _clean_one(self, mask_id: int, min_area: int) -> _Cleaned:
        padded, weights, (left, top) = self._padded(mask_id)
        holes, hole_areas = _parts_of(~padded, weights)
        filled = np.concatenate([[True], hole_areas < min_area])[holes]
        islands, island_areas = _parts_of(filled, weights)
        stays = np.concatenate([[False], island_areas >= min_area])
        if len(island_areas) and not stays.any():
            # every island is below the threshold: the largest stays
            stays[1 + int(island_areas.argmax())] = True
        kept = stays[islands]
        areas = np.concatenate([hole_areas, island_areas])
        low = areas[areas < min_area].max(initial=-np.inf)
        high = areas[areas >= min_area].min(initial=np.inf)
        if np.array_equal(padded, kept):
            return _Cleaned(low, high, mask_id)
        # where a pixel was filled that stands for others outside of the window, these are, too
        frame_height, frame_width = self._store.shape
        height, width = kept.shape
        if self._store.areas[mask_id] == 0 or (
            (left > 0 and kept[:, 0].any())
            or (top > 0 and kept[0].any())
            or (left + width < frame_width and kept[:, -1].any())
            or (top + height < frame_height and kept[-1].any())
        ):
            rows = np.clip(np.arange(frame_height) - top, 0, height - 1)
            columns = np.clip(np.arange(frame_width) - left, 0, width - 1)
            left, top, kept = 0, 0, kept[np.ix_(rows, columns)]
        return _Cleaned(low, high, int(self._store.add([((left, top), kept)])[0]))

    def _padded(self, mask_id: int) -> tuple[Window, NDArray[np.float64], tuple[int, int]]:
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


def _parts_of(
    pixels: Window, weights: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Label connected components (8-neighbours) of a window, and measure those but the rest, 0."""
    n_labels, labels = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=8)
    areas = np.bincount(labels.ravel(), weights=weights.ravel(), minlength=n_labels)
    return np.asarray(labels, dtype=np.int32), areas[1:].astype(np.float64)
