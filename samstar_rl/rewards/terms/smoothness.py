"""Term `smoothness`: the outlines are as smooth as a particle's.

For round or facetted particles on frames so noisy that outlines fray: droplets, vesicles, colloids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import mean_over_expected
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class SmoothnessTarget(Target):
    """Raggedness of the outlines.

    Parameters
    ----------
    least_smoothness : float
        Perimeter of the ellipse of equal area and elongation over the mask's own perimeter, from
        which on an outline counts as smooth: 1 for an ellipse, 0.94 for a rectangle.
    """

    least_smoothness: Annotated[float, Field(gt=0, le=1)] = 0.9


def smoothness(
    segmentation: Segmentation,
    frame: Frame,
    target: SmoothnessTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score the outlines by their length against that of a smooth body of the same elongation.

    .. math:: \frac{1}{N} \sum_k u_k \min(1, s_k / s_\mathrm{least})^4, \quad
        s_k = P_\mathrm{ellipse}(A_k, a_k) / P_k

    with area :math:`A`, aspect ratio :math:`a` and perimeter :math:`P` (Crofton) of mask k, and
    Ramanujan's formula for the ellipse's perimeter (Q. J. Math. 45, 1914). :math:`u_k` and N count
    as `counting.mean_over_expected` says: leaving out ragged particles does not help.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    values = np.minimum(outline_smoothness(segmentation) / target.least_smoothness, 1.0) ** 4
    evidence = FrameEvidence.of(frame, target.sample)
    return mean_over_expected(values, segmentation, evidence)


def outline_smoothness(segmentation: Segmentation) -> NDArray[np.float64]:
    """Perimeter of the ellipse of equal area and aspect ratio over the perimeter, (K,)."""
    table = segmentation.table
    aspect = np.maximum(np.asarray(table.aspect_ratio, dtype=np.float64), 1.0)
    minor = np.sqrt(table.area / (np.pi * aspect))
    ideal = ellipse_perimeter(minor * aspect, minor)
    return ideal / np.maximum(table.perimeter_crofton, 1e-9)


def ellipse_perimeter(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Perimeter of ellipses with half axes a and b, by Ramanujan's second formula."""
    total = a + b
    h = ((a - b) / np.maximum(total, 1e-12)) ** 2
    return np.pi * total * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
