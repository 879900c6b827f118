"""Outlines of particles: closed polygons of unit equivalent diameter around the origin.

The equivalent diameter of an outline is that of the disc of the same area, so a particle's
diameter means the same for a disc, a rod and a shard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_SMOOTH_POINTS = 40
_FACETTED_POINTS = 64


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed polygon whose area is that of a disc with the diameter 1.

    Parameters
    ----------
    points : (N, 2) float64 array
        Vertices x, y in units of the equivalent diameter, centroid at the origin.
    corners : (M,) float64 array
        Angles in rad, in [-pi, pi) and ascending, at which the shape has corners; empty for a
        smooth shape. Facets meet in them.
    """

    points: Points
    corners: Points

    @cached_property
    def reach(self) -> float:
        """Largest distance of a vertex from the origin, in equivalent diameters."""
        return float(np.sqrt((self.points**2).sum(axis=1).max()))

    @cached_property
    def bounds(self) -> tuple[list[float], list[float]]:
        """Lowest and highest x, y of the vertices, in equivalent diameters."""
        return self.points.min(axis=0).tolist(), self.points.max(axis=0).tolist()


def disc(rng: np.random.Generator) -> Outline:
    """Circle."""
    return _outline(_circle(_SMOOTH_POINTS))


def ellipse(rng: np.random.Generator) -> Outline:
    """Ellipse of a random ratio of long to short axis."""
    return _turned(_circle(_SMOOTH_POINTS) * (rng.uniform(1.1, 2.6), 1.0), rng)


def polygon(rng: np.random.Generator) -> Outline:
    """Facetted crystal along a zone axis: a slightly irregular polygon, corners rounded."""
    sides = int(rng.integers(3, 9))
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.12, 0.12, sides)) / sides
    radii = 1 + rng.uniform(-0.1, 0.1, sides)
    squeeze = (rng.uniform(1.0, 1.25), 1.0)
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None] * squeeze
    return _facetted(corners, rng.uniform(0, 0.5), rng)


def rectangle(
    rng: np.random.Generator, *, aspect: float | None = None, rounding: float | None = None
) -> Outline:
    """Draw a cube or plate seen face on, corners rounded.

    Parameters
    ----------
    rng : numpy.random.Generator
    aspect : float, optional
        Length over width; random by default.
    rounding : float, optional
        How far the corners are rounded; random by default.

    Returns
    -------
    Outline
        Of unit area.
    """
    aspect = rng.uniform(1.0, 2.2) if aspect is None else aspect
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (aspect, 1.0)
    return _facetted(corners, rng.uniform(0, 0.45) if rounding is None else rounding, rng)


def bipyramid(rng: np.random.Generator) -> Outline:
    """Elongated rhomb or hexagon: bipyramids and truncated needles."""
    aspect, cut = rng.uniform(1.3, 2.6), rng.uniform(0, 0.5)
    corners = np.array([[1, cut], [0.4 * cut, 1], [-0.4 * cut, 1], [-1, cut], [-1, -cut],
                        [-0.4 * cut, -1], [0.4 * cut, -1], [1, -cut]])  # fmt: skip
    return _facetted(corners * (aspect, 1.0), rng.uniform(0.05, 0.3), rng)


def rod(
    rng: np.random.Generator, *, aspect: float | None = None, capped: bool | None = None
) -> Outline:
    """Draw a rod with round or flat ends.

    Parameters
    ----------
    rng : numpy.random.Generator
    aspect : float, optional
        Length over width; random by default.
    capped : bool, optional
        Whether the ends are round; random by default.

    Returns
    -------
    Outline
        Of unit area.
    """
    aspect = float(np.exp(rng.uniform(np.log(1.8), np.log(8)))) if aspect is None else aspect
    capped = rng.random() < 0.65 if capped is None else capped
    if not capped:
        return rectangle(rng, aspect=aspect, rounding=rng.uniform(0.05, 0.3))
    arc = np.linspace(-np.pi / 2, np.pi / 2, _SMOOTH_POINTS // 2)
    shift = np.array([aspect - 1, 0])
    cap = np.stack([np.cos(arc), np.sin(arc)], axis=1)
    points = np.concatenate([cap + shift, -cap - shift])
    return _turned(points, rng)


def worm(rng: np.random.Generator, *, aspect: float | None = None) -> Outline:
    """Bent rod: bacteria, fibres, nanotubes; `aspect` is length over width."""
    aspect = float(np.exp(rng.uniform(np.log(2.5), np.log(16)))) if aspect is None else aspect
    along = np.linspace(-1, 1, _SMOOTH_POINTS // 2)
    bend = rng.normal(0, 0.5) + rng.normal(0, 0.7) * along
    angles = np.cumsum(bend) * (along[1] - along[0])
    spine = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
    spine *= aspect * (along[1] - along[0])
    normals = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    # The width swells and ends round: a super-ellipse along the spine.
    width = (1 - np.abs(along) ** max(2.0, 2 * aspect)) ** 0.5 * (1 + rng.normal(0, 0.08) * along)
    sides = width[:, None] * normals
    return _turned(np.concatenate([spine + sides, (spine - sides)[-2:0:-1]]), rng)


def blob(rng: np.random.Generator, *, roughness: float | None = None) -> Outline:
    """Smooth irregular body: a circle with a few random Fourier modes."""
    roughness = rng.uniform(0.05, 0.2) if roughness is None else roughness
    angles = np.linspace(-np.pi, np.pi, _FACETTED_POINTS, endpoint=False)
    radii = 1 + _fourier(rng, angles, orders=range(2, 8), amplitude=1.4 * roughness, decay=1.4)
    return _turned(_polar(angles, radii) * (1.0, rng.uniform(0.6, 1.0)), rng)


def ragged(rng: np.random.Generator) -> Outline:
    """Body with a fractal edge, as aggregates and rough colloids have."""
    roughness = rng.uniform(0.06, 0.22)
    angles = np.linspace(-np.pi, np.pi, 160, endpoint=False)
    radii = 1 + _fourier(rng, angles, orders=range(2, 7), amplitude=roughness, decay=1.0)
    fine = _fourier(rng, angles, orders=range(7, 70), amplitude=1.1 * roughness, decay=1.0)
    radii += np.clip(fine, -0.12, 0.12)
    return _turned(_polar(angles, radii) * (1.0, rng.uniform(0.55, 1.0)), rng)


def shard(rng: np.random.Generator) -> Outline:
    """Broken crystal: the convex hull of a few random points, with sharp corners."""
    angles = np.sort(rng.uniform(-np.pi, np.pi, int(rng.integers(5, 9))))
    angles = np.linspace(-np.pi, np.pi, len(angles), endpoint=False) * 0.7 + angles * 0.3
    corners = _polar(angles, np.ones(len(angles))) * (rng.uniform(1.0, 1.9), 1.0)
    return _facetted(corners, rng.uniform(0, 0.12), rng)


def pebble(rng: np.random.Generator) -> Outline:
    """Irregular body with worn faces: a grain of a powder among its neighbours."""
    sides = int(rng.integers(5, 12))
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.35, 0.35, sides)) / sides
    radii = 1 + rng.normal(0, 0.09, sides)
    corners = _polar(angles, radii) * (rng.uniform(1.0, 1.6), 1.0)
    return _facetted(corners, rng.uniform(0.06, 0.4), rng)


def peanut(rng: np.random.Generator) -> Outline:
    """Two fused spheres: a dimer after necking."""
    angles = np.linspace(-np.pi, np.pi, _FACETTED_POINTS, endpoint=False)
    waist = rng.uniform(0.25, 0.55)
    radii = np.sqrt(np.cos(angles) ** 2 + waist**2 * np.sin(angles) ** 2)
    return _turned(_polar(angles, radii), rng)


SHAPES: dict[str, Callable[[np.random.Generator], Outline]] = {
    "disc": disc,
    "ellipse": ellipse,
    "polygon": polygon,
    "rectangle": rectangle,
    "bipyramid": bipyramid,
    "rod": rod,
    "worm": worm,
    "blob": blob,
    "ragged": ragged,
    "shard": shard,
    "pebble": pebble,
    "peanut": peanut,
}


def rotated(outline: Outline, angle_rad: float) -> Outline:
    """The same outline, turned by `angle_rad`."""
    corners = np.sort((outline.corners + angle_rad + np.pi) % (2 * np.pi) - np.pi)
    return Outline(outline.points @ _rotation(angle_rad).T, corners)


def roughened(outline: Outline, rng: np.random.Generator, *, amplitude: float) -> Outline:
    """Give an outline a finely ragged edge.

    Parameters
    ----------
    outline : Outline
    rng : numpy.random.Generator
    amplitude : float
        Of the raggedness, in equivalent diameters.

    Returns
    -------
    Outline
        Of unit area.
    """
    points = _densified(outline.points, 96)
    angles = np.linspace(-np.pi, np.pi, len(points), endpoint=False)
    bumps = _fourier(rng, angles, orders=range(4, 44), amplitude=1.0, decay=0.7)
    bumps *= amplitude / max(float(bumps.std()), 1e-6)
    tangents = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    normals = tangents[:, ::-1] * (1, -1)
    normals /= np.maximum(np.sqrt((normals**2).sum(axis=1, keepdims=True)), 1e-9)
    return Outline(_unit_area(points + bumps[:, None] * normals), outline.corners)


def aspect_of(points: Points) -> float:
    """Ratio of the long to the short axis of the ellipse with the same second moments."""
    values = np.linalg.eigvalsh(np.cov(_densified(points, 128).T))
    return float(np.sqrt(values[1] / values[0]))


def _outline(points: Points, corners: Points | None = None) -> Outline:
    return Outline(_unit_area(points), np.empty(0) if corners is None else corners)


def _turned(points: Points, rng: np.random.Generator) -> Outline:
    return _outline(points @ _rotation(rng.uniform(-np.pi, np.pi)).T)


def _facetted(corners: Points, rounding: float, rng: np.random.Generator) -> Outline:
    corners = corners @ _rotation(rng.uniform(-np.pi, np.pi)).T
    points = _densified(corners, _FACETTED_POINTS)
    # a moving average along the boundary rounds the corners: 0 is sharp, 1 almost a disc
    width = int(rounding * len(points) / 4)
    points = smoothed(points, width) if width >= 1 else points
    centred = corners - corners.mean(axis=0)
    return _outline(points, np.sort(np.arctan2(centred[:, 1], centred[:, 0])))


def _circle(count: int) -> Points:
    angles = np.linspace(-np.pi, np.pi, count, endpoint=False)
    return _polar(angles, np.ones(count))


def _polar(angles: Points, radii: Points) -> Points:
    radii = np.maximum(radii, 0.25)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _rotation(angle_rad: float) -> Points:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin], [sin, cos]])


def _fourier(
    rng: np.random.Generator, angles: Points, *, orders: range, amplitude: float, decay: float
) -> Points:
    order = np.asarray(orders, dtype=float)
    weights = rng.normal(0, amplitude, len(order)) / order**decay
    phases = rng.uniform(0, 2 * np.pi, len(order))
    return np.asarray(weights @ np.cos(order[:, None] * angles + phases[:, None]))


def _densified(points: Points, count: int) -> Points:
    """The polygon's boundary at `count` points equally spaced along it."""
    closed = np.concatenate([points, points[:1]])
    lengths = np.sqrt((np.diff(closed, axis=0) ** 2).sum(axis=1))
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    where = np.linspace(0, along[-1], count, endpoint=False)
    return np.stack([np.interp(where, along, closed[:, axis]) for axis in (0, 1)], axis=1)


def smoothed(points: Points, width: int) -> Points:
    """The polygon after a moving average over `width` points on either side."""
    padded = np.concatenate([points[-width:], points, points[: width + 1]])
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(padded, axis=0)])
    span = 2 * width + 1
    return np.asarray((sums[span:] - sums[:-span])[: len(points)] / span)


def _unit_area(points: Points) -> Points:
    """Centre the polygon on its centroid and give it the area of a disc of diameter 1."""
    following = np.concatenate([points[1:], points[:1]])
    cross = points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]
    area = float(cross.sum()) / 2
    centroid = cross @ (points + following) / (6 * area)
    return np.asarray((points - centroid) * np.sqrt(np.pi / 4 / abs(area)))
