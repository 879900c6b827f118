"""Where particles lie: scattered, clustered, aggregated, packed. Any unit of length.

Each function takes a random generator, diameters (N,) and the extent (width, height) of the field,
and returns positions (N, 2) as x, y; particles that found no place are NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Points = NDArray[np.float64]
Extent = tuple[float, float]


def lognormal_diameters(
    rng: np.random.Generator, count: int, *, mean: float, sigma_log: float
) -> Points:
    """Draw diameters from a lognormal distribution.

    Parameters
    ----------
    rng : numpy.random.Generator
    count : int
    mean : float
        Mean diameter, in any unit; the median is mean * exp(-sigma_log^2 / 2).
    sigma_log : float
        Standard deviation of ln d.

    Returns
    -------
    (count,) float64 array
    """
    median = mean * np.exp(-(sigma_log**2) / 2)
    return np.asarray(median * np.exp(rng.normal(0, sigma_log, count)))


def scattered(rng: np.random.Generator, diameters: Points, extent: Extent) -> Points:
    """Draw independent uniform positions; particles may overlap and hang over the border.

    Parameters
    ----------
    rng, diameters, extent
        As in every function here.

    Returns
    -------
    (N, 2) float64 array
        x, y of each particle.
    """
    margin = 0.3 * diameters[:, None]
    span = np.asarray(extent) + 2 * margin
    return np.asarray(rng.uniform(0, 1, (len(diameters), 2)) * span - margin)


def separated(
    rng: np.random.Generator, diameters: Points, extent: Extent, *, gap: float = 0.05
) -> Points:
    """Place discs one after the other where they are free (random sequential adsorption).

    Eight places are tried for each disc.

    Parameters
    ----------
    rng, diameters, extent
        As in every function here.
    gap : float
        Least distance of two discs, in their mean diameter.

    Returns
    -------
    (N, 2) float64 array
        x, y of each particle; NaN where it found no place.
    """
    positions = np.full((len(diameters), 2), np.nan)
    placed = 0
    order = np.argsort(-diameters)
    radii = np.empty(len(diameters))
    points = np.empty((len(diameters), 2))
    for index in order:
        radius = diameters[index] / 2
        tries = scattered(rng, np.full(8, 2 * radius), extent)
        if placed:
            steps = tries[:, None, :] - points[None, :placed]
            reach = (1 + gap) * (radii[:placed] + radius)
            free = ((steps**2).sum(axis=2) > reach**2).all(axis=1)
            if not free.any():
                continue
            tries = tries[free]
        positions[index] = points[placed] = tries[0]
        radii[placed] = radius
        placed += 1
    return positions


def clustered(
    rng: np.random.Generator, diameters: Points, extent: Extent, *, clusters: int, spread: float
) -> Points:
    """Draw normal clouds of particles around a few centres.

    Parameters
    ----------
    rng, diameters, extent
        As in every function here.
    clusters : int
        Number of clouds.
    spread : float
        Standard deviation of a cloud over the shorter side.

    Returns
    -------
    (N, 2) float64 array
        x, y of each particle.
    """
    centres = rng.uniform(0, 1, (clusters, 2)) * extent
    chosen = centres[rng.integers(clusters, size=len(diameters))]
    return np.asarray(chosen + rng.normal(0, spread * min(extent), (len(diameters), 2)))


def aggregated(
    rng: np.random.Generator,
    diameters: Points,
    extent: Extent,
    *,
    clusters: int,
    overlap: float = 0.0,
    branching: float = 0.5,
    margin: float = 0.12,
) -> Points:
    """Build chains and clumps of touching particles: each is attached to one already there.

    Six places are tried for each particle.

    Parameters
    ----------
    rng, diameters, extent
        As in every function here.
    clusters : int
        Number of aggregates.
    overlap : float
        Part of the sum of radii by which neighbours interpenetrate in projection.
    branching : float
        0 grows chains from the last particle, 1 clumps from any.
    margin : float
        Share of the extent along the border in which no aggregate starts.

    Returns
    -------
    (N, 2) float64 array
        x, y of each particle; NaN where it found no place.
    """
    count = len(diameters)
    clusters = min(clusters, count)
    positions = np.full((count, 2), np.nan)
    radii = diameters / 2
    positions[:clusters] = rng.uniform(margin, 1 - margin, (clusters, 2)) * extent
    owner = np.arange(count) % clusters
    for index in range(clusters, count):
        family = np.flatnonzero((owner[:index] == owner[index]) & ~np.isnan(positions[:index, 0]))
        recent = family[-min(len(family), 2) :]
        choice = rng.random(6) < branching
        parents = np.where(choice, rng.choice(family, 6), rng.choice(recent, 6))
        angles = rng.uniform(0, 2 * np.pi, 6)
        reach = (1 - overlap) * (radii[parents] + radii[index])
        step = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
        tries = positions[parents] + step
        steps = tries[:, None, :] - positions[None, :index]
        near = (1 - overlap) ** 2 * (radii[:index] + radii[index]) ** 2 * 0.96
        free = ~((steps**2).sum(axis=2) < near).any(axis=1)
        free &= ((tries > 0) & (tries < extent)).all(axis=1)
        if free.any():
            positions[index] = tries[np.argmax(free)]
    return positions


def chained(
    rng: np.random.Generator,
    diameters: Points,
    extent: Extent,
    *,
    chains: int,
    gap: float = 0.0,
    bend_rad: float = 0.3,
) -> Points:
    """Lay strings of beads, each touching the one before, as dipoles and necklaces form.

    Parameters
    ----------
    rng, diameters, extent
        As in every function here.
    chains : int
        Their number.
    gap : float
        Between neighbours, in their mean diameter.
    bend_rad : float
        Standard deviation of the angle between two links.

    Returns
    -------
    (N, 2) float64 array
        x, y of each particle. Chains may cross.
    """
    positions = np.empty((len(diameters), 2))
    for beads in np.array_split(np.arange(len(diameters)), max(chains, 1)):
        if not len(beads):
            continue
        links = (1 + gap) * (diameters[beads[1:]] + diameters[beads[:-1]]) / 2
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend_rad, len(links)))
        steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * links[:, None]
        places = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
        positions[beads] = places - places.mean(axis=0) + rng.uniform(0, 1, 2) * extent
    return positions


def relaxed(
    rng: np.random.Generator, diameters: Points, extent: Extent, *, overlap: float = 0.0
) -> Points:
    """Pack particles densely: uniform positions, then overlapping pairs push each other apart.

    Parameters
    ----------
    rng, diameters, extent
        As in every function here.
    overlap : float
        Part of the sum of radii by which neighbours may interpenetrate.

    Returns
    -------
    (N, 2) float64 array
        x, y of each particle.
    """
    positions = scattered(rng, diameters, extent).astype(np.float32)
    radii = (diameters / 2 * (1 - overlap)).astype(np.float32)
    contact = radii[:, None] + radii[None, :]
    for _ in range(14):
        difference = positions[:, None, :] - positions[None, :, :]
        distance = np.sqrt((difference**2).sum(axis=2)) + np.float32(1e-3)
        push = np.maximum(contact - distance, 0) / distance
        np.fill_diagonal(push, 0)
        positions += np.float32(0.35) * (difference * push[:, :, None]).sum(axis=1)
    return positions.astype(np.float64)


def lattice(
    rng: np.random.Generator,
    extent: Extent,
    *,
    spacing: float,
    angle_rad: float = np.pi / 3,
    ratio: float = 1.0,
    turn_rad: float | None = None,
    jitter: float = 0.0,
    vacancies: float = 0.0,
    limit: int = 400,
) -> Points:
    """Fill the field with the points of a lattice.

    Parameters
    ----------
    rng : numpy.random.Generator
    extent : (float, float)
        Width and height of the field.
    spacing : float
        Length of the first basis vector.
    angle_rad : float
        Between the basis vectors.
    ratio : float
        Length of the second basis vector over that of the first.
    turn_rad : float, optional
        Direction of the first basis vector; random by default.
    jitter : float
        Standard deviation of the positions over the spacing.
    vacancies : float
        Share of points left out.
    limit : int
        Greatest number of points.

    Returns
    -------
    (N, 2) float64 array
        x, y of each point.
    """
    turn = rng.uniform(0, np.pi) if turn_rad is None else turn_rad
    first = spacing * np.array([np.cos(turn), np.sin(turn)])
    second = ratio * spacing * np.array([np.cos(turn + angle_rad), np.sin(turn + angle_rad)])
    reach = int(1.8 * np.hypot(*extent) / (spacing * min(ratio, 1.0) * np.sin(angle_rad))) // 2 + 2
    steps = np.arange(-reach, reach + 1)
    rows, columns = np.meshgrid(steps, steps, indexing="ij")
    points = rows.reshape(-1, 1) * first + columns.reshape(-1, 1) * second
    points = points + np.asarray(extent) / 2 + rng.uniform(0, spacing, 2)
    margin = 0.6 * spacing
    inside = ((points > -margin) & (points < np.asarray(extent) + margin)).all(axis=1)
    points = points[inside]
    points = points + rng.normal(0, jitter * spacing, points.shape)
    points = points[rng.random(len(points)) >= vacancies]
    return np.asarray(points[:limit])


def parted(positions: Points, diameters: Points, *, gap: float = 0.0, steps: int = 25) -> Points:
    """Push overlapping pairs apart, the larger moving less.

    Parameters
    ----------
    positions : (N, 2) array
        x, y.
    diameters : (N,) array
    gap : float
        Distance that pairs end at, in their mean diameter; a negative one leaves some overlap.
    steps : int
        How often pairs are pushed, at most.

    Returns
    -------
    (N, 2) float64 array
    """
    positions = positions.copy()
    radii = diameters / 2 * (1 + gap)
    for _ in range(steps):
        pairs = cKDTree(positions).query_pairs(2 * float(radii.max()), output_type="ndarray")
        first, second = pairs[:, 0], pairs[:, 1]
        step = positions[first] - positions[second]
        distance = np.sqrt((step**2).sum(axis=1)) + 1e-9
        push = np.maximum(radii[first] + radii[second] - distance, 0) / distance
        if not push.any():
            break
        mobility = radii[second] ** 2 / (radii[first] ** 2 + radii[second] ** 2)
        shift = 0.6 * push[:, None] * step
        np.add.at(positions, first, shift * mobility[:, None])
        np.add.at(positions, second, -shift * (1 - mobility)[:, None])
    return positions
