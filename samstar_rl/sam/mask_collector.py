"""From low-resolution logits to packed masks: upsample, measure, threshold, pack.

Each mask is treated in the window where its logits are high, not in the full frame, and is packed
at once: at no time are there more full-size masks than a few.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samstar_rl.masks.store import MaskStore, Window, pack_window, tight_box
from samstar_rl.sam.upsampling import STOCK_CHANNELS, Logits, LogitUpsampler

if TYPE_CHECKING:
    from samstar_rl.segmentation.proposals import Floor

Corner = tuple[int, int]

# full-size masks upsampled together in the stock arithmetic
FULL_CHUNK = 4 * STOCK_CHANNELS


@dataclass(frozen=True)
class Crop:
    """A crop of the frame, x0, y0, x1, y1 half-open, and the points to decode in it.

    ``points_px`` (P, 2) are relative to the crop.
    """

    index: int
    box: tuple[int, int, int, int]
    points_px: NDArray[np.float64]


@dataclass(frozen=True)
class Decoded:
    """Low-resolution logits (N, h, w) of N masks, their points' indices and predicted IoU."""

    point: NDArray[np.intp]
    iou_pred: NDArray[np.float32]
    low: Tensor


@dataclass
class Collection:
    """The masks of one frame as they come in, a list entry each."""

    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    packed: list[bytes] = field(default_factory=list)
    iou_pred: list[np.float32] = field(default_factory=list)
    stability: list[NDArray[np.float32]] = field(default_factory=list)
    point_xy: list[NDArray[np.float64]] = field(default_factory=list)
    crop_index: list[int] = field(default_factory=list)
    point: list[int] = field(default_factory=list)

    def store(self, shape: tuple[int, int]) -> MaskStore:
        """The masks."""
        boxes = np.array(self.boxes, dtype=np.int32).reshape(-1, 4)
        return MaskStore(shape, boxes, np.array(self.areas, dtype=np.int64), self.packed)


class CropCollector:
    """Measure, pack and collect the masks of one crop.

    Parameters
    ----------
    collection : Collection
        Where the masks go.
    crop : Crop
    upsampler : LogitUpsampler
        Of the crop.
    threshold : float
        Cut-off of the logits, SAM's ``mask_threshold``.
    offsets : tuple of float
        Stability offsets.
    floor : Floor
        Masks of less stability are left out.
    stock : bool
        Upsample full frames in the stock arithmetic instead of windows.
    """

    def __init__(
        self,
        collection: Collection,
        crop: Crop,
        upsampler: LogitUpsampler,
        *,
        threshold: float,
        offsets: tuple[float, ...],
        floor: Floor,
        stock: bool,
    ) -> None:
        self._collection = collection
        self._crop = crop
        self._upsampler = upsampler
        self._threshold = threshold
        self._offsets = offsets
        self._floor = floor
        self._stock = stock

    def collect(self, decoded: Decoded) -> None:
        """Add those of the decoded masks that are above the floor."""
        windows = self._full_logits(decoded.low) if self._stock else self._windows(decoded.low)
        for index, (corner, logits) in enumerate(windows):
            stability = self._stability(logits)
            # NaN, an empty mask, is not above any floor but 0
            if self._floor.stability > 0 and not (stability >= self._floor.stability).any():
                continue
            self._add(corner, logits > np.float32(self._threshold))
            point = int(decoded.point[index])
            self._collection.stability.append(stability)
            self._collection.iou_pred.append(decoded.iou_pred[index])
            self._collection.point_xy.append(self._crop.points_px[point] + self._crop.box[:2])
            self._collection.point.append(point)

    def _windows(self, low: Tensor) -> Iterator[tuple[Corner, Logits]]:
        # the lowest cut-off that anything is compared with
        lowest = self._threshold - max(self._offsets, default=0.0)
        for logits in low.cpu().numpy():
            yield self._upsampler.window(logits, lowest)

    def _full_logits(self, low: Tensor) -> Iterator[tuple[Corner, Logits]]:
        for chunk in low.split(FULL_CHUNK) if len(low) else ():
            for logits in self._upsampler.full(chunk).cpu().numpy():
                yield (0, 0), logits

    def _stability(self, logits: Logits) -> NDArray[np.float32]:
        """IoU of the masks at the cut-offs threshold +- offset, one for each offset."""
        stability = np.full(len(self._offsets), np.nan, dtype=np.float32)
        for column, offset in enumerate(self._offsets):
            union = np.count_nonzero(logits > np.float32(self._threshold - offset))
            if union:
                shared = np.count_nonzero(logits > np.float32(self._threshold + offset))
                stability[column] = np.float32(shared) / np.float32(union)
        return stability

    def _add(self, corner: Corner, window: Window) -> None:
        x0, y0, x1, y1 = tight_box(window)
        inside = window[y0:y1, x0:x1]
        area = int(np.count_nonzero(inside))
        left, top = corner[0] + self._crop.box[0], corner[1] + self._crop.box[1]
        box = (left + x0, top + y0, left + x1, top + y1) if area else (0, 0, 0, 0)
        self._collection.boxes.append(box)
        self._collection.areas.append(area)
        self._collection.packed.append(pack_window(inside))
        self._collection.crop_index.append(self._crop.index)
