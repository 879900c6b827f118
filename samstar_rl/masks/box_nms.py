"""Non-maximum suppression of one frame's boxes, again and again with other thresholds.

The same result as `torchvision.ops.nms`, whose float32 arithmetic is repeated here. What makes it
fast is memory: for each box that was ever kept, the worse boxes it overlaps are looked up rather
than computed, so that a suppression costs as much as what it keeps, not as what it compares.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.intp]

Overlapped = tuple[NDArray[np.int32], "array[float]"]
"""Boxes by decreasing overlap with one that is better, and minus those overlaps (float32)."""

LEAST_IOU = 0.1
"""Overlaps up to this are not remembered; thresholds below it are computed each time."""

CACHE_BYTES = 1 << 22
"""A frame's remembered overlaps are dropped when they take more than this."""


class BoxSuppression:
    """Greedy suppression among boxes that are sorted from best to worst.

    Parameters
    ----------
    boxes : (M, 4) float32 array
        ``x0, y0, x1, y1`` in px, sorted by decreasing score.
    starts : sequence of int, optional
        Where each group of boxes begins, and the end of the last: boxes of one group do not meet
        those of another. By default they are one group.
    """

    def __init__(self, boxes: NDArray[np.float32], starts: Sequence[int] | None = None) -> None:
        self._x0, self._y0, self._x1, self._y1 = np.ascontiguousarray(boxes.T)
        self._areas = (self._x1 - self._x0) * (self._y1 - self._y0)
        starts = starts or [0, len(boxes)]
        self._group_end = np.repeat(starts[1:], np.diff(starts)).tolist()
        self._known: dict[int, Overlapped] = {}
        self._n_bytes = 0

    def keep(self, ranks: Ids, iou_thresh: float) -> Ids:
        """Select the boxes that overlap no better kept one by more than a threshold.

        Parameters
        ----------
        ranks : (K,) int array
            Which boxes take part, rising.
        iou_thresh : float
            Greatest intersection over union with a kept box.

        Returns
        -------
        (N,) int array
            The kept ones of ``ranks``, rising.
        """
        alive = np.zeros(len(self._areas), dtype=np.bool_)
        alive[ranks] = True
        standing = alive.data
        kept = []
        for rank in ranks.tolist():
            if standing[rank]:
                kept.append(rank)
                worse, falling = self._overlapped(rank, iou_thresh)
                alive[worse[: bisect_left(falling, -iou_thresh)]] = False
        return np.array(kept, dtype=np.intp)

    def _overlapped(self, rank: int, iou_thresh: float) -> Overlapped:
        if iou_thresh < LEAST_IOU:
            return self._computed(rank, iou_thresh)
        known = self._known.get(rank)
        if known is None:
            if self._n_bytes > CACHE_BYTES:
                self._known.clear()
                self._n_bytes = 0
            known = self._known[rank] = self._computed(rank, LEAST_IOU)
            self._n_bytes += 2 * known[0].nbytes
        return known

    def _computed(self, rank: int, least: float) -> Overlapped:
        behind = slice(rank + 1, self._group_end[rank])
        width = np.minimum(self._x1[behind], self._x1[rank]) - np.maximum(
            self._x0[behind], self._x0[rank]
        )
        height = np.minimum(self._y1[behind], self._y1[rank]) - np.maximum(
            self._y0[behind], self._y0[rank]
        )
        met = np.flatnonzero((width > 0) & (height > 0))
        shared = width[met] * height[met]
        worse = met + rank + 1
        # float32 and in this order, as torchvision does it, so that ties fall the same way
        overlap = shared / (self._areas[rank] + self._areas[worse] - shared)
        over = overlap.astype(np.float64) > least
        worse, rising = worse[over], -overlap[over]
        order = np.argsort(rising, kind="stable")
        return worse[order].astype(np.int32), array("f", rising[order].tobytes())
