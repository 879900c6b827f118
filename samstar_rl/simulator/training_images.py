"""Single images of maximal variety, from which a small SAM learns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.simulator.annotations import annotate
from samstar_rl.simulator.families import FAMILIES
from samstar_rl.simulator.image_families import IdealImage
from samstar_rl.simulator.optics import Optics, expose, stretched, to_uint8
from samstar_rl.simulator.tiling import dense_labels

if TYPE_CHECKING:
    from samstar_rl.simulator.texture import Field

Labels = NDArray[np.int32]


# Dense and touching groups are what a small network finds hardest, so they are drawn most.
_SHARES = {
    "scattered": 0.09,
    "aggregates": 0.08,
    "clouds": 0.04,
    "monolayer": 0.07,
    "dense": 0.07,
    "pile": 0.05,
    "mixture": 0.05,
    "beside_large": 0.05,
    "large_bodies": 0.05,
    "rods": 0.04,
    "decorated": 0.03,
    "core_shell": 0.02,
    "vesicles": 0.02,
    "atoms": 0.02,
    "grains": 0.02,
    "cells": 0.02,
    "agglomerates": 0.09,
    "powder": 0.05,
    "packed_rods": 0.05,
    "platelets": 0.02,
    "chains": 0.02,
    "coated": 0.02,
    "low_dose_atoms": 0.01,
    "thin_walls": 0.02,
}
# What a survey at low magnification shows: bodies of 14 to 64 px by the hundred.
_WIDE_SHARES = {
    "agglomerates": 0.42,
    "powder": 0.16,
    "packed_rods": 0.16,
    "platelets": 0.06,
    "chains": 0.07,
    "coated": 0.07,
    "thin_walls": 0.06,
}
_ANNOTATED = 0.3


def draw_training_image(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], Labels]:
    """One random micrograph with its instance labels.

    Parameters
    ----------
    rng : numpy.random.Generator
        All randomness comes from here: the same state gives the same image.
    size : int
        Edge of the square image in px, at least 64.

    Returns
    -------
    image : (size, size) uint8 array
        Grey values.
    labels : (size, size) int32 array
        Visible pixels of each instance, 1 to N without gaps; 0 is background.

    Raises
    ------
    SamstarError
        If the size is too small to show anything.
    """
    if size < 64:
        raise SamstarError(f"size must be at least 64 px, got {size}; draw larger and shrink it")
    return _draw_from(rng, _SHARES, size)


def draw_wide_image(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], Labels]:
    """One random micrograph of many small particles, to be seen tile by tile.

    Takes and returns what `draw_training_image` does; `size` is at least 640 px.

    Raises
    ------
    SamstarError
        If the size is too small.
    """
    if size < 640:
        raise SamstarError(f"size must be at least 640 px, got {size}: use draw_training_image")
    return _draw_from(rng, _WIDE_SHARES, size)


def draw_family_image(
    rng: np.random.Generator, family: str, shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], Labels]:
    """Draw one random micrograph of a scene family; see `draw_training_image`.

    Parameters
    ----------
    rng : numpy.random.Generator
    family : str
        A name of `FAMILIES`.
    shape : (int, int)
        Height and width in px.

    Returns
    -------
    (H, W) uint8 array, (H, W) int32 array
        Image and labels, 0 being background.

    Raises
    ------
    SamstarError
        If there is no such family.
    """
    if family not in FAMILIES:
        raise SamstarError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    scene = FAMILIES[family](rng, shape)
    image = to_uint8(_recorded(rng, scene))
    labels = scene.labels.copy()
    if rng.random() < _ANNOTATED:
        annotate(rng, image, labels)
    return published(rng, image), dense_labels(labels)


def published(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image after a journal: sometimes scaled down and up again, sharpened, or JPEG-coded."""
    height, width = image.shape
    if rng.random() < 0.15:
        scale = rng.uniform(0.5, 0.9)
        small = (max(int(scale * width), 8), max(int(scale * height), 8))
        shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = _uint8(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.1:
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        image = _uint8(cv2.addWeighted(image, 1.8, soft, -0.8, 0))
    if rng.random() < 0.3:
        quality = int(rng.integers(25, 90))
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = _uint8(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))
    return image


def _uint8(image: object) -> NDArray[np.uint8]:
    return np.asarray(image, dtype=np.uint8)


def _draw_from(
    rng: np.random.Generator, shares: dict[str, float], size: int
) -> tuple[NDArray[np.uint8], Labels]:
    while True:
        family = list(shares)[rng.choice(len(shares), p=list(shares.values()))]
        image, labels = draw_family_image(rng, family, (size, size))
        if labels.any():
            return image, labels


def _recorded(rng: np.random.Generator, scene: IdealImage) -> Field:
    """The scene as recorded, with brightness and contrast as an operator (mostly) sets them."""
    ideal = stretched(scene.image, low=0.3, high=99.7)
    ideal = np.clip(ideal, -0.15, 1.3)
    return expose(ideal, _displayed_within(rng, scene.optics), rng)


def _displayed_within(rng: np.random.Generator, optics: Optics) -> Optics:
    """Map the ideal image onto a part of the grey scale."""
    contrast = rng.uniform(0.35, 1.0) if rng.random() < 0.6 else rng.uniform(0.9, 1.2)
    middle = 0.5 + (0.5 - 0.5 * min(contrast, 1.0)) * rng.uniform(-1, 1)
    low, high = middle - contrast / 2, middle + contrast / 2
    inverted = optics.inverted or bool(rng.random() < 0.06)
    return replace(optics, black=float(low), white=float(high), inverted=inverted)
