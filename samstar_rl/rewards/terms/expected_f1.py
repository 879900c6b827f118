"""Term `expected_f1`: the F1 that the masks are expected to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class ExpectedF1Target(Target):
    """The F1 at an IoU of 0.5 that masks are expected to reach."""


def expected_f1(
    segmentation: Segmentation,
    frame: Frame,
    target: ExpectedF1Target,
    previous: Segmentation | None = None,
) -> float:
    r"""Estimate the F1 at an IoU of 0.5, without any truth.

    .. math:: \min\Big(1, \frac{2 \sum_k u_k \, p_k}{K + \hat{N}}\Big)

    as :math:`F_1 = 2\,TP / (K + N)` for K masks and N particles, with the estimated probability
    :math:`p_k` that mask k matches a particle (`FrameEvidence.likeness`), copies of a mask
    counting once together (:math:`u_k`, `Segmentation.uniqueness`), and the number
    :math:`\hat{N}` of particles that the foreground shows (`Foreground.n_particles`).
    `plausibility` asks how good the masks are and lets the uncovered area tell what is missing;
    here the count of the foreground decides, which no mask can change.

    Parameters
    ----------
    segmentation : Segmentation
        The masks to score.
    frame : Frame
        The frame that was segmented.
    target : ExpectedF1Target
        What the task asks for, lengths in px.
    previous : Segmentation, optional
        Not used.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    if len(segmentation) == 0:
        return 0.0
    evidence = FrameEvidence.of(frame, target.sample)
    matched = float(segmentation.uniqueness @ evidence.likeness(segmentation.table))
    return min(1.0, 2 * matched / (len(segmentation) + evidence.foreground.n_particles))
