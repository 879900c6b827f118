"""Term `overlap`: each particle has one mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.foreground.sample import Share
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class OverlapTarget(Target):
    """Overlap of masks.

    Parameters
    ----------
    allowed_overlap : float
        Share of the smaller of two masks that may lie under the other unpunished: particles that
        lie on one another in projection.
    """

    allowed_overlap: Share = 0.1


def overlap(
    segmentation: Segmentation,
    frame: Frame,
    target: OverlapTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score how little masks lie on one another.

    .. math:: \Big(1 - \frac1K \sum_k \max_j o_{kj}\Big)^2, \quad
        o_{kj} = \max\Big(0, \frac{|k \cap j| / \min(|k|, |j|) - a}{1 - a}\Big)

    with :math:`a` the allowed overlap. Masks count alike whatever their size.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 1 without particles, which overlap nothing.
    """
    first, second, shared = segmentation.overlapping
    if len(first) == 0:
        return 1.0
    areas = segmentation.table.area
    shares = shared / np.minimum(areas[first], areas[second])
    begins = np.ones(len(first), dtype=np.bool_)
    begins[1:] = first[1:] != first[:-1]
    largest = np.maximum.reduceat(shares, begins.nonzero()[0])
    allowed = min(target.allowed_overlap, 0.999)
    excess = np.minimum(np.maximum((largest - allowed) / (1 - allowed), 0), 1)
    return float((1 - excess.sum() / len(areas)) ** 2)
