"""Grains and cells: regions that tile the plane, with boundaries between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from samstar_rl.simulator.texture import Field, smooth

Labels = NDArray[np.int32]

_CELL_PX = 4
_CANDIDATES = 6
_SMALLEST_AREA_PX = 12


@dataclass(frozen=True, eq=False)
class Tiling:
    """Regions of the plane and how far each pixel is from a boundary.

    Parameters
    ----------
    region : (H, W) int32 array
        Index of the seed whose region a pixel belongs to.
    gap_px : (H, W) float32 array
        Distance from the boundary to the nearest other region: exactly 0 on it, in px.
    """

    region: Labels
    gap_px: Field


def tessellate(seeds: NDArray[np.float64], warp_x: Field, warp_y: Field) -> Tiling:
    """Divide a plane into the Voronoi regions of seeds.

    Coordinates that are bent by smooth noise give the curved boundaries of real grains. The
    distance from the bisector of two seeds is (b^2 - a^2) / 2|AB|, with the distances a and b.

    Parameters
    ----------
    seeds : (N, 2) or (N, 3) array
        x, y; a third number is a height above the plane, which shrinks the region (power diagram).
    warp_x, warp_y : (H, W) array
        Where in the plane each pixel lies.

    Returns
    -------
    Tiling
    """
    x, y = np.asarray(warp_x, np.float32), np.asarray(warp_y, np.float32)
    nearest, second = (np.full(x.shape, np.inf, np.float32) for _ in range(2))
    owner, neighbour = (np.zeros(x.shape, np.int32) for _ in range(2))
    places = seeds.astype(np.float32)
    for candidate in _candidates(seeds, x, y):
        # the squared distance from the seed, height included
        power = (x - places[candidate, 0]) ** 2 + (y - places[candidate, 1]) ** 2
        if seeds.shape[1] == 3:
            power = power + places[candidate, 2] ** 2
        wins, follows = power < nearest, power < second
        neighbour = np.where(wins, owner, np.where(follows, candidate, neighbour))
        second = np.where(wins, nearest, np.minimum(power, second))
        owner = np.where(wins, candidate, owner)
        nearest = np.minimum(power, nearest)
    between = np.hypot(*(places[owner, axis] - places[neighbour, axis] for axis in (0, 1)))
    gap = (second - nearest) / (2 * np.maximum(between, np.float32(1e-6)))
    return Tiling(region=owner, gap_px=gap.astype(np.float32))


def _candidates(seeds: NDArray[np.float64], x: Field, y: Field) -> Iterator[Labels]:
    """For each pixel some seeds among which its two nearest are.

    The tree is asked for one pixel of each small cell; the others of the cell share its answer,
    which has room for the few seeds that come nearer within so short a way.
    """
    height, width = x.shape
    rows = np.minimum(np.arange(0, height, _CELL_PX) + _CELL_PX // 2, height - 1)
    columns = np.minimum(np.arange(0, width, _CELL_PX) + _CELL_PX // 2, width - 1)
    where = np.stack([x[np.ix_(rows, columns)], y[np.ix_(rows, columns)]], axis=2)
    if seeds.shape[1] == 3:
        where = np.concatenate([where, np.zeros((*where.shape[:2], 1), np.float32)], axis=2)
    _, found = cKDTree(seeds).query(where, k=range(1, min(_CANDIDATES, len(seeds)) + 1))
    for rank in range(found.shape[2]):
        cells = found[:, :, rank].astype(np.int32)
        yield cells.repeat(_CELL_PX, axis=0).repeat(_CELL_PX, axis=1)[:height, :width]


def bent_coordinates(
    rng: np.random.Generator, shape: tuple[int, int], *, bend_px: float, grain_px: float
) -> tuple[Field, Field]:
    """Compute the coordinates of the pixel centres, displaced by smooth noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Height and width in px.
    bend_px : float
        Standard deviation of the displacements in px.
    grain_px : float
        Width of their bumps in px.

    Returns
    -------
    two (H, W) float32 arrays
        x and y in px.
    """
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + np.float32(0.5)
    if bend_px:
        x = x + np.float32(bend_px) * smooth(rng, shape, grain_px)
        y = y + np.float32(bend_px) * smooth(rng, shape, grain_px)
    return x, y


def region_labels(tiling: Tiling, boundary_px: float, kept: NDArray[np.bool_]) -> Labels:
    """Label the regions of a tiling.

    Parameters
    ----------
    tiling : Tiling
    boundary_px : float
        Full width of the boundaries, which are background.
    kept : (N,) bool array
        Which regions are labelled.

    Returns
    -------
    (H, W) int32 array
        0 is background.
    """
    labels = np.where(kept[tiling.region], tiling.region + 1, 0)
    return np.where(tiling.gap_px < boundary_px / 2, 0, labels).astype(np.int32)


def dense_labels(labels: Labels) -> Labels:
    """Labels 1 to N without gaps, instances of fewer than 12 visible pixels left out."""
    areas = np.bincount(labels.ravel())
    kept = areas >= _SMALLEST_AREA_PX
    kept[0] = False
    lookup = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return np.asarray(lookup[labels], dtype=np.int32)
