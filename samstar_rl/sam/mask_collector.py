"""From low-resolution logits to masks at full size: upsample, measure, threshold.

All masks of a batch are treated together, block by block, and stay in blocks until somebody asks
for their pixels: at no time are there more full-size masks than a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.masks.store import Held, MaskStore, pack_window, tight_box
from samstar_rl.sam.upsampling import STOCK_CHANNELS, LogitUpsampler

if TYPE_CHECKING:
    from samstar_rl.segmentation.proposals import Floor

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
    low: NDArray[np.float32]


@dataclass
class Collection:
    """The masks of one frame as they come in, a list entry each."""

    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    iou_pred: list[np.float32] = field(default_factory=list)
    stability: list[NDArray[np.float32]] = field(default_factory=list)
    point_xy: list[NDArray[np.float64]] = field(default_factory=list)
    crop_index: list[int] = field(default_factory=list)
    point: list[int] = field(default_factory=list)

    def store(self, shape: tuple[int, int]) -> MaskStore:
        """The masks."""
        boxes = np.array(self.boxes, dtype=np.int32).reshape(-1, 4)
        return MaskStore(shape, boxes, np.array(self.areas, dtype=np.int64), self.held)


class CropCollector:
    """Measure and collect the masks of one crop.

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
        Upsample full frames in the stock arithmetic instead of blocks.
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
        # The cut-offs that stability compares, low and high of each offset.
        cuts = [self._threshold + sign * offset for offset in self._offsets for sign in (-1, 1)]
        if not self._stock:
            self._collect_blocks(decoded, cuts)
            return
        for start in range(0, len(decoded.low), FULL_CHUNK):
            part = slice(start, start + FULL_CHUNK)
            chunk = Decoded(decoded.point[part], decoded.iou_pred[part], decoded.low[part])
            self._collect_full(chunk, cuts)

    def _collect_blocks(self, decoded: Decoded, cuts: list[float]) -> None:
        masks, counts = self._upsampler.masks(decoded.low, self._threshold, cuts)
        kept, stability = self._above_floor(counts)
        held = [partial(masks.window, k) for k in kept.tolist()]
        self._add(decoded, kept, stability, masks.boxes[kept], masks.areas[kept], held)

    def _collect_full(self, decoded: Decoded, cuts: list[float]) -> None:
        full = self._upsampler.full(decoded.low)
        counts = [[np.count_nonzero(one > np.float32(cut)) for cut in cuts] for one in full]
        kept, stability = self._above_floor(np.array(counts).reshape(len(full), len(cuts)))
        masks = [one > np.float32(self._threshold) for one in full[kept]]
        boxes = np.array([tight_box(mask) for mask in masks], dtype=np.int32).reshape(-1, 4)
        windows = [
            mask[y0:y1, x0:x1] for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist(), strict=True)
        ]
        areas = np.array([np.count_nonzero(window) for window in windows], dtype=np.int64)
        self._add(decoded, kept, stability, boxes, areas, [pack_window(w) for w in windows])

    def _above_floor(
        self, counts: NDArray[np.integer]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Which masks are stable enough, and the stability of these, a column an offset.

        Stability is the IoU of the masks at the cut-offs threshold +- offset.
        """
        union, shared = counts[:, 0::2].astype(np.float32), counts[:, 1::2].astype(np.float32)
        stability = np.full(union.shape, np.nan, dtype=np.float32)
        np.divide(shared, union, out=stability, where=union > 0)
        if self._floor.stability <= 0:
            return np.arange(len(counts)), stability
        # NaN, an empty mask, is not above any floor but 0
        chosen = np.flatnonzero((stability >= self._floor.stability).any(axis=1))
        return chosen, stability[chosen]

    def _add(
        self,
        decoded: Decoded,
        kept: NDArray[np.intp],
        stability: NDArray[np.float32],
        boxes: NDArray[np.int32],
        areas: NDArray[np.int64],
        held: Sequence[Held],
    ) -> None:
        """Add the kept ones of the decoded masks, boxes being relative to the crop."""
        corner, collection = self._crop.box[:2], self._collection
        collection.boxes += np.where(areas[:, None] > 0, boxes + np.tile(corner, 2), 0).tolist()
        collection.areas += areas.tolist()
        collection.held += held
        collection.stability += list(stability)
        collection.iou_pred += list(decoded.iou_pred[kept])
        points = decoded.point[kept]
        collection.point_xy += list(self._crop.points_px[points] + corner)
        collection.point += points.tolist()
        collection.crop_index += [self._crop.index] * len(kept)
