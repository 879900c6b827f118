"""Prompts where particles are, instead of a regular grid of them.

Most points of a grid lie in the background, or many together in one large particle. The network
that estimates foregrounds says so before SAM is asked: each cell of the grid gets one point, at its
own place if that is in a particle, else where a particle is likeliest in the cell; empty cells get
none, and so do particles that have enough.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.foreground.network import ForegroundMaps, map_particles, packaged_network

Points = NDArray[np.float64]

LIKELY = 0.5
"""Least probability of a particle where a point is worth a prompt."""

POINTS_PER_PARTICLE = 2
"""Prompts in one particle; on real micrographs more found no more of them."""


class ParticlePoints:
    """Where the particles of a frame are likely.

    Parameters
    ----------
    unit : (H, W) float32 array
        The frame in [0, 1].
    """

    def __init__(self, unit: NDArray[np.float32]) -> None:
        self._shape = unit.shape
        # one orientation: it is to be fast, and a point may lie anywhere in its particle
        self._maps = map_particles(packaged_network(), unit, symmetries=1)

    def chosen(self, grid_px: Points, box: tuple[int, int, int, int]) -> Points:
        """Move and leave out points of a regular grid.

        Parameters
        ----------
        grid_px : (P, 2) float64 array
            Points x, y of a square grid, row by row, relative to the crop.
        box : tuple of int
            The crop in the frame, x0, y0, x1, y1 half-open.

        Returns
        -------
        (Q, 2) float64 array
            Relative to the crop, Q <= P, in the order of the grid's cells.
        """
        side = math.isqrt(len(grid_px))
        if side * side != len(grid_px):
            raise SamstarError(f"expected a square grid of points, got {len(grid_px)} points")
        scale = np.array(self._maps.probability.shape[::-1]) / np.array(self._shape[::-1])
        corners = np.reshape(box, (2, 2)) * scale
        maps = _cropped(self._maps, corners)
        size = np.array(maps.probability.shape[::-1])
        extent = np.array([box[2] - box[0], box[3] - box[1]])
        pixels = np.minimum((grid_px / extent * size).astype(np.intp), size - 1)
        staying = maps.probability[pixels[:, 1], pixels[:, 0]] > LIKELY
        best, likelihood = _best_of_cells(maps, side)
        pixels = np.where(staying[:, None], pixels, best)
        points = np.where(staying[:, None], grid_px, (best + 0.5) / size * extent)
        worth = np.flatnonzero(staying | (likelihood > LIKELY))
        return points[worth[_few_for_each_particle(maps.core, pixels[worth])]]


def _cropped(maps: ForegroundMaps, corners: NDArray[np.float64]) -> ForegroundMaps:
    height, width = maps.probability.shape
    (x0, y0), (x1, y1) = np.floor(corners[0]).astype(int), np.ceil(corners[1]).astype(int)
    rows = slice(min(y0, height - 1), max(y1, y0 + 1))
    columns = slice(min(x0, width - 1), max(x1, x0 + 1))
    return ForegroundMaps(maps.probability[rows, columns], maps.core[rows, columns])


def _best_of_cells(maps: ForegroundMaps, side: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each cell of a grid its likeliest pixel (x, y) and the probability there.

    0 for cells that are smaller than a pixel and hold none.
    """
    height, width = maps.probability.shape
    rows = np.arange(height) * side // height
    columns = np.arange(width) * side // width
    cell = (rows[:, None] * side + columns).ravel()
    # a core is preferred to a rim
    order = np.lexsort(((maps.probability + maps.core).ravel(), cell))
    last = order[np.flatnonzero(np.diff(cell[order], append=side * side))]
    best = np.zeros((side * side, 2), dtype=np.intp)
    likelihood = np.zeros(side * side, dtype=np.float32)
    best[cell[last]] = np.stack([last % width, last // width], axis=1)
    likelihood[cell[last]] = maps.probability.ravel()[last]
    return best, likelihood


def _few_for_each_particle(core: NDArray[np.float32], pixels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Indices of the points that are left when each core keeps its best ones."""
    _, labels = cv2.connectedComponents((core > LIKELY).astype(np.uint8))
    x, y = pixels.T
    particle = labels[y, x]
    order = np.lexsort((-core[y, x], particle))
    grouped = particle[order]
    place = np.arange(len(grouped)) - np.searchsorted(grouped, grouped)
    return np.sort(order[(grouped == 0) | (place < POINTS_PER_PARTICLE)])
