"""The picture that people look at: a frame with the outlines of its particles."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from samstar_rl.frames.intensity import to_sam_rgb

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation

Rgb = NDArray[np.uint8]

# hues that differ on grey for most eyes, colour-blind ones too (after Okabe and Ito)
PALETTE = (
    (0, 200, 255),
    (255, 140, 0),
    (0, 220, 130),
    (255, 105, 180),
    (255, 225, 25),
    (120, 150, 255),
    (255, 80, 60),
    (170, 255, 60),
)
# smaller frames are enlarged by a whole factor, so that an outline hides less than a pixel
LEAST_SIDE_PX = 900
TILE_COLOUR = (110, 110, 110)
STRIP_BACKGROUND = (24, 24, 24)
STRIP_TEXT = (235, 235, 235)
# a scale bar takes at most this share of the width
SCALE_BAR_SHARE = 0.25
# the signature of a PNG and its first chunk, which must come first
PNG_HEADER_BYTES = 33


def draw_overlay(frame: Frame, segmentation: Segmentation, *, caption: Sequence[str] = ()) -> Rgb:
    """Draw the outline of every particle on the frame, each in a colour unlike its neighbours'.

    Outlines are thin and stand on the frame alone: caption and scale bar go into a strip below,
    where they hide nothing.

    Parameters
    ----------
    frame : Frame
    segmentation : Segmentation
        Of this frame.
    caption : sequence of str
        Lines for the strip.

    Returns
    -------
    (H', W', 3) uint8 array
        The frame enlarged by a whole factor, with the strip below it.
    """
    factor = enlargement(frame.shape)
    picture = draw_outlines(frame, segmentation, factor)
    strip = _draw_strip(picture.shape[1], caption, frame.pixel_size_nm, factor)
    return np.concatenate([picture, strip])


def draw_outlines(frame: Frame, segmentation: Segmentation, factor: int = 1) -> Rgb:
    """Draw the outlines of the masks on the frame, and nothing else.

    Parameters
    ----------
    frame : Frame
    segmentation : Segmentation
    factor : int
        Enlargement.

    Returns
    -------
    (factor * H, factor * W, 3) uint8 array
    """
    picture = _enlarge(to_sam_rgb(frame.image), factor)
    thickness = max(1, round(min(picture.shape[:2]) / 1200))
    # the tiles that SAM looked at, under the particles
    effort, boxes = segmentation.proposals.effort, segmentation.proposals.crop_boxes
    views = np.zeros(0, dtype=np.int32) if effort is None else np.unique(effort.views)
    for x0, y0, x1, y1 in (boxes[views[views > 0]] * factor).tolist():
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), TILE_COLOUR, thickness)
    boxed = [segmentation.mask_in_box(index) for index in range(len(segmentation))]
    colours = _distinct_colours(np.array([box_xyxy for box_xyxy, _ in boxed]).reshape(-1, 4))
    for (box_xyxy, mask), colour in zip(boxed, colours, strict=True):
        _outline(picture, mask, int(box_xyxy[0]) * factor, int(box_xyxy[1]) * factor, factor,
                 colour, thickness)  # fmt: skip
    return picture


def _distinct_colours(boxes_xyxy: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Choose colours so that particles whose boxes touch differ, as far as the palette reaches."""
    choices: list[int] = []
    for index, (left, top, right, bottom) in enumerate(boxes_xyxy.tolist()):
        before = boxes_xyxy[:index]
        touching = (
            (before[:, 0] <= right + 2)
            & (before[:, 2] >= left - 2)
            & (before[:, 1] <= bottom + 2)
            & (before[:, 3] >= top - 2)
        )
        taken = [choices[other] for other in np.flatnonzero(touching)]
        # the colour least taken around here; turning the order spreads the colours elsewhere
        order = [(index + step) % len(PALETTE) for step in range(len(PALETTE))]
        choices.append(min(order, key=taken.count))
    return [PALETTE[choice] for choice in choices]


def enlargement(shape: tuple[int, int]) -> int:
    """Whole factor by which a frame is enlarged for the eye."""
    return max(1, round(LEAST_SIDE_PX / max(shape)))


def _scale_bar_nm(width_nm: float) -> float:
    """The longest of 1, 2, 5, 10, ... nm that takes at most a quarter of the width."""
    longest = width_nm * SCALE_BAR_SHARE
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest))


def _format_length(length_nm: float) -> str:
    """A length in the unit in which people say it."""
    for unit, size_nm in (("mm", 1e6), ("µm", 1e3), ("nm", 1.0)):
        if length_nm >= size_nm:
            return f"{length_nm / size_nm:g} {unit}"
    return f"{length_nm * 1e3:g} pm"


def encode_png(picture: Rgb, *, software: str) -> bytes:
    """Compress a picture, fast rather than small, with the name of the program that made it."""
    _, encoded = cv2.imencode(
        ".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 2]
    )
    data = bytes(encoded)
    text = b"tEXt" + b"Software\0" + software.encode("latin-1")
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return data[:PNG_HEADER_BYTES] + chunk + data[PNG_HEADER_BYTES:]


def _outline(
    picture: Rgb,
    mask: NDArray[np.bool_],
    left: int,
    top: int,
    factor: int,
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    """Draw the border of the mask's pixels; a hole has a border as well."""
    # a margin closes outlines at the edge of the box
    large = np.pad(_enlarge(mask.astype(np.uint8), factor), 1)
    contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, contours, -1, colour, thickness, offset=(left - 1, top - 1))


def _enlarge(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    return image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image.copy()


def _draw_strip(
    width: int, caption: Sequence[str], pixel_size_nm: float | None, factor: int
) -> Rgb:
    """Caption on the left, scale bar on the right, and below each other where both do not fit."""
    size = max(12, round(width / 60))
    font = ImageFont.load_default(size)
    lines = [line for text in caption for line in _wrapped(text, font, width - 2 * size)]
    line_height = round(1.4 * size)
    bar_height = line_height if pixel_size_nm is not None else 0
    height = line_height * len(lines) + bar_height + (size if lines or bar_height else 0)
    strip = Image.new("RGB", (width, height), STRIP_BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        draw.text((size, size // 2 + row * line_height), line, STRIP_TEXT, font)
    if pixel_size_nm is not None:
        top = size // 2 + line_height * len(lines)
        shown_nm = pixel_size_nm / factor
        length_nm = _scale_bar_nm(width * shown_nm)
        length_px, middle = round(length_nm / shown_nm), top + size // 2
        draw.rectangle((size, middle - size // 6, size + length_px, middle + size // 6), STRIP_TEXT)
        draw.text((2 * size + length_px, top), _format_length(length_nm), STRIP_TEXT, font)
    return np.array(strip)


def _wrapped(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """Break a line between words where it does not fit."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
