"""Agreement of a segmentation with ground truth: for judging, never for rewarding.

Masks may overlap one another, so nothing here paints them into one label image: each mask is
compared with the truth in its own box. A mask and a particle match when their IoU reaches the
threshold, each at most once, in the assignment with the most matches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from samstar_rl.errors import SamstarError
from samstar_rl.segmentation.segmentation import Segmentation

if TYPE_CHECKING:
    from samstar_rl.masks.store import MaskStore

Labels = NDArray[np.integer]
Masks = Segmentation | NDArray[np.bool_]

AP_THRESHOLDS = tuple(np.arange(50, 100, 5) / 100)


@dataclass(frozen=True)
class Agreement:
    """All measures of one segmentation.

    Parameters
    ----------
    f1 : float
        F1 at IoU 0.5.
    mean_ap : float
        Mean of TP / (TP + FP + FN) over IoU 0.5, 0.55, ..., 0.95.
    panoptic_quality : float
    count_error : float
        (masks - particles) / particles, signed.
    mean_diameter_error : float
        Relative error of the mean equivalent diameter, signed; NaN without masks or particles.
    """

    f1: float
    mean_ap: float
    panoptic_quality: float
    count_error: float
    mean_diameter_error: float


class Truth:
    """Ground truth of one frame, prepared for many comparisons.

    The overlaps of a proposal with the truth are computed once, however many settings keep it.

    Parameters
    ----------
    labels : (H, W) integer array
        0 is background; labels need not be consecutive.

    Raises
    ------
    SamstarError
        If the labels are not a two-dimensional array of integers.
    """

    def __init__(self, labels: Labels) -> None:
        labels = np.asarray(labels)
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            raise SamstarError(
                f"truth must be a (height, width) array of integer labels, got "
                f"{labels.dtype} of shape {labels.shape}"
            )
        ids, flat = np.unique(labels, return_inverse=True)
        flat = flat.reshape(labels.shape)
        # 0 stays background and particles become 1..n, whether or not background is there.
        self._labels: NDArray[np.int32] = (flat if ids[0] == 0 else flat + 1).astype(np.int32)
        self.areas: NDArray[np.int64] = np.bincount(self._labels.ravel())[1:]
        self._known: WeakKeyDictionary[MaskStore, dict[int, _Overlap]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self._labels.shape[0], self._labels.shape[1]

    def ious(self, masks: Masks) -> coo_array:
        """IoU of each mask with each particle, a sparse (K, particles) array."""
        overlaps = list(self._overlaps(masks))
        rows = np.repeat(np.arange(len(overlaps)), [len(overlap.ids) for overlap in overlaps])
        if len(rows) == 0:
            return coo_array((len(overlaps), len(self)), dtype=np.float64)
        columns = np.concatenate([overlap.ids for overlap in overlaps])
        values = np.concatenate([overlap.ious for overlap in overlaps])
        return coo_array((values, (rows, columns)), shape=(len(overlaps), len(self)))

    def _overlaps(self, masks: Masks) -> Iterator[_Overlap]:
        if isinstance(masks, Segmentation):
            self._check(masks.shape)
            store = masks.masks
            known = self._known.setdefault(store, {})
            for mask_id in masks.mask_ids.tolist():
                if mask_id not in known:
                    x0, y0, _, _ = store.boxes[mask_id].tolist()
                    known[mask_id] = self._overlap(store.window(mask_id), x0, y0)
                yield known[mask_id]
        else:
            for mask in masks:
                self._check(mask.shape)
                yield self._overlap(np.asarray(mask, bool), 0, 0)

    def _overlap(self, inside: NDArray[np.bool_], x0: int, y0: int) -> _Overlap:
        height, width = inside.shape
        under = self._labels[y0 : y0 + height, x0 : x0 + width][inside]
        counts = np.bincount(under, minlength=1)
        ids = np.flatnonzero(counts[1:])
        shared = counts[1:][ids]
        return _Overlap(ids, shared / (len(under) + self.areas[ids] - shared))

    def _check(self, shape: Sequence[int]) -> None:
        if tuple(shape) != self.shape:
            raise SamstarError(f"masks of shape {tuple(shape)} do not fit the truth's {self.shape}")


@dataclass(frozen=True)
class _Overlap:
    """Particles (0-based) that one mask touches, and its IoU with each."""

    ids: NDArray[np.intp]
    ious: NDArray[np.float64]


def agreement(masks: Masks, truth: Truth | Labels) -> Agreement:
    """Compute all measures at once."""
    truth = _prepared(truth)
    return Agreement(
        f1=f1_at(masks, truth),
        mean_ap=mean_ap(masks, truth),
        panoptic_quality=panoptic_quality(masks, truth),
        count_error=count_error(masks, truth),
        mean_diameter_error=mean_diameter_error(masks, truth),
    )


def f1_at(masks: Masks, truth: Truth | Labels, iou: float = 0.5) -> float:
    """F1 = 2 TP / (masks + particles) at an IoU threshold; 1 if both are none.

    Parameters
    ----------
    masks : Segmentation or (K, H, W) bool array
    truth : Truth or (H, W) integer array
        Give a `Truth` when many segmentations of the same frame are judged.
    iou : float
        A mask finds a particle if their IoU is at least this; above 0.

    Returns
    -------
    float
        In [0, 1].
    """
    truth = _prepared(truth)
    ious = truth.ious(masks)
    total = ious.shape[0] + ious.shape[1]
    return 2 * _matches(ious, iou) / total if total else 1.0


def mean_ap(masks: Masks, truth: Truth | Labels) -> float:
    """Mean of TP / (TP + FP + FN) over IoU 0.5, 0.55, ..., 0.95; 1 if both are none.

    This is the average precision of the Data Science Bowl 2018, StarDist and Cellpose (Stringer et
    al., Nat. Methods 18, 2021), which needs no ranking of the masks, not COCO's.
    """
    truth = _prepared(truth)
    ious = truth.ious(masks)
    total = ious.shape[0] + ious.shape[1]
    if not total:
        return 1.0
    found = [_matches(ious, threshold) for threshold in AP_THRESHOLDS]
    return float(np.mean([matches / (total - matches) for matches in found]))


def panoptic_quality(masks: Masks, truth: Truth | Labels) -> float:
    """Sum of matched IoU over TP + FP / 2 + FN / 2; 1 if both are none.

    A. Kirillov et al., "Panoptic segmentation", CVPR 2019; a match needs IoU > 0.5 there. Among
    overlapping masks of one particle the best counts, the others are false.
    """
    truth = _prepared(truth)
    ious = truth.ious(masks)
    total = ious.shape[0] + ious.shape[1]
    if not total:
        return 1.0
    kept = np.where(ious.data > 0.5, ious.data, 0.0)
    dense = coo_array((kept, ious.coords), shape=ious.shape).toarray()
    rows, columns = linear_sum_assignment(dense, maximize=True)
    return float(2 * dense[rows, columns].sum() / total)


def count_error(masks: Masks, truth: Truth | Labels) -> float:
    """(masks - particles) / particles, signed; with no particle, the number of masks."""
    n_true = len(_prepared(truth))
    return (len(masks) - n_true) / max(n_true, 1)


def mean_diameter_error(masks: Masks, truth: Truth | Labels) -> float:
    """Relative error of the mean equivalent diameter, signed; NaN if either side has none."""
    truth = _prepared(truth)
    areas = np.asarray(
        masks.table.area
        if isinstance(masks, Segmentation)
        else [np.count_nonzero(mask) for mask in masks]
    )
    if len(areas) == 0 or len(truth) == 0:
        return float("nan")
    # The factor sqrt(4 / pi) from area to equivalent diameter cancels.
    return float(np.sqrt(areas).mean() / np.sqrt(truth.areas).mean() - 1)


def _prepared(truth: Truth | Labels) -> Truth:
    return truth if isinstance(truth, Truth) else Truth(truth)


def _matches(ious: coo_array, threshold: float) -> int:
    """Size of the largest one-to-one matching among pairs that reach the threshold."""
    if not 0 < threshold <= 1:
        raise SamstarError(f"the IoU threshold must be in (0, 1], got {threshold}")
    close = ious.data >= threshold
    if not close.any():
        return 0
    rows, columns = (axis[close] for axis in ious.coords)
    if len(np.unique(rows)) == len(rows) and len(np.unique(columns)) == len(columns):
        return len(rows)
    pairs = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=ious.shape)
    return int((maximum_bipartite_matching(pairs.tocsr(), perm_type="column") >= 0).sum())
