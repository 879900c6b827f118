"""What microscopes and journals do to a micrograph, applied to training crops.

Images are (H, W) uint8, labels (H, W) int32 with 0 as background. All functions take both, and
return both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.simulator.annotations import annotate

Image = NDArray[np.uint8]
Intensity = NDArray[np.float32]
Labels = NDArray[np.int32]

SMALLEST_CROP_PX = 100
"""Shortest window that is blown up to the network's input: with whole frames of 800 px at the other
end this spans the factor of 8 in magnification."""

LARGEST_ZOOM = 6.0
SMALLEST_SHOWN_PX = 8.0
"""Diameter in a view below which a gaze would look more closely, if it can."""


def letterbox(image: Image, labels: Labels, size: int) -> tuple[Image, Labels]:
    """Scale the long side of a crop, as SAM does.

    Parameters
    ----------
    image, labels : arrays
    size : int
        Of the long side in px.

    Returns
    -------
    image, labels : arrays
        The other side is shorter, unpadded.
    """
    height, width = image.shape
    scale = size / max(height, width)
    return resize(image, labels, int(height * scale + 0.5), int(width * scale + 0.5))


def resize(image: Image, labels: Labels, height: int, width: int) -> tuple[Image, Labels]:
    """Resample the image by area or linearly, the labels by nearest neighbour.

    Parameters
    ----------
    image, labels : arrays
    height, width : int
        Of the result in px.

    Returns
    -------
    image, labels : (height, width) arrays
    """
    shrinks = width < image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    # OpenCV resamples no int32; float32 is exact for up to 2^24 labels
    nearest = cv2.resize(
        labels.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
    )
    return resized, nearest.astype(np.int32)


def pad(image: Image, labels: Labels, size: int) -> tuple[Image, Labels]:
    """Pad with zeros at the right and below to a square.

    Parameters
    ----------
    image, labels : arrays
    size : int
        Side of the square in px.

    Returns
    -------
    image, labels : (size, size) arrays
    """
    height, width = image.shape
    margins = ((0, size - height), (0, size - width))
    return np.pad(image, margins), np.pad(labels, margins)


def whole_view(
    rng: np.random.Generator, image: Image, labels: Labels, size: int
) -> tuple[Image, Labels]:
    """The whole frame, turned by quarters and mirrored at random.

    Parameters
    ----------
    rng : numpy.random.Generator
    image, labels : (height, width) arrays
        At most `size` px on either side.
    size : int
        Side of the square in px.

    Returns
    -------
    image, labels : (size, size) arrays
    """
    return letterbox(*_random_symmetry(rng, image, labels), size)


def random_view(
    rng: np.random.Generator, image: Image, labels: Labels, size: int
) -> tuple[Image, Labels]:
    """Take a whole frame in three of ten cases, else a rotated, scaled and mirrored window.

    Parameters
    ----------
    rng : numpy.random.Generator
    image, labels : arrays
    size : int
        Of the long side in px.

    Returns
    -------
    image, labels : arrays
    """
    if rng.random() < 0.3:
        return whole_view(rng, image, labels, size)
    longest = max(SMALLEST_CROP_PX + 1, min(image.shape) * 1.1)
    side = np.exp(rng.uniform(np.log(SMALLEST_CROP_PX), np.log(longest)))
    return window(rng, image, labels, side, size)


def tile_view(
    rng: np.random.Generator, image: Image, labels: Labels, size: int
) -> tuple[Image, Labels]:
    """A tile as a gaze at a zoom from 1 to 6 cuts it, around an instance drawn at random.

    The tile's side is the frame's long side over the zoom, plus an overlap of up to a third. It
    lies within the frame; the instance and its neighbours may be cut by its borders. The zoom is
    such that the instance measures between 8 px and half the view. A frame without instances is
    shown whole.

    Parameters
    ----------
    rng : numpy.random.Generator
    image, labels : arrays
    size : int
        Long side of the view in px.

    Returns
    -------
    image, labels : arrays
        The tile, scaled so that its long side is `size`, turned by quarters and mirrored at random.
    """
    areas = np.bincount(labels.ravel())
    instances = np.flatnonzero(areas[1:]) + 1
    if not len(instances):
        return whole_view(rng, image, labels, size)
    instance = int(rng.choice(instances))
    longest = max(image.shape)
    shown_px = np.sqrt(4 / np.pi * areas[instance]) * size / longest
    lowest = float(np.clip(SMALLEST_SHOWN_PX / shown_px, 1, LARGEST_ZOOM))
    highest = float(np.clip(0.5 * size / shown_px, lowest, LARGEST_ZOOM))
    # the exponent favours close looks, at which touching particles part
    zoom = lowest * (highest / lowest) ** float(rng.random() ** 0.7)
    side = min(round(longest / zoom * (1 + rng.uniform(0, 0.35))), longest)
    rows, columns = np.nonzero(labels == instance)
    inside = int(rng.integers(len(rows)))
    box = [
        _segment_around(rng, int(where), side, extent)
        for where, extent in zip((rows[inside], columns[inside]), image.shape, strict=True)
    ]
    return letterbox(*_random_symmetry(rng, image[box[0], box[1]], labels[box[0], box[1]]), size)


def bend(rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
    """Warp a crop smoothly, so that no particle keeps the shape it was labelled with.

    Parameters
    ----------
    rng : numpy.random.Generator
    image, labels : (H, W) arrays

    Returns
    -------
    image, labels : (H, W) arrays
        What comes from outside the crop is its reflection.
    """
    height, width = image.shape
    knots = int(rng.integers(4, 9))
    reach_px = rng.uniform(0.1, 0.35) * max(height, width) / knots
    shifts = rng.uniform(-1, 1, (2, knots, knots)).astype(np.float32) * np.float32(reach_px)
    dy, dx = (cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in shifts)
    rows = np.arange(height, dtype=np.float32)[:, None] + dy
    columns = np.arange(width, dtype=np.float32)[None] + dx
    border = cv2.BORDER_REFLECT_101
    bent = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=border)
    bent_labels = cv2.remap(
        labels.astype(np.float32), columns, rows, cv2.INTER_NEAREST, borderMode=border
    )
    return bent, bent_labels.astype(np.int32)


def paste_instances(
    rng: np.random.Generator, image: Image, labels: Labels, other: Image, other_labels: Labels
) -> tuple[Image, Labels]:
    """Lay some instances of another crop over this one, as new neighbours and on a new ground.

    They keep their contrast against their own background. What they cover in part keeps its label
    where it is still seen.

    Parameters
    ----------
    rng : numpy.random.Generator
    image, labels : (H, W) arrays
    other, other_labels : arrays
        Of a crop of about the same size; the part that both have is used.

    Returns
    -------
    image, labels : (H, W) arrays
    """
    height = min(image.shape[0], other.shape[0])
    width = min(image.shape[1], other.shape[1])
    other, other_labels = other[:height, :width], other_labels[:height, :width]
    present = np.unique(other_labels)
    present = present[present > 0]
    ground = other[other_labels == 0]
    here = image[labels == 0]
    if not len(present) or not len(ground) or not len(here):
        return image, labels
    chosen = present[rng.random(len(present)) < rng.uniform(0.15, 0.7)]
    on_top = np.isin(other_labels, chosen)
    # a soft seam, as a microscope would show it
    weight = cv2.GaussianBlur(on_top.astype(np.float32), (0, 0), rng.uniform(0.5, 1.2))
    offset = float(np.median(here)) - float(np.median(ground))
    moved = np.clip(other.astype(np.float32) + offset, 0, 255)
    image, labels = image.copy(), labels.copy()
    part = image[:height, :width]
    part[:] = np.rint(part + weight * (moved - part))
    labels[:height, :width][on_top] = other_labels[on_top] + labels.max()
    return image, labels


def mosaic(parts: Sequence[tuple[Image, Labels]], size: int) -> tuple[Image, Labels]:
    """Put square views side by side, as a frame of many small particles.

    Parameters
    ----------
    parts : sequence of (image, labels)
        A square number of views, each at most ``size // sqrt(len(parts))`` px on a side.
    size : int
        Side of the result in px.

    Returns
    -------
    image, labels : (size, size) arrays
        Instances of different parts have different labels. What the parts leave free is their mean
        grey.
    """
    across = math.isqrt(len(parts))
    step = size // across
    image = np.full((size, size), np.mean([part.mean() for part, _ in parts]), np.uint8)
    labels = np.zeros((size, size), np.int32)
    highest = 0
    for number, (part, part_labels) in enumerate(parts):
        top, left = (step * place for place in divmod(number, across))
        height, width = part.shape
        image[top : top + height, left : left + width] = part
        labels[top : top + height, left : left + width] = np.where(
            part_labels > 0, part_labels + highest, 0
        )
        highest += int(part_labels.max())
    return image, labels


def random_rendering(rng: np.random.Generator, image: Image) -> Image:
    """Equalise, sharpen or retexture a crop, each in some cases.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : (H, W) uint8 array

    Returns
    -------
    (H, W) uint8 array
    """
    if rng.random() < 0.08:  # as published pictures often are
        image = cv2.createCLAHE(rng.uniform(1, 5), (int(rng.integers(2, 9)),) * 2).apply(image)
    if rng.random() < 0.1:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2))
        share = rng.uniform(0.3, 1.5)
        image = cv2.addWeighted(image, 1 + share, soft, -share, 0)
    if rng.random() < 0.25:
        textured = random_texture(rng, image.astype(np.float32) / np.float32(255))
        image = np.rint(255 * np.clip(textured, 0, 1)).astype(np.uint8)
    return image


def random_texture(rng: np.random.Generator, intensity: Intensity) -> Intensity:
    """Mix a crop with its convolution by a small random kernel, at its own mean and contrast.

    Shapes stay, textures and edges become others: Z. Xu et al., "Robust and generalizable visual
    representation learning via random convolutions", ICLR 2021.

    Parameters
    ----------
    rng : numpy.random.Generator
    intensity : (H, W) float32 array

    Returns
    -------
    (H, W) float32 array
    """
    side = int(rng.choice([3, 3, 5, 7]))
    kernel = rng.standard_normal((side, side)).astype(np.float32)
    convolved = cv2.filter2D(intensity, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    convolved -= convolved.mean()
    convolved *= intensity.std() / max(float(convolved.std()), 1e-6)
    share = np.float32(rng.uniform(0.1, 0.7))
    mixed: Intensity = (1 - share) * intensity + share * (convolved + intensity.mean())
    return mixed


def random_exposure(rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
    """Change contrast, illumination, focus, noise and annotations of a crop.

    Parameters
    ----------
    rng : numpy.random.Generator
    image, labels : arrays

    Returns
    -------
    image, labels : arrays
        Annotations are background.
    """
    intensity: Intensity = image.astype(np.float32) / np.float32(255)
    if rng.random() < 0.8:
        low, high = np.percentile(intensity[::4, ::4], [0.5, 99.5])
        stretched = np.clip((intensity - low) / max(high - low, 1e-3), 0, 1.2)
        stretched **= np.exp(rng.normal(0, 0.3))  # gamma
        if rng.random() < 0.2:
            stretched = 1 - stretched
        contrast = rng.uniform(0.35, 1.0)
        brightness = rng.uniform(0.5 * contrast, 1 - 0.5 * contrast)
        intensity = (stretched - 0.5) * contrast + brightness
    if rng.random() < 0.25:
        height, width = intensity.shape
        angle = rng.uniform(0, 2 * np.pi)
        rows: Intensity = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
        columns: Intensity = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None]
        ramp: Intensity = np.float32(np.cos(angle)) * columns + np.float32(np.sin(angle)) * rows
        intensity = intensity + np.float32(rng.uniform(0, 0.35)) * ramp
    if rng.random() < 0.25:
        intensity = cv2.GaussianBlur(intensity, (0, 0), rng.uniform(0.4, 1.4))
    if rng.random() < 0.6:
        noise = rng.standard_normal(intensity.shape, dtype=np.float32)
        if rng.random() < 0.3:  # correlated, as after resampling or a slow scan
            noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * 2
        if rng.random() < 0.5:  # Poisson: grows with the square root of the dose
            noise *= 1.3 * np.sqrt(np.clip(intensity, 0.05, 1))
        intensity = intensity + rng.uniform(0, 0.09) * noise
    if rng.random() < 0.08:
        offsets = rng.standard_normal((intensity.shape[0], 1), dtype=np.float32)
        intensity = intensity + rng.uniform(0.02, 0.08) * cv2.GaussianBlur(offsets, (0, 0), 1.0)
    exposed = (np.clip(intensity, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.12:
        exposed, labels = exposed.copy(), labels.copy()
        annotate(rng, exposed, labels)
    return exposed, labels


def _random_symmetry(
    rng: np.random.Generator, image: Image, labels: Labels
) -> tuple[Image, Labels]:
    quarter_turns = int(rng.integers(4))
    image, labels = np.rot90(image, quarter_turns), np.rot90(labels, quarter_turns)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _segment_around(rng: np.random.Generator, place: int, side: int, extent: int) -> slice:
    """A segment of `side` px within the extent that holds the place."""
    lowest, highest = max(place - side + 1, 0), min(place, max(extent - side, 0))
    start = int(rng.integers(min(lowest, highest), highest + 1))
    return slice(start, min(start + side, extent))


def window(
    rng: np.random.Generator, image: Image, labels: Labels, side: float, size: int
) -> tuple[Image, Labels]:
    """Take a rotated and mirrored square window around a random centre.

    What lies outside the image is its reflection.

    Parameters
    ----------
    rng : numpy.random.Generator
    image, labels : arrays
    side : float
        Of the window in the image, in px.
    size : int
        Side of the result in px.

    Returns
    -------
    image, labels : (size, size) arrays
    """
    # the affine map from the frame to a window of `side` px around a random centre
    degrees = rng.uniform(0, 360) if rng.random() < 0.5 else 90.0 * rng.integers(4)
    transform = cv2.getRotationMatrix2D((0.0, 0.0), degrees, size / side)
    if rng.random() < 0.5:
        transform[0] *= -1
    transform[0] *= np.exp(rng.normal(0, 0.1))  # aspect ratio
    centre = [rng.uniform(min(0.4 * side, n / 2), max(n - 0.4 * side, n / 2)) for n in image.shape]
    transform[:, 2] = size / 2 - transform[:, :2] @ np.array(centre[::-1])
    zoom = size / side
    if zoom < 1:  # against aliasing
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / zoom)
    # reflection keeps a corner outside the frame from becoming a black wedge
    view = cv2.warpAffine(
        image, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    view_labels = cv2.warpAffine(
        labels.astype(np.float32),
        transform,
        (size, size),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return view, view_labels.astype(np.int32)
