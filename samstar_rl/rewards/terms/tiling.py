"""Term `tiling`: the masks cover the plane without gaps and without lying on one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class TilingTarget(Target):
    """Grains, cells or membranes that fill the plane.

    Parameters
    ----------
    wall_fraction : float
        Share of the area that boundaries take, which no mask covers.
    tolerance : float
        Share of the area, beyond that of the walls, whose lack or double cover brings the term
        down to 1/e.
    """

    wall_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    tolerance: Annotated[float, Field(gt=0, le=1)] = 0.2


def tiling(
    segmentation: Segmentation,
    frame: Frame,
    target: TilingTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score gaps and double cover.

    .. math:: \exp\Big(-\frac{|g - w| + d}{\mathrm{tolerance}}\Big)

    with the uncovered share :math:`g` of the area, the walls' share :math:`w`, and the share
    :math:`d` covered again by a further mask.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1].
    """
    n_pixels = segmentation.shape[0] * segmentation.shape[1]
    starts, stops = segmentation.union_runs
    covered = float((stops - starts).sum()) / n_pixels
    again = float(np.sum(segmentation.table.area)) / n_pixels - covered
    gap = abs(1 - covered - target.wall_fraction)
    return float(np.exp(-(gap + again) / target.tolerance))
