"""Term `expected_f1`: the F1 that the masks are expected to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import unfound_bodies
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

    .. math:: \frac{2 M}{K + M + U}, \quad M = \sum_k u_k \, p_k

    as :math:`F_1 = 2\,TP / (K + N)` for K masks and N particles. M masks are expected to match a
    particle: :math:`p_k` is the probability that mask k does (`FrameEvidence.likeness`), copies of
    a mask counting once together (:math:`u_k`, `Segmentation.uniqueness`). Particles are those, and
    the U bodies of the foreground that are expected to be found by no mask
    (`counting.unfound_bodies`): a gaze that finds little, though surely, leaves bodies unfound.
    `plausibility` asks how good the masks are, and lets the uncovered area tell what is missing.

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
    evidence = FrameEvidence.of(frame, target.sample)
    likeness = evidence.likeness(segmentation.table)
    matched = float(segmentation.uniqueness @ likeness)
    unfound = unfound_bodies(likeness, segmentation, evidence)
    return 2 * matched / (len(segmentation) + matched + unfound)
