"""Term `overlap`: each particle has one mask."""

from __future__ import annotations

import numpy as np

from samstar_rl.frames.frame import Frame
from samstar_rl.rewards.target import Share, Target
from samstar_rl.segmentation import Segmentation


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

    Returns
    -------
    float
        In [0, 1]; 1 without particles, which overlap nothing.
    """
    areas = np.maximum(segmentation.table.area.astype(np.float64), 1)
    if len(areas) < 2:
        return 1.0
    shared = segmentation.overlap_matrix() / np.minimum.outer(areas, areas)
    np.fill_diagonal(shared, 0)
    allowed = min(target.allowed_overlap, 0.999)
    excess = np.clip((shared.max(axis=1) - allowed) / (1 - allowed), 0, 1)
    return float((1 - excess.mean()) ** 2)
