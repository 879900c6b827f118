"""Counting particles: those that masks stand for, and those that should be there.

Means over masks reward leaving out the difficult particles. Terms about single particles therefore
take their mean over the particles that should be there: what a segmentation leaves out counts 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.masks.pixel_runs import merged

if TYPE_CHECKING:
    from samstar_rl.evidence.frame_evidence import FrameEvidence
    from samstar_rl.segmentation.segmentation import Segmentation


def covered_foreground(segmentation: Segmentation, evidence: FrameEvidence) -> tuple[int, int]:
    """Pixels of the masks' union, and how many of them are foreground."""
    known = evidence.counted.setdefault(segmentation, {})
    if "union" not in known:
        # masks that meet no other are counted by themselves, and only once
        alone = np.ones(len(segmentation), dtype=np.bool_)
        alone[segmentation.overlapping[0]] = False
        lone = segmentation.mask_ids[alone]
        known["union"] = int(segmentation.masks.areas[lone].sum())
        known["shared"] = evidence.on_foreground(segmentation.masks, lone)
        if len(lone) < len(alone):
            starts, stops = merged(segmentation.masks.runs(segmentation.mask_ids[~alone]))
            known["union"] += int((stops - starts).sum())
            known["shared"] += evidence.foreground.pixel_count.within(starts, stops)
    return int(known["union"]), int(known["shared"])


def expected_count(segmentation: Segmentation, evidence: FrameEvidence) -> float:
    """Particles that should be there: those that masks stand for, and the foreground without mask.

    The uncovered foreground counts as particles of the mean area that the foreground itself shows;
    where sizes are mixed, so that the mean tells nothing of a particle, by its bodies.

    Parameters
    ----------
    segmentation : Segmentation
    evidence : FrameEvidence
        Of the segmented frame.

    Returns
    -------
    float
    """
    known = evidence.counted.setdefault(segmentation, {})
    if "expected" not in known:
        if evidence.sample.sizes == "mixed":
            # of each body the share that no mask covers
            areas = evidence.foreground.body_areas_px
            covered = np.zeros(len(areas))
            shares = evidence.body_shares(segmentation.table)
            bodies = np.array([body for met, _ in shares for body in met], dtype=np.intp)
            if len(bodies):
                pixels = [count for _, counts in shares for count in counts]
                covered = np.bincount(bodies, pixels, minlength=len(areas)) / areas
            missed = float((1 - np.minimum(covered[1:], 1)).sum())
        else:
            foreground = evidence.foreground
            uncovered = foreground.area_px - covered_foreground(segmentation, evidence)[1]
            missed = max(0.0, uncovered) / foreground.particle_area_px
        known["expected"] = float(segmentation.uniqueness.sum()) + missed
    return known["expected"]


def unfound_bodies(
    likeness: NDArray[np.float64], segmentation: Segmentation, evidence: FrameEvidence
) -> float:
    r"""How many of the foreground's bodies the masks are expected to leave unfound.

    .. math:: \sum_b \Big(1 - \max_k p_k \frac{|m_k \cap b|}{|b|}\Big)

    A body that no mask meets counts 1, one that a certain particle covers 0; so does one of many
    bodies in a single large particle, and it does not matter that they are many.

    Parameters
    ----------
    likeness : (K,) array
        Probability of each mask to match a particle.
    segmentation : Segmentation
    evidence : FrameEvidence
        Of the segmented frame.

    Returns
    -------
    float
    """
    areas = evidence.foreground.body_areas_px
    found: dict[int, float] = {}
    shares = evidence.body_shares(segmentation.table)
    for (bodies, pixels), probability in zip(shares, likeness.tolist(), strict=True):
        for body, count in zip(bodies, pixels, strict=True):
            share = probability * count / areas.item(body)
            if share > found.get(body, 0.0):
                found[body] = share
    unfound = np.ones(len(areas))
    unfound[list(found)] = [1 - min(share, 1.0) for share in found.values()]
    return float(unfound[1:].sum())


def mean_over_expected(
    values: NDArray[np.float64], segmentation: Segmentation, evidence: FrameEvidence
) -> float:
    r"""Mean of values of masks over the particles that should be there.

    .. math:: \frac{\sum_k u_k v_k}{\max(K, N)}

    with :math:`u` of `Segmentation.uniqueness` and N of `expected_count`: leaving a particle out
    counts as a value of 0 for it, and a second mask on a particle adds to K but nothing to the sum.

    Parameters
    ----------
    values : (K,) array
        Of the masks.
    segmentation : Segmentation
    evidence : FrameEvidence
        Of the segmented frame.

    Returns
    -------
    float
        In [0, 1] for values in [0, 1]; 0 without masks.
    """
    if len(segmentation) == 0:
        return 0.0
    count = max(float(len(segmentation)), expected_count(segmentation, evidence))
    return float(segmentation.uniqueness @ values) / count
