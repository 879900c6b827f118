"""Term `confidence`: SAM is sure of the masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import mean_over_expected
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class ConfidenceTarget(Target):
    """Predicted IoU of the masks."""


def confidence(
    segmentation: Segmentation,
    frame: Frame,
    target: ConfidenceTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score SAM's own judgement of the masks.

    .. math:: \frac{1}{N} \sum_k u_k \, \mathrm{clip}(\hat{q}_k, 0, 1)

    with the predicted IoU :math:`\hat{q}_k` of mask k (A. Kirillov et al., ICCV 2023). It is no
    physics, but evidence that settings cannot change: they only choose among masks. :math:`u_k` and
    N count as `counting.mean_over_expected` says: keeping the surest few does not help.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    values = np.clip(segmentation.table.predicted_iou, 0.0, 1.0)
    evidence = FrameEvidence.of(frame, target.sample)
    return mean_over_expected(values, segmentation, evidence)
