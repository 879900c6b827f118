"""What the terms need to know of each mask beyond the particle table, computed once a proposal."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from samstar_rl.foreground import Foreground, foreground_of
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards.target import Sample
from samstar_rl.segmentation import Segmentation

_PURITIES: WeakKeyDictionary[object, WeakKeyDictionary[Foreground, dict[int, float]]] = (
    WeakKeyDictionary()
)


def foreground_for(frame: Frame, sample: Sample) -> Foreground:
    """The frame's foreground, given what is known of the sample (lengths in px)."""
    return foreground_of(frame, sample.contrast, sample.min_diameter, sample.max_diameter)


def purities(segmentation: Segmentation, foreground: Foreground) -> NDArray[np.float64]:
    """Share of each mask that lies on the foreground, (K,)."""
    known = _PURITIES.setdefault(segmentation.proposals, WeakKeyDictionary()).setdefault(
        foreground, {}
    )
    for k, index in enumerate(segmentation.kept.tolist()):
        if index not in known:
            (x0, y0, _, _), inside = segmentation.mask_in_box(k)
            height, width = inside.shape
            below = foreground.mask[int(y0) : int(y0) + height, int(x0) : int(x0) + width]
            known[index] = float(below[inside].mean()) if inside.any() else 0.0
    return np.array([known[index] for index in segmentation.kept.tolist()], dtype=np.float64)
