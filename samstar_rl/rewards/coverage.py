"""Term `coverage`: the masks explain the foreground, all of it and nothing else."""

from __future__ import annotations

from samstar_rl.frames.frame import Frame
from samstar_rl.rewards.evidence import explained, foreground_for
from samstar_rl.rewards.target import Target
from samstar_rl.segmentation import Segmentation


class CoverageTarget(Target):
    """Agreement with the foreground estimated from the frame."""


def coverage(
    segmentation: Segmentation,
    frame: Frame,
    target: CoverageTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score the agreement of the masks' union with the estimated foreground.

    .. math:: 2 |U \cap F| / (|U| + |F|)

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    if len(segmentation) == 0:
        return 0.0
    foreground = foreground_for(frame, target.sample)
    found = explained(segmentation, foreground)
    return 2 * found.shared_px / max(found.union_px + foreground.area_px, 1)
