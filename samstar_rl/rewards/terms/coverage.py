"""Term `coverage`: the masks explain the foreground, or cover the share that they should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import model_validator

from samstar_rl.errors import SamstarError
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import covered_foreground
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class CoverageTarget(Target):
    """What the masks should cover.

    Parameters
    ----------
    areal_fraction : (float, float), optional
        Least and greatest share of the frame's area that particles cover. Without it the masks are
        compared with the foreground estimated from the frame.
    """

    areal_fraction: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        share = self.areal_fraction
        if share is not None and not 0 < share[0] < share[1] <= 1:
            raise SamstarError(
                f"areal_fraction must be [low, high], 0 < low < high <= 1, got {share}"
            )
        return self


def coverage(
    segmentation: Segmentation,
    frame: Frame,
    target: CoverageTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score the agreement of the masks' union with the foreground, or with an areal fraction.

    .. math:: 2 |U \cap F| / (|U| + |F|) \quad\mathrm{or}\quad \min(c / e, e / c)

    the first (L. R. Dice, Ecology 26, 1945) with the union :math:`U` and the estimated foreground
    :math:`F`; the second where the target states an areal fraction, with the share :math:`c` of
    the frame that the union covers and :math:`e` the nearest share in the target's range.

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
    if target.areal_fraction is not None:
        starts, stops = segmentation.union_runs
        covered = float((stops - starts).sum()) / (segmentation.shape[0] * segmentation.shape[1])
        expected = float(np.clip(covered, *target.areal_fraction))
        return min(covered / expected, expected / max(covered, 1e-12))
    evidence = FrameEvidence.of(frame, target.sample)
    union_px, shared_px = covered_foreground(segmentation, evidence)
    return 2 * shared_px / max(union_px + evidence.foreground.area_px, 1)
