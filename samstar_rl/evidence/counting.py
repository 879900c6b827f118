"""Counting particles: those that masks stand for, and those that should be there.

Means over masks reward leaving out the difficult particles. Terms about single particles therefore
take their mean over the particles that should be there: what a segmentation leaves out counts 0.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from samstar_rl.evidence.mask_evidence import count_bodies_in, explained, foreground_for
from samstar_rl.foreground.estimate import Foreground
from samstar_rl.foreground.sample import Sample
from samstar_rl.frames.frame import Frame
from samstar_rl.masks.store import MaskStore
from samstar_rl.segmentation.segmentation import Segmentation

#: Numbers of bodies and pixels that they share with a mask.
Shares = tuple[NDArray[np.intp], NDArray[np.float64]]

_EXPECTED: WeakKeyDictionary[Segmentation, WeakKeyDictionary[Foreground, float]] = (
    WeakKeyDictionary()
)
_UNIQUENESS: WeakKeyDictionary[Segmentation, NDArray[np.float64]] = WeakKeyDictionary()
_BODIES: WeakKeyDictionary[MaskStore, WeakKeyDictionary[Foreground, dict[int, Shares]]] = (
    WeakKeyDictionary()
)


def uniqueness(segmentation: Segmentation) -> NDArray[np.float64]:
    r"""How much of a particle each mask stands for, (K,) in (0, 1].

    :math:`u_k = 1 / \sum_j \mathrm{IoU}_{kj}`, the mask itself included: n copies of a mask count
    1 / n each, masks that meet nowhere count 1.
    """
    known = _UNIQUENESS.get(segmentation)
    if known is None:
        areas = np.maximum(segmentation.table.area, 1)
        first, second, shared = segmentation.overlapping
        ious = shared / (areas[first] + areas[second] - shared)
        known = 1 / (1 + np.bincount(first, ious, minlength=len(areas)))
        _UNIQUENESS[segmentation] = known
    return known


def expected_count(segmentation: Segmentation, frame: Frame, sample: Sample) -> float:
    """Particles that should be there: those that masks stand for, and the foreground without mask.

    The uncovered foreground counts as particles of the mean area that the foreground itself shows;
    where sizes are mixed, so that the mean tells nothing of a particle, by its bodies.
    """
    foreground = foreground_for(frame, sample)
    known = _EXPECTED.setdefault(segmentation, WeakKeyDictionary())
    if foreground not in known:
        if sample.sizes == "mixed":
            missed = uncovered_bodies(segmentation, foreground)
        else:
            uncovered = foreground.area_px - explained(segmentation, foreground).shared_px
            missed = max(0.0, uncovered) / foreground.particle_area_px
        known[foreground] = float(uniqueness(segmentation).sum()) + missed
    return known[foreground]


def uncovered_bodies(segmentation: Segmentation, foreground: Foreground) -> float:
    """How many of the foreground's bodies no mask covers, shares of them included."""
    areas = foreground.body_areas_px
    covered = np.zeros(len(areas))
    shares = _shares_of(segmentation, foreground)
    if shares:
        bodies, pixels = (np.concatenate(column) for column in zip(*shares, strict=True))
        covered = np.bincount(bodies, pixels, minlength=len(areas)) / areas
    return float((1 - np.minimum(covered[1:], 1)).sum())


def _shares_of(segmentation: Segmentation, foreground: Foreground) -> list[Shares]:
    """Of each mask which bodies it meets, and in how many pixels; remembered."""
    store = segmentation.masks
    known = _BODIES.setdefault(store, WeakKeyDictionary()).setdefault(foreground, {})
    ids = segmentation.mask_ids.tolist()
    for mask_id in ids:
        if mask_id not in known:
            box = store.boxes[mask_id].tolist()
            known[mask_id] = count_bodies_in(store.window(mask_id), box, foreground)
    return [known[mask_id] for mask_id in ids]


def mean_over_expected(
    values: NDArray[np.float64], segmentation: Segmentation, frame: Frame, sample: Sample
) -> float:
    r"""Mean of values of masks over the particles that should be there.

    .. math:: \frac{\sum_k u_k v_k}{\max(K, N)}

    with :math:`u` of `uniqueness` and N of `expected_count`: leaving a particle out counts as a
    value of 0 for it, and a second mask on a particle adds to K but nothing to the sum.

    Returns
    -------
    float
        In [0, 1] for values in [0, 1]; 0 without masks.
    """
    if len(segmentation) == 0:
        return 0.0
    count = max(float(len(segmentation)), expected_count(segmentation, frame, sample))
    return float(uniqueness(segmentation) @ values) / count
