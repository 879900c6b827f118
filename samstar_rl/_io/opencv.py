"""The same bits on every thread."""

from __future__ import annotations

import cv2


def avoid_ipp() -> None:
    """Have OpenCV do without Intel's primitives (IPP) in this thread.

    With them the last bits of a blur depend on where its input lies in memory, and a score on the
    process that computes it. OpenCV keeps this choice for each thread, so that functions whose
    result must be the same everywhere ask for it themselves.
    """
    cv2.ipp.setUseIPP(False)
