"""Term `nesting`: particles hold the bodies that they should hold, shells their cores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from samstar_rl.foreground.sample import Share
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class NestingTarget(Target):
    """Bodies inside bodies.

    Parameters
    ----------
    children : int
        Masks that each outermost mask should hold: 1 for a core in a shell, 0 where insides are
        not to be segmented apart.
    containment : float
        Share of a mask's area that must lie in another, larger one for it to be its child.
    """

    children: Annotated[int, Field(ge=0)] = 1
    containment: Share = 0.85


def nesting(
    segmentation: Segmentation,
    frame: Frame,
    target: NestingTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score the number of children of each outermost mask.

    .. math:: \frac1P \sum_p \frac{1}{1 + |c_p - c|}

    over the P masks that lie in no other, with :math:`c_p` the masks inside of p.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    if len(segmentation) == 0:
        return 0.0
    parents, counts = count_children(segmentation, target.containment)
    return float((1 / (1 + np.abs(counts[parents] - target.children))).mean())


def count_children(
    segmentation: Segmentation, containment: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which masks lie in no other, (K,), and how many lie in each, (K,).

    Of two masks of the same pixels the earlier, which SAM ranks higher, holds the other.
    """
    areas = np.maximum(np.asarray(segmentation.table.area, dtype=np.float64), 1)
    inside = segmentation.overlap_matrix / areas[:, None] >= containment
    rank = np.argsort(np.argsort(-areas, kind="stable"))
    inside &= rank[:, None] > rank[None, :]
    return ~np.asarray(inside.any(axis=1)), inside.sum(axis=0)
