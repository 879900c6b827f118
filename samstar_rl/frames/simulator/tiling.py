"""Grains and cells: regions that tile the plane, with boundaries between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from samstar_rl.frames.simulator.texture import Field, smooth

Labels = NDArray[np.int32]


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
    """Voronoi regions of seeds (N, 2), of which the pixels lie at (warp_x, warp_y).

    Coordinates that are bent by smooth noise give the curved boundaries of real grains. The
    distance from the bisector of two seeds is (b^2 - a^2) / 2|AB|, with the distances a and b.
    Seeds (N, 3) have a height above the plane, which shrinks their region (power diagram).
    """
    x, y = np.asarray(warp_x, np.float32), np.asarray(warp_y, np.float32)
    nearest, second = (np.full(x.shape, np.inf, np.float32) for _ in range(2))
    owner, neighbour = (np.zeros(x.shape, np.int32) for _ in range(2))
    reach, bend = _reach(seeds, x, y)
    for index, window in _windows(seeds, x.shape, reach + bend):
        height = seeds[index, 2] if seeds.shape[1] == 3 else 0.0
        power = (x[window] - np.float32(seeds[index, 0])) ** 2
        power += (y[window] - np.float32(seeds[index, 1])) ** 2 + np.float32(height**2)
        rows, columns = np.nonzero(power < second[window])
        power = power[rows, columns]
        rows += window[0].start
        columns += window[1].start
        wins = power < nearest[rows, columns]
        neighbour[rows, columns] = np.where(wins, owner[rows, columns], index)
        second[rows, columns] = np.where(wins, nearest[rows, columns], power)
        owner[rows[wins], columns[wins]] = index
        nearest[rows[wins], columns[wins]] = power[wins]
    step = seeds[owner, :2] - seeds[neighbour, :2]
    between = np.sqrt((step**2).sum(axis=2))
    gap = (second - nearest) / (2 * np.maximum(between, 1e-6))
    return Tiling(region=owner, gap_px=gap.astype(np.float32))


def _reach(seeds: NDArray[np.float64], x: Field, y: Field) -> tuple[float, float]:
    """How far from a pixel its two nearest seeds can be, and the largest bend, in px.

    Asked of every eighth pixel only; the rest can differ by their distance and their bend.
    """
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]]
    bend = float(np.maximum(np.abs(x - columns), np.abs(y - rows)).max())
    where = np.stack([x[::8, ::8].ravel(), y[::8, ::8].ravel()], axis=1)
    if seeds.shape[1] == 3:
        where = np.column_stack([where, np.zeros(len(where), np.float32)])
    distance, _ = cKDTree(seeds).query(where, k=2)
    return float(distance[:, 1].max()) + 10 + 2 * bend, bend


def _windows(
    seeds: NDArray[np.float64], shape: tuple[int, int], reach: float
) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Each seed's index and the box of pixels that may belong to it."""
    height, width = shape
    for index in range(len(seeds)):
        left, right = int(seeds[index, 0] - reach), int(seeds[index, 0] + reach) + 2
        top, bottom = int(seeds[index, 1] - reach), int(seeds[index, 1] + reach) + 2
        if right > 0 and bottom > 0 and left < width and top < height:
            yield index, (slice(max(top, 0), bottom), slice(max(left, 0), right))


def bent_coordinates(
    rng: np.random.Generator, shape: tuple[int, int], *, bend_px: float, grain_px: float
) -> tuple[Field, Field]:
    """Coordinates of the pixel centres, displaced by smooth noise of the given std and grain."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + np.float32(0.5)
    if bend_px:
        x = x + np.float32(bend_px) * smooth(rng, shape, grain_px)
        y = y + np.float32(bend_px) * smooth(rng, shape, grain_px)
    return x, y


def region_labels(tiling: Tiling, boundary_px: float, kept: NDArray[np.bool_]) -> Labels:
    """Labels of the regions, without the boundary of the given full width and what is not kept."""
    labels = np.where(kept[tiling.region], tiling.region + 1, 0)
    return np.where(tiling.gap_px < boundary_px / 2, 0, labels).astype(np.int32)
