"""Derivatives of images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl._io.opencv import avoid_ipp

_SMOOTHING_PX = 1.5


def slopes(unit: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Derivatives along x and y, 1/px, of the slightly smoothed image, (H, W) each."""
    avoid_ipp()
    smooth = cv2.GaussianBlur(unit, (0, 0), _SMOOTHING_PX)
    along_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125)
    along_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)
    return np.asarray(along_x), np.asarray(along_y)
