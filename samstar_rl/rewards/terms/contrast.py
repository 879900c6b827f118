"""Term `contrast`: the masks' outlines lie on steps of intensity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import mean_over_expected
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class ContrastTarget(Target):
    """Steps of intensity across the outlines, with the sign of the sample's contrast."""


def contrast(
    segmentation: Segmentation,
    frame: Frame,
    target: ContrastTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score how much of the outlines lies on steps of intensity of the right sign.

    .. math:: \frac{1}{N} \sum_k u_k \oint_k \mathrm{clip}
        \Big(\frac{p \, \partial I / \partial n}{g}, 0, 1\Big) \frac{ds}{P_k}

    with the derivative of the intensity along the inward normal of mask k's outline, the polarity
    :math:`p` (+1 bright, -1 dark) and the full slope :math:`g` of the frame
    (`Foreground.full_slope`): the mean edge along a contour of active-contour models (V. Caselles
    et al., Int. J. Comput. Vis. 22, 1997), with a sign. :math:`u_k` and N count as
    `counting.mean_over_expected` says: leaving out faint particles does not help.

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
    (rim_support,) = evidence.columns(segmentation.table, "rim_support")
    return mean_over_expected(rim_support, segmentation, evidence)
