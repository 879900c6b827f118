"""What is wrong with a frame before it is segmented: blank, saturated, or pixels missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame

# beyond these shares of its pixels a frame is useless
MAX_MISSING = 0.5
MAX_SATURATED = 0.9
# and beyond these it deserves a note: of 296 published micrographs one has more at its maximum
NOTED_MISSING = 0.001
NOTED_SATURATED = 0.1


class UnusableFrameError(SamstarError):
    """A frame that must not be segmented: blank, saturated, or mostly missing."""


@dataclass(frozen=True)
class Quality:
    """Findings about one frame.

    Attributes
    ----------
    usable : bool
        Whether segmenting the frame can mean anything.
    findings : tuple of str
        For people; empty for a frame without fault.
    """

    usable: bool
    findings: tuple[str, ...]


def inspect_frame(frame: Frame) -> Quality:
    """Look for what makes a segmentation fiction.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    Quality
        Not usable are frames that are constant (blanked beam, closed shutter), that lack more than
        half of their pixels (NaN, infinity), or that hold their greatest value in more than nine
        tenths of them (saturated detector).
    """
    finite = np.isfinite(frame.image)
    known = frame.image if finite.all() else frame.image[finite]
    missing = 1.0 - known.size / frame.image.size
    if missing > MAX_MISSING:
        return Quality(False, (f"{missing:.0%} of the pixels are missing (NaN or infinite)",))
    low, high = float(known.min()), float(known.max())
    if low == high:
        return Quality(False, (f"the frame is blank: all pixels are {low:g}",))
    saturated = float(np.mean(known == high))
    findings = []
    if missing > NOTED_MISSING:
        findings.append(f"{missing:.1%} of the pixels are missing (NaN or infinite)")
    if saturated > NOTED_SATURATED:
        findings.append(f"{saturated:.0%} of the pixels are saturated at {high:g}")
    return Quality(saturated <= MAX_SATURATED, tuple(findings))
