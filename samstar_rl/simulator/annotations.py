"""What journals and microscopes burn into pictures; none of it is an instance.

Each function draws on the image and erases the labels beneath, since they can no longer be seen.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Labels = NDArray[np.int32]

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)


def annotate(rng: np.random.Generator, image: Image, labels: Labels) -> None:
    """Burn in a random choice of scale bar, panel letter, caption and info bar.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : (H, W) uint8 array
        Written into.
    labels : (H, W) int32 array
        Set to 0 where something is written.
    """
    ink = 255 if image.mean() < 128 or rng.random() < 0.2 else 0
    if rng.random() < 0.2:
        info_bar(rng, image, labels)
    elif rng.random() < 0.8:
        _scale_bar(rng, image, labels, ink)
    if rng.random() < 0.35:
        _panel_letter(rng, image, labels, ink)
    if rng.random() < 0.12:
        _caption(rng, image, labels, ink)


def _scale_bar(rng: np.random.Generator, image: Image, labels: Labels, ink: int) -> None:
    """Draw a bar with its length above or below, in a corner, perhaps on a plate of its own."""
    height, width = image.shape
    length, thick = int(rng.uniform(0.08, 0.35) * width), int(rng.integers(1, 1 + height // 50))
    left = int(rng.uniform(0.02, 0.1) * width)
    if rng.random() < 0.6:
        left = width - length - left
    top = int(rng.uniform(0.86, 0.97) * height)
    text, scale = _length_text(rng), _font_scale(rng, height)
    if rng.random() < 0.25:
        _plate(image, labels, (left - 6, top - int(26 * scale) - 6, left + length + 6, height))
        ink = 255 - int(image[min(top, height - 1), left])
        ink = 255 if ink > 127 else 0
    cv2.rectangle(image, (left, top), (left + length, top + thick), ink, -1)
    labels[max(top, 0) : top + thick + 1, max(left, 0) : left + length + 1] = 0
    if rng.random() < 0.85:
        shift = int(rng.uniform(-0.1, 0.3) * length)
        _write(rng, image, labels, text, (left + shift, top - 3 - thick), scale, ink)


def _panel_letter(rng: np.random.Generator, image: Image, labels: Labels, ink: int) -> None:
    """Write (a), b), C ... into an upper corner."""
    letter = str(rng.choice(list("abcdefgABCDEF")))
    text = str(rng.choice([letter, f"({letter})", f"{letter})", letter + str(rng.integers(1, 5))]))
    scale = 1.5 * _font_scale(rng, image.shape[0])
    side = int(32 * scale)
    left = 3 if rng.random() < 0.8 else image.shape[1] - side - 3
    if rng.random() < 0.25:
        _plate(image, labels, (left - 3, 0, left + side, side))
        ink = 0
    _write(rng, image, labels, text, (left, int(24 * scale)), scale, ink)


def _caption(rng: np.random.Generator, image: Image, labels: Labels, ink: int) -> None:
    """Write a short text anywhere: a sample's name, a setting, perhaps with an arrow."""
    words = ["Fe3O4", "TiO2", "200 kV", "x 50,000", "MOF-5", "Au NPs", "pH 7", "5 min", "SiO2@Au"]
    height, width = image.shape
    origin = (int(rng.uniform(0, 0.7) * width), int(rng.uniform(0.1, 0.95) * height))
    _write(rng, image, labels, str(rng.choice(words)), origin, _font_scale(rng, height), ink)
    if rng.random() < 0.4:
        tip = (origin[0] + int(rng.integers(-40, 40)), origin[1] + int(rng.integers(8, 40)))
        drawn = np.zeros_like(image)
        cv2.arrowedLine(drawn, origin, tip, 255, 1 + int(rng.integers(2)), cv2.LINE_AA)
        image[drawn > 64] = ink
        labels[drawn > 64] = 0


def info_bar(rng: np.random.Generator, image: Image, labels: Labels) -> None:
    """Draw the microscope's own bar along the bottom: voltage, distance, magnification, scale.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : (H, W) uint8 array
        Written into.
    labels : (H, W) int32 array
        Set to 0 where something is written.
    """
    height, width = image.shape
    bar = int(rng.uniform(0.05, 0.12) * height)
    paper = 0 if rng.random() < 0.75 else 255
    image[height - bar :] = paper
    labels[height - bar :] = 0
    scale = 0.018 * bar + 0.1
    kilovolt, magnification = rng.choice([1, 5, 10, 15, 20, 200]), int(rng.integers(1, 999))
    text = f"{kilovolt}.00 kV  WD {rng.uniform(2, 15):.1f}  x{magnification},000"
    base = height - int(0.3 * bar)
    _write(rng, image, labels, text, (4, base), scale, 255 - paper)
    left, right = int(0.72 * width), int(rng.uniform(0.8, 0.95) * width)
    cv2.line(image, (left, base), (right, base), 255 - paper, 1)
    _write(rng, image, labels, _length_text(rng), (left, base - 2), 0.8 * scale, 255 - paper)


def _write(
    rng: np.random.Generator,
    image: Image,
    labels: Labels,
    text: str,
    origin: tuple[int, int],
    scale: float,
    ink: int,
) -> None:
    drawn = np.zeros_like(image)
    font, weight = _FONTS[rng.integers(len(_FONTS))], 1 + int(scale > 0.8)
    cv2.putText(drawn, text, origin, font, scale, 255, weight, cv2.LINE_AA)
    alpha = drawn.astype(np.float32) / 255
    image[:] = (image + alpha * (ink - image.astype(np.float32))).astype(np.uint8)
    labels[drawn > 96] = 0


def _plate(image: Image, labels: Labels, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    area = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
    image[area] = 255
    labels[area] = 0


def _length_text(rng: np.random.Generator) -> str:
    number = rng.choice([1, 2, 5, 10, 20, 50, 100, 200, 500])
    return f"{number} {rng.choice(['nm', 'nm', 'um'])}"


def _font_scale(rng: np.random.Generator, height: int) -> float:
    return float(np.exp(rng.uniform(np.log(0.9), np.log(2.2))) * height / 700)
