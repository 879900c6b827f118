"""Pictures of what an agent did: the frame, its masks, the settings and the score's terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.results.overlay import draw_outlines, enlargement
from samstar_rl.settings import SETTINGS

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Evaluation

Picture = NDArray[np.uint8]

FRAME_SIDE_PX = 512
PANEL_WIDTH_PX = 300
_PANEL_HEAD_PX, _BAR_STEP_PX = 140, 30
_BACKGROUND = (17, 20, 26)
_INK, _FAINT = (230, 233, 238), (132, 140, 152)
_BAR, _BAR_BACK, _SCORE_BAR = (86, 156, 214), (42, 48, 58), (78, 201, 130)


def draw_step(frame: Frame, task: Task, evaluation: Evaluation | None) -> Picture:
    """Draw a frame with what settings made of it.

    Parameters
    ----------
    frame : Frame
    task : Task
        Its free settings are listed.
    evaluation : Evaluation, optional
        None draws the bare frame.

    Returns
    -------
    (H, 812, 3) uint8 array
        The frame, its longer side 512 px and centred, beside a panel of settings and terms. H is at
        least 512 and depends on the task alone, so that all pictures of an environment have one
        shape, whatever the shapes of its frames.
    """
    if evaluation is None:
        picture = _fit(to_sam_rgb(frame.image))
    else:
        segmentation = evaluation.segmentation
        picture = _fit(draw_outlines(frame, segmentation, enlargement(frame.shape)))
    panel = _panel(frame, task, evaluation)
    canvas = np.full((len(panel), FRAME_SIDE_PX, 3), _BACKGROUND, np.uint8)
    height, width = picture.shape[:2]
    top, left = (len(panel) - height) // 2, (FRAME_SIDE_PX - width) // 2
    canvas[top : top + height, left : left + width] = picture
    return np.concatenate([canvas, panel], axis=1)


def _fit(picture: Picture) -> Picture:
    scale = FRAME_SIDE_PX / max(picture.shape[:2])
    size = (max(1, round(scale * picture.shape[1])), max(1, round(scale * picture.shape[0])))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _panel(frame: Frame, task: Task, evaluation: Evaluation | None) -> Picture:
    """At least as high as a frame, higher where there are many terms and settings."""
    rows = 1 + len(task.terms) + task.space.n
    height = max(FRAME_SIDE_PX, _PANEL_HEAD_PX + _BAR_STEP_PX * rows)
    image = Image.new("RGB", (PANEL_WIDTH_PX, height), _BACKGROUND)
    pen = _Pen(ImageDraw.Draw(image))
    pen.text(task.name, 20, _INK, step=28)
    pen.text(frame.id)
    if evaluation is None:
        pen.text("not segmented yet")
        return np.asarray(image)
    pen.text(f"{len(evaluation.segmentation)} masks", step=26)
    pen.bar("score", f"{evaluation.score.total:.3f}", evaluation.score.total, _SCORE_BAR)
    for name, value in evaluation.score.terms.items():
        pen.bar(name, f"{value:.3f}", value, _BAR)
    pen.y += 8
    pen.text("settings", step=20)
    positions = (task.space.encode(evaluation.settings) + 1) / 2
    for name, position in zip(task.space.names, positions, strict=True):
        value = getattr(evaluation.settings, name)
        shown = format(value, "g" if SETTINGS[name].integer else ".3g")
        pen.bar(name, shown, float(position), _BAR)
    return np.asarray(image)


class _Pen:
    """Write lines and bars from top to bottom."""

    margin, width = 16, PANEL_WIDTH_PX - 32

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self.draw = draw
        self.y = 14

    def text(
        self, text: str, size: int = 13, colour: Sequence[int] = _FAINT, *, step: int = 18
    ) -> None:
        """A line, and how far below it the next one begins."""
        font = ImageFont.load_default(size)
        self.draw.text((self.margin, self.y), text, fill=tuple(colour), font=font)
        self.y += step

    def bar(self, name: str, value: str, share: float, colour: Sequence[int]) -> None:
        """A name, its value, and how far along its range it lies."""
        self.text(name, colour=_INK, step=0)
        font = ImageFont.load_default(13)
        right = self.margin + self.width - self.draw.textlength(value, font=font)
        self.draw.text((right, self.y), value, fill=_INK, font=font)
        top = self.y + 18
        left, full = self.margin, self.margin + self.width
        self.draw.rectangle((left, top, full, top + 4), fill=_BAR_BACK)
        stop = left + round(self.width * min(max(share, 0.0), 1.0))
        if stop > left:
            self.draw.rectangle((left, top, stop, top + 4), fill=tuple(colour))
        self.y += _BAR_STEP_PX
