"""Term `purity`: each mask lies on particles, not on what is between them.

For samples whose foreground is found more reliably than their outlines, such as ragged aggregates
and low-dose images on an even support.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import mean_over_expected
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class PurityTarget(Target):
    """Share of each mask on the foreground estimated from the frame."""


def purity(
    segmentation: Segmentation,
    frame: Frame,
    target: PurityTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score how much of each mask is foreground.

    .. math:: \frac{1}{N} \sum_k u_k \frac{|k \cap F|}{|k|}

    with the foreground F. `coverage` asks the same of all masks together and so lets large ones
    hide small ones; here masks count alike. :math:`u_k` and N count as
    `counting.mean_over_expected` says.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    evidence = FrameEvidence.of(frame, target.sample)
    (share,) = evidence.columns(segmentation.table, "purity")
    return mean_over_expected(share, segmentation, evidence)
