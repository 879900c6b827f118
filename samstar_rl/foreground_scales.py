"""Particles of all sizes in one frame: the foreground network's maps at several magnifications.

A particle of six pixels at the size at which the network sees a whole frame has neither core nor
rim there. Where the frame has more pixels to give, the network looks at tiles of it too, and each
place takes what is said at the magnification at which its particles have a size that the network
knows well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.foreground_network import (
    MAPS,
    MIDDLE_DIAMETER_PX,
    WORKING_SHORT_SIDE_PX,
    Field,
    ForegroundMaps,
    ForegroundNetwork,
    raw_maps,
    read_maps,
    standardise,
)
from samstar_rl.reproducible import avoid_ipp

ZOOMS = (0.25, 0.5, 1.0, 2.0, 4.0)
TILE_PX = 256
OVERLAP_PX = 64
#: Diameter at which the network is surest, and the spread of its logarithm that is nearly as good:
#: on labelled frames estimates were right within 25 % most often between 16 and 80 px.
SUITING_DIAMETER_PX = 36.0
SUITING_SPREAD = 0.6
_LEAST_SUITABILITY = 1e-3
#: A level must magnify by this much more than the one before it to be worth its time.
_LEAST_STEP = 1.25
#: A tile of mere background is not stretched to more than twice the contrast of its frame.
_LEAST_SPREAD_OF_TILE = 0.5


@dataclass(frozen=True, eq=False)
class Bodies:
    """Particles as the network tells them apart, one a core.

    Parameters
    ----------
    centres_px : (N, 2) float64 array
        x, y in the frame of the pixel farthest from the core's outline.
    diameters_px : (N,) float64 array
        Equivalent diameters in px of the frame.
    """

    centres_px: NDArray[np.float64]
    diameters_px: NDArray[np.float64]

    @property
    def typical_diameter_px(self) -> float | None:
        """Median diameter, each body counting alike; None of no bodies."""
        return float(np.median(self.diameters_px)) if len(self.diameters_px) else None


def map_at_scales(
    network: ForegroundNetwork, unit: Field, *, zooms: Sequence[float] = ZOOMS
) -> ForegroundMaps:
    """The maps of an image in [0, 1] (H, W), drawn at several magnifications.

    Parameters
    ----------
    network : ForegroundNetwork
        In evaluation mode, of four maps.
    unit : (H, W) float32 array
    zooms : sequence of float
        Magnifications against the size at which the network sees a whole frame, ascending; those
        beyond the frame's own pixels are left out.

    Returns
    -------
    ForegroundMaps
        Of the size of the largest magnification that was used.

    Raises
    ------
    ValueError
        If the network's weights do not estimate diameters.
    """
    if network.maps < MAPS:
        raise ValueError(
            "these weights of the foreground network estimate no diameters: train them anew with "
            "`samstar pretrain-foreground`"
        )
    levels = [_level(network, unit, shape) for shape in _level_shapes(unit.shape, zooms)]
    height, width = levels[-1].shape[1:]
    total, weights = np.zeros((MAPS, height, width), np.float32), np.zeros((height, width))
    for level in levels:
        away = level[3] - np.log(SUITING_DIAMETER_PX / MIDDLE_DIAMETER_PX)
        suits = np.exp(-0.5 * (away / SUITING_SPREAD) ** 2) + _LEAST_SUITABILITY
        # what suits a particle's middle suits its rim as well
        suits = cv2.GaussianBlur(suits.astype(np.float32), (0, 0), 0.2 * SUITING_DIAMETER_PX)
        level[3] += np.log(height / level.shape[1])
        weight = _enlarged(suits, height, width)
        total += weight * np.stack([_enlarged(field, height, width) for field in level])
        weights += weight
    return read_maps((total / weights).astype(np.float32))


def find_bodies(maps: ForegroundMaps, shape: tuple[int, ...]) -> Bodies:
    """Tell apart the particles of a frame (H, W) by the cores and rims of its maps.

    Raises
    ------
    ValueError
        If the maps hold no diameters.
    """
    if maps.diameter_px is None or maps.rim is None:
        raise ValueError("the maps hold no diameters: they are of weights of two maps")
    cores = ((maps.core > 0.5) & (maps.rim < 0.5)).astype(np.uint8)
    count, labels = cv2.connectedComponents(cores, connectivity=4)
    order = np.argsort(cv2.distanceTransform(cores, cv2.DIST_L2, 5), axis=None)
    deepest = np.zeros(count, np.intp)
    deepest[labels.ravel()[order]] = order  # the last one written is the deepest
    rows, columns = np.unravel_index(deepest[1:], labels.shape)
    by_label = np.argsort(labels, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(labels.ravel(), minlength=count))
    logarithms = np.log(maps.diameter_px.ravel()[by_label])
    medians = [np.median(part) for part in np.split(logarithms, ends[:-1])[1:]]
    scale = np.array([shape[1] / labels.shape[1], shape[0] / labels.shape[0]])
    centres = (np.stack([columns, rows], axis=1) + 0.5) * scale
    return Bodies(centres, np.exp(np.array(medians, np.float64)) * float(np.sqrt(scale.prod())))


def _level_shapes(shape: tuple[int, ...], zooms: Sequence[float]) -> list[tuple[int, int]]:
    """Heights and widths at which the network looks at a frame (H, W), ascending."""
    shapes: list[tuple[int, int]] = []
    for zoom in zooms:
        short = min(round(WORKING_SHORT_SIDE_PX * zoom), min(shape))
        if not shapes or short >= _LEAST_STEP * min(shapes[-1]):
            scale = short / min(shape)
            shapes.append((max(round(shape[0] * scale), 8), max(round(shape[1] * scale), 8)))
    return shapes


def _level(network: ForegroundNetwork, unit: Field, shape: tuple[int, int]) -> Field:
    """What `raw_maps` gives of an image resampled to a shape, tile by tile: (4, h, w)."""
    avoid_ipp()
    height, width = shape
    image = np.asarray(cv2.resize(unit, (width, height), interpolation=cv2.INTER_AREA))
    whole = standardise(image)
    if whole is None:
        return np.zeros((MAPS, height, width), np.float32)
    if min(shape) <= WORKING_SHORT_SIDE_PX:
        return raw_maps(network, whole).copy()
    total = np.zeros((MAPS, height, width), np.float32)
    weights = np.zeros((height, width), np.float32)
    for rows in _spans(height):
        for columns in _spans(width):
            tile = whole[rows, columns]
            tile = (tile - tile.mean()) / max(float(tile.std()), _LEAST_SPREAD_OF_TILE)
            tent = np.minimum.outer(_tent(tile.shape[0]), _tent(tile.shape[1]))
            total[:, rows, columns] += tent * raw_maps(network, tile.astype(np.float32))
            weights[rows, columns] += tent
    return total / weights


def _spans(extent: int) -> list[slice]:
    """Segments of `TILE_PX` that overlap by at least `OVERLAP_PX` and end at the border."""
    side = min(TILE_PX, extent)
    count = 1 + int(np.ceil(max(extent - TILE_PX, 0) / (TILE_PX - OVERLAP_PX)))
    starts = np.rint(np.linspace(0, extent - side, count)).astype(int)
    return [slice(int(start), int(start) + side) for start in starts]


def _tent(length: int) -> Field:
    """From a small weight at the ends to 1 at half an overlap."""
    place = np.arange(length, dtype=np.float32) + 1
    return np.minimum(np.minimum(place, place[::-1]) / (OVERLAP_PX / 2), 1)


def _enlarged(field: Field, height: int, width: int) -> Field:
    if field.shape == (height, width):
        return field
    return np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR))
