"""Term `contrast`: do the masks' rims lie on steps of intensity?"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from samstar_rl.frames.frame import Frame
from samstar_rl.rewards.evidence import foreground_for
from samstar_rl.rewards.target import Target
from samstar_rl.segmentation import Segmentation


class ContrastTarget(Target):
    """Step of intensity across the rims, with the sign of the sample's contrast.

    Parameters
    ----------
    full_contrast : float
        Step, as a share of the frame's range of intensities, that counts as a full one.
    """

    full_contrast: Annotated[float, Field(gt=0, le=1)] = 0.2


def contrast(
    segmentation: Segmentation,
    frame: Frame,
    target: ContrastTarget,
    previous: Segmentation | None = None,
) -> float:
    """Score the steps across the rims: the mean of each mask's step over a full one, at most 1.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    steps = rim_steps(segmentation, frame, target)
    return float(steps.mean()) if len(steps) else 0.0


def rim_steps(
    segmentation: Segmentation, frame: Frame, target: ContrastTarget
) -> NDArray[np.float64]:
    """Each mask's signed step over a full one, (K,), clipped to [0, 1]."""
    polarity = foreground_for(frame, target.sample).polarity
    signed = polarity * np.asarray(segmentation.table.contrast, dtype=np.float64)
    return np.clip(signed / target.full_contrast, 0, 1)
