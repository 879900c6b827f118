"""The pictures of a frame that SAM encodes: the whole frame, and tiles of it at a zoom."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from samstar_rl.settings import ZOOMS

Boxes = NDArray[np.int64]

LEAST_SEEN_PX = 10
"""Width in SAM's picture below which particles are mostly not found."""
SMALLEST_TILE_PX = 64
LEAST_OVERLAP = 0.1
"""Neighbouring tiles share at least this part of the distance between them."""
MOST_OVERLAP = 0.5
WIDEST_IN_TILE = 0.5
"""Bodies wider than this part of a tile are looked at in the whole frame."""


def tile_pitch_px(shape: tuple[int, int], zoom: float) -> float:
    """Distance of neighbouring tiles: the frame's long side over the zoom, at least 64 px."""
    return max(max(shape) / zoom, float(SMALLEST_TILE_PX))


def tile_boxes(shape: tuple[int, int], zoom: float, largest_px: float) -> Boxes:
    """Lay square tiles over a frame, row by row.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the frame in px.
    zoom : float
        At 1, or where one tile would hold the frame, there are none.
    largest_px : float
        Diameter of the largest particle that is looked at in tiles: neighbouring tiles overlap by
        at least as much, so that it lies whole in one of them, within `LEAST_OVERLAP` and
        `MOST_OVERLAP` of their distance.

    Returns
    -------
    (T, 4) int array
        x0, y0, x1, y1 of each tile in px, half-open.
    """
    pitch = tile_pitch_px(shape, zoom)
    if zoom <= 1 or pitch >= max(shape):
        return np.zeros((0, 4), dtype=np.int64)
    overlap = min(max(largest_px, LEAST_OVERLAP * pitch), MOST_OVERLAP * pitch)
    side = math.ceil(pitch + overlap)
    rows, columns = (_starts(length, pitch, side) for length in shape)
    return np.array(
        [(x, y, min(x + side, shape[1]), min(y + side, shape[0])) for y in rows for x in columns],
        dtype=np.int64,
    )


def _starts(length: int, pitch: float, side: int) -> list[int]:
    """Where tiles begin along one side of the frame, spread evenly from end to end."""
    if length <= side:
        return [0]
    count = max(math.ceil(length / pitch - 1e-9), 2)
    return [round(k * (length - side) / (count - 1)) for k in range(count)]


def deepest_tile(boxes: Boxes, points_xy: NDArray[np.float64], shape: tuple[int, int]) -> Boxes:
    """Find the tile in which each point lies farthest from borders that are not the frame's.

    Parameters
    ----------
    boxes : (T, 4) int array
        As `tile_boxes` gives them, T at least 1.
    points_xy : (P, 2) float array
        In px of the frame.
    shape : tuple of int
        Height and width of the frame.

    Returns
    -------
    (P,) int array
        Numbers of tiles.
    """
    inner = boxes.astype(np.float64)
    # the frame's own border cuts every view alike: it is no reason to prefer another tile
    inner[inner[:, 0] <= 0, 0] = -np.inf
    inner[inner[:, 1] <= 0, 1] = -np.inf
    inner[inner[:, 2] >= shape[1], 2] = np.inf
    inner[inner[:, 3] >= shape[0], 3] = np.inf
    x, y = points_xy[:, :1], points_xy[:, 1:]
    depth = np.minimum.reduce([x - inner[:, 0], y - inner[:, 1], inner[:, 2] - x, inner[:, 3] - y])
    return np.asarray(depth.argmax(axis=1))


def closer_zoom(
    diameter_px: float,
    shape: tuple[int, int],
    zoom: float,
    picture_px: int,
    least_px: float = LEAST_SEEN_PX,
) -> float | None:
    """The zoom that particles need to be seen by SAM, where that in use is too small.

    Parameters
    ----------
    diameter_px : float
        Of a usual particle, in px of the frame.
    shape : tuple of int
        Height and width of the frame in px.
    zoom : float
        That is in use.
    picture_px : int
        Side of SAM's picture.
    least_px : float
        Width in SAM's picture from which a particle is not too small.

    Returns
    -------
    float or None
        The smallest zoom at which the particle is ``least_px`` wide, or the largest there is.
    """
    seen_px = diameter_px * picture_px / max(shape)
    if seen_px * zoom >= least_px:
        return None
    most = max(shape) / SMALLEST_TILE_PX
    larger = [z for z in ZOOMS if zoom < z <= most]
    enough = [z for z in larger if seen_px * z >= least_px]
    return min(enough) if enough else max(larger, default=None)
