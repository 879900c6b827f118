"""Term `homogeneity`: each mask is of one material."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import mean_over_expected
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class HomogeneityTarget(Target):
    """Variation of intensity inside masks.

    Parameters
    ----------
    allowed_variation : float
        Standard deviation inside a mask, as a share of the frame's range of intensities, up to
        which a particle counts as homogeneous: shading and noise.
    """

    allowed_variation: Annotated[float, Field(gt=0, le=1)] = 0.12


def homogeneity(
    segmentation: Segmentation,
    frame: Frame,
    target: HomogeneityTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score how little the intensity varies inside masks.

    .. math:: \frac{1}{N} \sum_k u_k \min(1, (\sigma_\mathrm{allowed} / \sigma_k)^2)

    with :math:`\sigma_k` the standard deviation inside mask k: Fisher's within-class variance, as
    in Otsu's criterion, with a part that is forgiven. :math:`u_k` and N count as
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
    (spread,) = evidence.columns(segmentation.table, "inside_std")
    values = np.minimum(1.0, (target.allowed_variation / np.maximum(spread, 1e-9)) ** 2)
    return mean_over_expected(values, segmentation, evidence)
