"""Masks as they are judged: image and mask in polar coordinates about the mask's centre.

Radii are in units of the mask's own size and greys in units of the local contrast, so that a view
does not depend on how large the mask or its frame is, or on which of both sides is the brighter.
Quarter turns of the frame shift a view, flips reverse it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl._io.opencv import avoid_ipp
from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.masks.particle_table import ParticleTable

Field = NDArray[np.float32]
Index = NDArray[np.intp]

#: Directions from a mask's centre; a multiple of 4, for quarter turns.
N_ANGLES = 32
#: Distances from the centre in radii of the disc of equal area. Farther ones would show more of the
#: neighbours, and make a mask's view depend on where the frame ends.
RADII = np.concatenate([0.125 * np.arange(18) + 0.0625, [2.4, 2.8]])
#: Channels of a view: grey and mask.
N_CHANNELS = 2
_INNER, _NEAR, _FAR = 1.0, 1.8, 3.0
_LEAST_RADIUS_PX = 1.5
_LEAST_CONTRAST = 1e-3
_MOST_DEVIATIONS = 3.0
_AREAS = (RADII * np.gradient(RADII))[:, None].astype(np.float32)
_TURNS = 2 * np.pi / N_ANGLES * np.arange(N_ANGLES)
_DOWN, _RIGHT = np.sin(_TURNS), np.cos(_TURNS)
#: Distance in radii between neighbouring samples; each is taken where a pixel is about as wide.
_PITCH = np.maximum(0.125, 0.1 * RADII)


def polar_views(
    pyramid: Pyramid, table: ParticleTable, bounds: NDArray[np.int64] | None = None
) -> Field:
    """Draw the views of all masks of a table at once.

    Parameters
    ----------
    pyramid : Pyramid
        Of the frame's normalised image.
    table : ParticleTable
        Of K masks.
    bounds : (K, 4) int array, optional
        x0, y0, x1, y1 of the part of the frame that each view may look at, half-open, as if the
        frame ended there; by default the frame. Image and mask go on beyond it as they are at its
        border.

    Returns
    -------
    (K, 2, len(RADII), N_ANGLES) float32 array
        Grey, 1 and -1 being a mask's inside and its surroundings where they differ clearly, and
        the mask's coverage in [0, 1].
    """
    avoid_ipp()
    n_masks, (height, width) = len(table), pyramid.shape
    if n_masks == 0:
        return np.zeros((0, N_CHANNELS, len(RADII), N_ANGLES), dtype=np.float32)
    if bounds is None:
        bounds = np.tile([0, 0, width, height], (n_masks, 1))
    radius = np.maximum(np.sqrt(table.area / np.pi), _LEAST_RADIUS_PX)
    reach = radius[:, None, None] * RADII[:, None]
    low, high = bounds[:, :2, None, None], bounds[:, 2:, None, None] - 1
    y = np.clip(table["centroid-0"][:, None, None] + reach * _DOWN, low[:, 1], high[:, 1])
    x = np.clip(table["centroid-1"][:, None, None] + reach * _RIGHT, low[:, 0], high[:, 0])
    level = np.floor(np.log2(np.maximum(radius[:, None] * _PITCH, 1))).astype(np.intp)
    grey = pyramid.at(np.minimum(level, pyramid.n_levels - 1)[:, :, None], y, x)
    masks = _MaskWindows.of(table, level[:, 0])
    covered = masks.at(np.arange(n_masks)[:, None, None], y, x)
    return np.stack([_in_local_contrast(grey, covered), covered], axis=1)


def _in_local_contrast(grey: Field, covered: Field) -> Field:
    """Greys about the middle of inside and surroundings, the inside above, by their spread."""
    near = (RADII < _NEAR)[:, None]
    inside = covered * _AREAS
    outside = (1 - covered) * np.where(near, _AREAS, np.float32(0))
    within = _mean(grey, inside)
    around = _mean(grey, outside)
    sign = np.where(within >= around, 1, -1).astype(np.float32)
    middle = (within + around) / 2
    shown = np.broadcast_to(np.where((RADII < _FAR)[:, None], _AREAS, np.float32(0)), grey.shape)
    spread = np.sqrt(_mean((grey - middle) ** 2, shown))
    deviation = (grey - middle) * (sign / np.maximum(spread, _LEAST_CONTRAST))
    return np.clip(deviation, -_MOST_DEVIATIONS, _MOST_DEVIATIONS).astype(np.float32)


def _mean(values: NDArray[np.floating], weights: NDArray[np.floating]) -> Field:
    """Weighted mean of each view, (K, 1, 1)."""
    total = (values * weights).sum(axis=(1, 2), keepdims=True)
    return np.asarray(total / np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1e-6))


class Pyramid:
    """An image at full size, half of it and so on, to be sampled at any place of any level.

    Parameters
    ----------
    image : (H, W) float32 array
    """

    def __init__(self, image: Field) -> None:
        if image.ndim != 2 or image.size == 0:
            raise SamstarError(f"expected a grey image (H, W), got the shape {image.shape}")
        avoid_ipp()
        levels = [np.ascontiguousarray(image, dtype=np.float32)]
        while min(levels[-1].shape) >= 8:
            height, width = levels[-1].shape
            half = (-(-width // 2), -(-height // 2))
            levels.append(np.asarray(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA)))
        self.shape = image.shape
        self.n_levels = len(levels)
        self._grids = _Grids.of(levels)
        self._scale = np.array([np.divide(image.shape, one.shape) for one in levels])

    def at(self, level: Index, y: NDArray[np.float64], x: NDArray[np.float64]) -> Field:
        """Sample the image between pixels.

        Parameters
        ----------
        level : int array
            How often the image is halved, for each place.
        y, x : arrays
            Rows and columns in px of the full size; the three shapes go together.

        Returns
        -------
        float32 array
            Of their common shape.
        """
        scale = self._scale[level]
        return self._grids.at(
            level, (y + 0.5) / scale[..., 0] - 0.5, (x + 0.5) / scale[..., 1] - 0.5
        )


@dataclass(frozen=True, eq=False)
class _Grids:
    """Images of different shapes one after the other, sampled together."""

    values: Field
    first: Index
    height: Index
    width: Index

    @classmethod
    def of(cls, images: list[Field]) -> _Grids:
        height, width = np.array([image.shape for image in images]).T
        first = np.cumsum(height * width) - height * width
        return cls(np.concatenate([image.ravel() for image in images]), first, height, width)

    def at(self, number: Index, y: NDArray[np.float64], x: NDArray[np.float64]) -> Field:
        """Values between pixels of the images of these numbers, those at a border going on."""
        height, width, first = self.height[number], self.width[number], self.first[number]
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        top, left = y.astype(np.intp), x.astype(np.intp)
        down, right = (y - top).astype(np.float32), (x - left).astype(np.float32)
        here = first + top * width + left
        to_right = (left < width - 1).astype(np.intp)
        below = here + np.where(top < height - 1, width, 0)
        upper = self.values[here] * (1 - right) + self.values[here + to_right] * right
        lower = self.values[below] * (1 - right) + self.values[below + to_right] * right
        return upper * (1 - down) + lower * down


@dataclass(frozen=True, eq=False)
class _MaskWindows:
    """Masks in their boxes, each shrunk until a pixel is as wide as its view needs."""

    grids: _Grids
    corner: NDArray[np.int32]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, table: ParticleTable, level: Index) -> _MaskWindows:
        store, windows, scales = table.store, [], []
        for mask_id, by in zip(table.ids.tolist(), level.tolist(), strict=True):
            window = store.window(mask_id).astype(np.float32)
            height, width = window.shape
            if by and min(height, width) > 0:
                size = (max(width >> by, 1), max(height >> by, 1))
                window = np.asarray(cv2.resize(window, size, interpolation=cv2.INTER_AREA))
            h, w = window.shape
            scales.append((height / h, width / w) if h and w else (1.0, 1.0))
            # a margin of nothing, so that what lies outside of the box is outside of the mask
            windows.append(np.pad(window, 1))
        return cls(_Grids.of(windows), store.boxes[table.ids, 1::-1], np.array(scales))

    def at(self, number: Index, y: NDArray[np.float64], x: NDArray[np.float64]) -> Field:
        """How much of the masks covers places of the frame."""
        corner, scale = self.corner[number], self.scale[number]
        rows = (y - corner[..., 0] + 0.5) / scale[..., 0] + 0.5
        columns = (x - corner[..., 1] + 0.5) / scale[..., 1] + 0.5
        return self.grids.at(number, rows, columns)
