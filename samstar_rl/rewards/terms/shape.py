"""Term `shape`: the particles have the shapes that the sample's particles have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from samstar_rl.errors import SamstarError
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.counting import mean_over_expected
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation

ShapeRange = tuple[float, float]


class ShapeTarget(Target):
    """Ranges of shape descriptors; each pair is (low, high), what is left out is not judged.

    Parameters
    ----------
    circularity, solidity, eccentricity : (float, float)
        In [0, 1].
    aspect_ratio : (float, float)
        Long over short axis, from 1.
    sides : (float, float)
        Sides of the polygon around it, 3 to 8; 12 stands for a round outline (`facets`).
    facetting : (float, float)
        In [0, 1]: 0 for discs and ellipses, 1 for polygons.
    softness : float
        Distance beyond a range at which a mask's value has fallen to 1/e, as a share of the value
        of the range's end.
    """

    circularity: ShapeRange | None = None
    solidity: ShapeRange | None = None
    aspect_ratio: ShapeRange | None = None
    eccentricity: ShapeRange | None = None
    sides: ShapeRange | None = None
    facetting: ShapeRange | None = None
    softness: Annotated[float, Field(gt=0)] = 0.15

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for name in _DESCRIPTORS:
            bounds = getattr(self, name)
            if bounds is not None and not 0 <= bounds[0] < bounds[1]:
                raise SamstarError(f"{name} must be [low, high] with 0 <= low < high, got {bounds}")
        if not any(getattr(self, name) for name in _DESCRIPTORS):
            raise SamstarError(f"give at least one of {', '.join(_DESCRIPTORS)}")
        return self


_TABLE_DESCRIPTORS = ("circularity", "solidity", "aspect_ratio", "eccentricity")
_DESCRIPTORS = (*_TABLE_DESCRIPTORS, "sides", "facetting")


def shape(
    segmentation: Segmentation,
    frame: Frame,
    target: ShapeTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score how well the masks' shapes are those of the sample.

    .. math:: \frac{1}{N} \sum_k u_k \min_i m_i(k)

    with :math:`m_i(k)` mask k's membership in the i-th of the target's ranges
    (`range_membership`: fuzzy sets, L. A. Zadeh, Inf. Control 8, 1965). :math:`u_k` and N count as
    `counting.mean_over_expected` says: leaving out ill-shaped particles does not help.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    values = shape_memberships(segmentation, frame, target)
    evidence = FrameEvidence.of(frame, target.sample)
    return mean_over_expected(values, segmentation, evidence)


def shape_memberships(
    segmentation: Segmentation, frame: Frame, target: ShapeTarget
) -> NDArray[np.float64]:
    """Say how well each mask fits the ranges.

    Parameters
    ----------
    segmentation : Segmentation
        Of K masks.
    frame : Frame
        The frame that was segmented.
    target : ShapeTarget
        The ranges of the descriptors.

    Returns
    -------
    (K,) float64 array
        In [0, 1]; a mask fits as its least descriptor does.
    """
    fit = np.ones(len(segmentation))
    for name in _DESCRIPTORS:
        bounds = getattr(target, name)
        if bounds is None:
            continue
        if name in _TABLE_DESCRIPTORS:
            values = np.asarray(getattr(segmentation.table, name), dtype=np.float64)
        else:
            evidence = FrameEvidence.of(frame, target.sample)
            sides, facetting = evidence.sides(segmentation.table)
            values = sides if name == "sides" else facetting
        fit = np.minimum(fit, range_membership(values, bounds, target.softness))
    return fit


def range_membership(
    values: NDArray[np.float64], bounds: tuple[float, float], softness: float
) -> NDArray[np.float64]:
    """Say how well values lie within bounds: 1 inside, falling off exponentially outside.

    Parameters
    ----------
    values : (K,) array
    bounds : (float, float)
        Least and greatest value that is fine.
    softness : float
        Share of a bound by which a value may lie beyond it before it falls to 1/e.

    Returns
    -------
    (K,) float64 array
        In [0, 1].
    """
    low, high = bounds
    below = np.maximum(low - values, 0) / max(softness * low, 1e-9)
    above = np.maximum(values - high, 0) / max(softness * high, 1e-9)
    return np.exp(-np.maximum(below, above))
