"""Intensity models: what one particle looks like from its rim to its centre."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.simulator.texture import blurred

if TYPE_CHECKING:
    from samstar_rl.simulator.shapes import Outline

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """How particles of one kind take part in the image.

    Parameters
    ----------
    model : str
        A key of `MODELS`: the profile from rim to centre.
    rim_width : float
        Width of the rim (edge models) or of the bevel, as a fraction of the inner radius.
    core_fraction : float
        Radius of the core over that of the particle (core-shell, hollow).
    light_rad : float
        Direction the light (or the secondary-electron detector) lies in.
    relief : float
        Strength of the lighting on tilted faces, 0 to 1.
    texture : float
        Strength of the surface texture on the particle, 0 is smooth.
    outline : float
        Signed brightness of a thin line along the rim.
    shadow : float
        Darkening of what lies beneath and beside the particle, 0 to 1 (opaque particles).
    """

    model: str = "flat"
    rim_width: float = 0.2
    core_fraction: float = 0.5
    light_rad: float = 0.0
    relief: float = 0.6
    texture: float = 0.0
    outline: float = 0.0
    shadow: float = 0.0


@dataclass(frozen=True, eq=False)
class Footprint:
    """The pixels of one particle, as the intensity models need them.

    Parameters
    ----------
    depth_px : (h, w) float32 array
        Distance of each pixel from the outside.
    inner_radius_px : float
        The largest depth.
    x, y : (1, w) and (h, 1) float32 arrays
        Position from the particle's centre, in equivalent radii.
    outline : Outline
        The particle's outline.
    individual : (float, float)
        Two random numbers in [0, 1) that tell this particle from others of its look.
    """

    depth_px: Field
    inner_radius_px: float
    x: Field
    y: Field
    outline: Outline
    individual: tuple[float, float] = (0.0, 0.0)

    @property
    def depth(self) -> Field:
        """Depth as a fraction of the inner radius, 0 at the rim and 1 in the centre."""
        return np.minimum(self.depth_px * np.float32(1 / self.inner_radius_px), np.float32(1))


def shade(look: Look, footprint: Footprint) -> Field:
    """Profile of one particle, about 0 to 1.2, 1 where it is most itself."""
    profile = MODELS[look.model](look, footprint)
    if look.outline:
        profile = profile + look.outline * np.exp(footprint.depth_px * np.float32(-1 / 1.2))
    return np.asarray(profile, dtype=np.float32)


def _chord(depth: Field) -> Field:
    """Thickness of a sphere along the beam: sqrt(1 - (1 - depth)^2)."""
    return np.sqrt(np.maximum(depth * (2 - depth), 0))


def _flat(look: Look, footprint: Footprint) -> Field:
    return np.full_like(footprint.depth_px, 0.9)


def _thickness(look: Look, footprint: Footprint) -> Field:
    return _chord(footprint.depth)


def _dome(look: Look, footprint: Footprint) -> Field:
    return 0.45 + 0.55 * _chord(footprint.depth)


def _bevel(look: Look, footprint: Footprint) -> Field:
    """Plate or cube: flat top, thinner towards the rim."""
    return 0.25 + 0.75 * np.minimum(footprint.depth / np.float32(look.rim_width + 0.02), 1)


def _edge_bright(look: Look, footprint: Footprint) -> Field:
    """Secondary electrons leave more easily at the rim of a sphere (SEM edge effect)."""
    return 0.5 + 0.5 * _rim(look, footprint)


def _edge_dark(look: Look, footprint: Footprint) -> Field:
    return 0.95 - 0.6 * _rim(look, footprint)


def _secant(look: Look, footprint: Footprint) -> Field:
    """Secondary-electron yield of a sphere, 1 / cos(tilt), cut where the beam grazes."""
    cos_tilt = _chord(footprint.depth)
    return np.asarray(0.38 / np.maximum(cos_tilt, 0.32), dtype=np.float32)


def _lit(look: Look, footprint: Footprint) -> Field:
    """Sphere lit from one side: Lambert's cosine on the body's own relief."""
    radius_px = np.float32(footprint.inner_radius_px)
    height = _chord(footprint.depth) * radius_px
    height = blurred(height, max(0.6, 0.12 * float(radius_px)))
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0) / 8
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1) / 8
    light_x, light_y = _light(look)
    facing = 0.65 + light_x * slope_x + light_y * slope_y
    return np.asarray(facing / np.sqrt(1 + slope_x**2 + slope_y**2), dtype=np.float32)


def _gradient(look: Look, footprint: Footprint) -> Field:
    """Flat face, tilted: a linear ramp across the particle."""
    light_x, light_y = _light(look)
    return np.asarray(0.75 + 0.4 * (light_x * footprint.x + light_y * footprint.y), np.float32)


def _facets(look: Look, footprint: Footprint) -> Field:
    """Crystal of flat faces that meet in one apex, each face with its own brightness."""
    corners = footprint.outline.corners
    if len(corners) < 3:
        return _lit(look, footprint)
    if len(corners) == 6 and look.core_fraction > 0.45:
        corners = corners[::2]  # three faces of a cube seen along its diagonal
    light_x, light_y = _light(look)
    apex = 0.35 * look.rim_width
    angle = np.arctan2(footprint.y - apex * light_y, footprint.x - apex * light_x)
    middles = corners + np.diff(np.append(corners, corners[0] + 2 * np.pi)) / 2
    facing = 0.65 + look.relief * 0.4 * np.cos(middles - look.light_rad)
    face = np.searchsorted(corners, angle.ravel()).reshape(angle.shape) - 1
    tone = facing.astype(np.float32)[face]
    ridge = np.exp(-footprint.depth_px / np.float32(1 + 0.05 * footprint.inner_radius_px))
    return np.asarray(tone + 0.25 * ridge, dtype=np.float32)


def _bevelled(look: Look, footprint: Footprint) -> Field:
    """Crystal with a flat top and faces that fall off to its rim, lit from a side."""
    bevel_px = np.float32(look.rim_width * footprint.inner_radius_px + 1)
    light_x, light_y = _light(look)
    angle = np.arctan2(footprint.y, footprint.x)
    facing = np.asarray(np.cos(angle) * light_x + np.sin(angle) * light_y, dtype=np.float32)
    corners = footprint.outline.corners
    if len(corners) >= 3:  # one tone for each face
        middles = corners + np.diff(np.append(corners, corners[0] + 2 * np.pi)) / 2
        tones = (light_x * np.cos(middles) + light_y * np.sin(middles)).astype(np.float32)
        facing = tones[np.searchsorted(corners, angle.ravel()).reshape(angle.shape) - 1]
    on_bevel = np.clip((bevel_px - footprint.depth_px) + np.float32(0.5), 0, 1)
    edge = np.exp(-(((footprint.depth_px - bevel_px) / np.float32(1.1)) ** 2))
    return np.asarray(0.65 + on_bevel * 0.45 * facing + 0.12 * edge, dtype=np.float32)


def _polyhedron(look: Look, footprint: Footprint) -> Field:
    """Irregular body of a few flat faces in an SEM, its faces at random.

    The body is what lies below all of a handful of planes; each face is as bright as its tilt to
    the detector and, for the yield of secondary electrons, to the beam makes it, and edges are
    brighter than faces.
    """
    rng = np.random.default_rng(int(footprint.individual[0] * 2**32))
    count = int(rng.integers(4, 9))
    azimuth = 2 * np.pi * (np.arange(count) + rng.uniform(-0.4, 0.4, count)) / count
    tilt = rng.uniform(0.5, 1.15, count)
    tilt[0] = rng.uniform(0, 0.35)  # a face on top
    top = rng.uniform(0.5, 0.9)
    low = np.full(footprint.depth_px.shape, np.inf, np.float32)
    second, face = low.copy(), np.zeros(low.shape, np.intp)
    for index in range(count):
        across = np.float32(np.cos(azimuth[index])) * footprint.x
        across = across + np.float32(np.sin(azimuth[index])) * footprint.y
        height = np.float32(1 / np.cos(tilt[index])) - np.float32(np.tan(tilt[index])) * across
        height = height - np.float32(1 - top if index == 0 else rng.uniform(0, 0.25))
        nearer = height < low
        second = np.minimum(np.where(nearer, low, height), second)
        face = np.where(nearer, index, face)
        low = np.minimum(height, low)
    facing = np.sin(tilt) * np.cos(azimuth - look.light_rad)
    tones = 0.55 + 0.4 * look.relief * facing + 0.12 * (1 / np.cos(tilt) - 1)
    radius_px = np.float32(footprint.inner_radius_px)
    ridge = np.exp((low - second) * radius_px / np.float32(1 + 0.04 * radius_px))
    rim = _rim(look, footprint)
    profile = tones.astype(np.float32)[face] + 0.15 * ridge + 0.35 * look.core_fraction * rim
    return blurred(np.asarray(profile, np.float32), min(0.06 * float(radius_px), 2.5))


def _diffracting(look: Look, footprint: Footprint) -> Field:
    """Crystalline TEM contrast: thickness, crossed by a few soft bands that differ by particle."""
    angle = 2 * np.pi * footprint.individual[0]
    across = np.float32(np.cos(angle)) * footprint.x + np.float32(np.sin(angle)) * footprint.y
    wave = np.float32(1.2 + 5 * look.rim_width * footprint.individual[1])
    bend = footprint.x * footprint.y * np.float32(1.5 * footprint.individual[1])
    bands = np.cos(wave * across + bend + np.float32(20 * footprint.individual[1]))
    return _dome(look, footprint) * (0.85 + 0.55 * np.float32(look.relief) * bands)


def _core_shell(look: Look, footprint: Footprint) -> Field:
    """Thin shell, dense core: chord of the shell plus chord of the core."""
    inside = np.maximum(1 - (1 - footprint.depth) / np.float32(look.core_fraction), 0)
    return 0.45 * _chord(footprint.depth) ** 0.6 + 0.65 * np.sqrt(inside) * (0.6 + 0.4 * inside)


def _hollow(look: Look, footprint: Footprint) -> Field:
    """Hollow sphere: chord through the wall, largest at the inner edge of the wall."""
    distance = 1 - footprint.depth
    core = np.float32(look.core_fraction)
    outer = np.sqrt(np.maximum(1 - distance**2, 0))
    inner = np.sqrt(np.maximum(core**2 - distance**2, 0))
    return np.asarray((outer - inner) / np.sqrt(1 - core**2), dtype=np.float32)


def _membrane(look: Look, footprint: Footprint) -> Field:
    """Closed line on an inside that hardly differs from the outside: a vesicle or a cell."""
    width_px = np.float32(max(look.rim_width * 0.35 * footprint.inner_radius_px, 0.8))
    line = np.exp(-(((footprint.depth_px - 1.2 * width_px) / width_px) ** 2))
    return np.asarray(0.2 * look.core_fraction + line, dtype=np.float32)


def _concave(look: Look, footprint: Footprint) -> Field:
    """Dark in the middle, brighter to the rim by the square of the radius: a dimple."""
    return 0.95 - 0.55 * footprint.depth**2


def _rim(look: Look, footprint: Footprint) -> Field:
    width_px = look.rim_width * footprint.inner_radius_px + 0.6
    return np.exp(footprint.depth_px * np.float32(-1 / width_px))


def _light(look: Look) -> tuple[np.float32, np.float32]:
    return (
        np.float32(look.relief * np.cos(look.light_rad)),
        np.float32(look.relief * np.sin(look.light_rad)),
    )


MODELS: dict[str, Callable[[Look, Footprint], Field]] = {
    "flat": _flat,
    "thickness": _thickness,
    "dome": _dome,
    "bevel": _bevel,
    "edge_bright": _edge_bright,
    "edge_dark": _edge_dark,
    "secant": _secant,
    "lit": _lit,
    "gradient": _gradient,
    "facets": _facets,
    "bevelled": _bevelled,
    "polyhedron": _polyhedron,
    "diffracting": _diffracting,
    "core_shell": _core_shell,
    "hollow": _hollow,
    "membrane": _membrane,
    "concave": _concave,
}
