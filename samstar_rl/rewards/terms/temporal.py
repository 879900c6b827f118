"""Term `temporal`: the segmentation follows smoothly from that of the frame before.

For streams whose particles hardly change from frame to frame, such as growth or annealing that is
imaged faster than it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field
from scipy.spatial import cKDTree

from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class TemporalTarget(Target):
    """How much may change from frame to frame.

    Parameters
    ----------
    count_tolerance : float
        Change of ln(number of particles) that brings the value down to 1/e.
    area_tolerance : float
        Median change of ln(area) of particles found again that does so.
    reach : float
        Distance, in equivalent diameters, within which a particle is looked for again.
    """

    count_tolerance: Annotated[float, Field(gt=0)] = 0.3
    area_tolerance: Annotated[float, Field(gt=0)] = 0.3
    reach: Annotated[float, Field(gt=0)] = 0.5


def temporal(
    segmentation: Segmentation,
    frame: Frame,
    target: TemporalTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score that numbers and matched areas do not jump.

    .. math:: \sqrt{e^{-|\ln(n / n')| / \tau_n} \; e^{-\mathrm{med}|\ln(A / A')| / \tau_A}}

    Numbers are compared per area of sample and areas in nm^2 where both frames tell their pixel
    size, so that a change of magnification is no jump. Positions are compared as shares of the
    frame about its centre, after the median shift of the particles found again: drift of the
    stage is no jump either. Where fewer than three particles are found again, areas are compared
    by their medians.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 1 without an earlier segmentation.
    """
    if previous is None:
        return 1.0
    if len(segmentation) == 0 or len(previous) == 0:
        return 1.0 if len(segmentation) == len(previous) else 0.0
    # px of this frame per px of the one before, on the sample
    pixel_now_nm, pixel_before_nm = segmentation.pixel_size_nm, previous.pixel_size_nm
    scale = pixel_before_nm / pixel_now_nm if pixel_now_nm and pixel_before_nm else 1.0
    seen_area = _n_pixels(segmentation) / (_n_pixels(previous) * scale**2)
    numbers = np.log(len(segmentation) / len(previous) / seen_area)
    areas = _area_change(segmentation, previous, scale, target.reach)
    excess = abs(numbers) / target.count_tolerance + areas / target.area_tolerance
    return float(np.exp(-excess / 2))


def _n_pixels(segmentation: Segmentation) -> float:
    return float(segmentation.shape[0] * segmentation.shape[1])


def _area_change(
    segmentation: Segmentation, previous: Segmentation, scale: float, reach: float
) -> float:
    now = _centred(segmentation)
    before = _centred(previous) * scale
    areas_now = np.log(np.maximum(segmentation.table.area, 1))
    areas_before = np.log(np.maximum(previous.table.area, 1)) + 2 * np.log(scale)
    limit = reach * np.asarray(segmentation.table.equivalent_diameter_area)
    tree = cKDTree(before)
    distances, partners = tree.query(now)
    shift = np.median(now - before[partners], axis=0)
    distances, partners = tree.query(now - shift)
    again = distances <= limit
    if np.count_nonzero(again) < 3:
        return float(abs(np.median(areas_now) - np.median(areas_before)))
    return float(np.median(np.abs(areas_now[again] - areas_before[partners[again]])))


def _centred(segmentation: Segmentation) -> np.ndarray:
    height, width = segmentation.shape
    table = segmentation.table
    return np.column_stack([table["centroid-1"] - width / 2, table["centroid-0"] - height / 2])
