"""Counting particles: those that masks stand for, and those that should be there.

Means over masks reward leaving out the difficult particles. Terms about single particles therefore
take their mean over the particles that should be there: what a segmentation leaves out counts 0.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from samstar_rl.foreground import Foreground
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards.evidence import explained, foreground_for
from samstar_rl.rewards.target import Sample
from samstar_rl.segmentation import Segmentation

_EXPECTED: WeakKeyDictionary[Segmentation, WeakKeyDictionary[Foreground, float]] = (
    WeakKeyDictionary()
)
_UNIQUENESS: WeakKeyDictionary[Segmentation, NDArray[np.float64]] = WeakKeyDictionary()


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

    The uncovered foreground counts as particles of the mean area that the foreground itself shows.
    """
    foreground = foreground_for(frame, sample)
    known = _EXPECTED.setdefault(segmentation, WeakKeyDictionary())
    if foreground not in known:
        uncovered = max(0.0, foreground.area_px - explained(segmentation, foreground).shared_px)
        missed = uncovered / foreground.particle_area_px
        known[foreground] = float(uniqueness(segmentation).sum()) + missed
    return known[foreground]


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
