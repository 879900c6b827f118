"""Term `plausibility`: each mask looks like a particle, all evidence taken together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import mean_over_expected
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class PlausibilityTarget(Target):
    """How much single masks look like particles."""


def plausibility(
    segmentation: Segmentation,
    frame: Frame,
    target: PlausibilityTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score how much the masks look like particles.

    .. math:: \frac{1}{N} \sum_k u_k \, p(z_k)

    with the probability p, estimated from mask k's evidence :math:`z_k`, that the mask matches a
    particle at an IoU of 0.5: image and mask as seen from the mask's centre, at its own size and in
    its own contrast (`polar_views`), its shape and SAM's own judgement, by a small network
    (`Likeness`). It was fitted once, to masks of labelled micrographs and of simulated frames; no
    frame's own truth enters. Terms about a single kind of evidence average it over masks before
    they are multiplied; here the product is taken mask by mask. :math:`u_k` and N count as
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
    likeness = evidence.likeness(segmentation.table)
    return mean_over_expected(likeness, segmentation, evidence)
