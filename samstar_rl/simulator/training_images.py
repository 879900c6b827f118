"""Single images of maximal variety, from which a small SAM learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.simulator import agglomerates, image_families, packed
from samstar_rl.simulator.annotations import annotate
from samstar_rl.simulator.image_families import IdealImage
from samstar_rl.simulator.optics import expose, stretched, to_uint8
from samstar_rl.simulator.texture import Shape
from samstar_rl.simulator.tiling import dense_labels

Labels = NDArray[np.int32]

#: name -> what draws it, its share of the training images, and that of the wide ones.
# Dense and touching groups are what a small network finds hardest, so they are drawn most; a wide
# image is a survey at low magnification, with bodies of 14 to 64 px by the hundred.
_FAMILIES: dict[str, tuple[Callable[[np.random.Generator, Shape], IdealImage], float, float]] = {
    "scattered": (image_families.scattered, 0.09, 0.0),
    "aggregates": (image_families.aggregates, 0.08, 0.0),
    "clouds": (image_families.clouds, 0.04, 0.0),
    "monolayer": (image_families.monolayer, 0.07, 0.0),
    "dense": (image_families.dense, 0.07, 0.0),
    "pile": (image_families.pile, 0.05, 0.0),
    "mixture": (image_families.mixture, 0.05, 0.0),
    "beside_large": (image_families.beside_large, 0.05, 0.0),
    "large_bodies": (image_families.large_bodies, 0.05, 0.0),
    "rods": (image_families.rods, 0.04, 0.0),
    "decorated": (image_families.decorated, 0.03, 0.0),
    "core_shell": (image_families.core_shell, 0.02, 0.0),
    "vesicles": (image_families.vesicles, 0.02, 0.0),
    "atoms": (image_families.atoms, 0.02, 0.0),
    "grains": (image_families.grains, 0.02, 0.0),
    "cells": (image_families.cells, 0.02, 0.0),
    "agglomerates": (agglomerates.agglomerates, 0.09, 0.42),
    "powder": (agglomerates.powder, 0.05, 0.16),
    "packed_rods": (packed.packed_rods, 0.05, 0.16),
    "platelets": (packed.platelets, 0.02, 0.06),
    "chains": (packed.chains, 0.02, 0.07),
    "coated": (packed.coated, 0.02, 0.07),
    "low_dose_atoms": (packed.low_dose_atoms, 0.01, 0.0),
    "thin_walls": (packed.thin_walls, 0.02, 0.06),
}
FAMILIES = tuple(_FAMILIES)
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
    return _draw_one(rng, size, wide=False)


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
    return _draw_one(rng, size, wide=True)


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
    scene = _FAMILIES[family][0](rng, shape)
    ideal = np.clip(stretched(scene.image, low=0.3, high=99.7), -0.15, 1.3)
    # brightness and contrast as an operator (mostly) sets them: a part of the grey scale
    contrast = rng.uniform(0.35, 1.0) if rng.random() < 0.6 else rng.uniform(0.9, 1.2)
    middle = 0.5 + (0.5 - 0.5 * min(contrast, 1.0)) * rng.uniform(-1, 1)
    low, high = middle - contrast / 2, middle + contrast / 2
    inverted = scene.optics.inverted or bool(rng.random() < 0.06)
    optics = replace(scene.optics, black=float(low), white=float(high), inverted=inverted)
    image = to_uint8(expose(ideal, optics, rng))
    labels = scene.labels.copy()
    if rng.random() < _ANNOTATED:
        annotate(rng, image, labels)
    return _published(rng, image), dense_labels(labels)


def _published(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image after a journal: sometimes scaled down and up again, sharpened, or JPEG-coded."""
    height, width = image.shape
    if rng.random() < 0.15:
        scale = rng.uniform(0.5, 0.9)
        small = (max(int(scale * width), 8), max(int(scale * height), 8))
        shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.1:
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        image = cv2.addWeighted(image, 1.8, soft, -0.8, 0)
    if rng.random() < 0.3:
        quality = int(rng.integers(25, 90))
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return image


def _draw_one(
    rng: np.random.Generator, size: int, *, wide: bool
) -> tuple[NDArray[np.uint8], Labels]:
    """An image of any family, in their shares, with at least one instance."""
    shares = [in_wide if wide else share for _, share, in_wide in _FAMILIES.values()]
    while True:
        family = FAMILIES[rng.choice(len(FAMILIES), p=shares)]
        image, labels = draw_family_image(rng, family, (size, size))
        if labels.any():
            return image, labels
