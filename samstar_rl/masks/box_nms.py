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

Overlapped = tuple[Ids, "array[float]"]
"""Boxes by decreasing overlap with one that is better, and minus those overlaps (float32)."""

LEAST_IOU = 0.1
"""Overlaps up to this are not remembered; thresholds below it are computed each time."""

CACHE_BYTES = 1 << 22
"""A frame's remembered overlaps are dropped when they take more than this."""

DENSE_BOXES = 256
"""Up to so many boxes all pairs are compared, which is quicker than sorting."""
_BEHIND = np.triu(np.ones((DENSE_BOXES, DENSE_BOXES), dtype=np.bool_), 1)


def meeting(boxes: NDArray[np.number]) -> tuple[Ids, Ids]:
    """Find each two of K boxes that meet.

    Parameters
    ----------
    boxes : (K, 4) array
        ``x0, y0, x1, y1``; boxes that only touch do not meet.

    Returns
    -------
    one, other : (P,) int arrays
        Positions of the boxes, ``one < other``, by rising ``one``.
    """
    x0, y0, x1, y1 = np.ascontiguousarray(boxes.T)
    n_boxes = len(x0)
    if n_boxes <= DENSE_BOXES:
        meets, high = x0[:, None] < x1, y0[:, None] < y1
        meets &= meets.T
        meets &= high
        meets &= high.T
        meets &= _BEHIND[:n_boxes, :n_boxes]
        return np.divmod(meets.ravel().nonzero()[0], max(n_boxes, 1))
    # by their left edges: a box meets none that begins behind its right edge
    order = np.argsort(x0, kind="stable")
    ends = np.searchsorted(x0[order], x1[order], side="left")
    counts = np.maximum(ends - np.arange(n_boxes) - 1, 0)
    left = np.repeat(np.arange(n_boxes), counts)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    one, other = order[left], order[right]
    meets = (x0[one] < x1[other]) & (y0[one] < y1[other]) & (y0[other] < y1[one])
    one, other = np.minimum(one, other)[meets], np.maximum(one, other)[meets]
    rising = np.argsort(one, kind="stable")
    return one[rising], other[rising]


def standing(n_boxes: int, better: Ids, worse: Ids) -> NDArray[np.bool_]:
    """Say which boxes stand: each that does drops all worse ones it is at odds with.

    Parameters
    ----------
    n_boxes : int
    better, worse : (C,) int arrays
        Boxes at odds, ``better < worse``, by rising ``better``.

    Returns
    -------
    (n_boxes,) bool array
    """
    stands = [True] * n_boxes
    for one, other in zip(better.tolist(), worse.tolist(), strict=True):
        if stands[one]:
            stands[other] = False
    return np.array(stands, dtype=np.bool_)


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
        stands = alive.data
        known = self._known if iou_thresh >= LEAST_IOU else {}
        kept = []
        for rank in ranks.tolist():
            if stands[rank]:
                kept.append(rank)
                worse, falling = known.get(rank) or self._overlapped(rank, iou_thresh)
                n_over = bisect_left(falling, -iou_thresh)
                if n_over:
                    alive[worse[:n_over]] = False
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
            self._n_bytes += known[0].nbytes + len(known[1]) * known[1].itemsize
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
        return worse[order], array("f", rising[order].tobytes())
