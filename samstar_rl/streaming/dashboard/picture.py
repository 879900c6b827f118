"""The newest frame as the page's image, drawn once for all browsers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.results.overlay import draw_outlines

if TYPE_CHECKING:
    from samstar_rl.results.result import FrameResult

# what a browser shows in its place, and what goes over the network twice a second
LONGEST_SIDE_PX = 800

Rgba = NDArray[np.uint32]


class PictureMaker:
    """Draws frames, and remembers the last picture of each kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[bool, tuple[FrameResult, Rgba]] = {}

    def picture(self, result: FrameResult, *, outlines: bool) -> Rgba:
        """The frame with or without the outlines of its particles, ready for Bokeh."""
        with self._lock:
            known = self._made.get(outlines)
            if known is None or known[0] is not result:
                known = (result, draw_frame(result, outlines=outlines))
                self._made[outlines] = known
            return known[1]


def draw_frame(result: FrameResult, *, outlines: bool) -> Rgba:
    """The frame at the size of the page, (H, W) uint32 of RGBA, the lowest row first."""
    frame = result.frame
    factor = max(1, LONGEST_SIDE_PX // max(frame.shape))
    if outlines:
        rgb = draw_outlines(frame, result.segmentation, factor)
    else:
        rgb = to_sam_rgb(frame.image).repeat(factor, axis=0).repeat(factor, axis=1)
    height, width, _ = rgb.shape
    if max(height, width) > LONGEST_SIDE_PX:
        scale = LONGEST_SIDE_PX / max(height, width)
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    # as Bokeh's ``image_rgba`` wants it
    packed = np.full((height, width, 4), 255, dtype=np.uint8)
    packed[..., :3] = rgb[::-1]
    return packed.view(np.uint32).reshape(height, width)
