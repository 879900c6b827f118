"""Drawing particles on a canvas: coverage, intensity and exact labels, one particle at a time.

Pixel (row, column) covers [column, column + 1) x [row, row + 1): a particle at (0.5, 0.5) lies in
the middle of the first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.simulator.shading import Field, Footprint, Look, shade

if TYPE_CHECKING:
    from samstar_rl.simulator.shapes import Outline

Labels = NDArray[np.int32]

_SUBPIXEL_BITS = 4
# cv2.fillPoly also draws the outline, which adds half a (sub)pixel on every side.
_OUTLINE_GAIN = 0.5


@dataclass(frozen=True, eq=False)
class Particle:
    """One body, in any unit of length; the canvas takes px.

    Parameters
    ----------
    outline : Outline
        Its shape, orientation included.
    x, y : float
        Position of the centroid.
    diameter : float
        Equivalent diameter.
    tone : float
        Factor on its contrast: thickness, tilt and composition differ between particles.
    look : Look
        Its intensity model.
    grain : tuple of float
        Where on the surface texture it lies, in [0, 1) x [0, 1).
    """

    outline: Outline
    x: float
    y: float
    diameter: float
    tone: float = 1.0
    look: Look = field(default_factory=Look)
    grain: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Mixing:
    """How particles and background combine.

    Parameters
    ----------
    mode : {"occlude", "add", "absorb"}
        Opaque surfaces (SEM), added signal (HAADF), Beer-Lambert transmission (BF-TEM).
    contrast : float
        Signal of a particle against the background; the optical thickness for "absorb".
    level : float
        Grey that the signal starts from ("occlude" only).
    """

    mode: str = "occlude"
    contrast: float = 0.5
    level: float = 0.3


class Canvas:
    """An image under construction, with its labels.

    Parameters
    ----------
    background : (H, W) float32 array
        What lies beneath the particles, about 0 to 1; it is not changed.
    mixing : Mixing
        How particles combine with it.
    surface : (H, W) float32 array or None
        Texture that particles with ``look.texture`` wear.
    """

    def __init__(self, background: Field, mixing: Mixing, surface: Field | None = None) -> None:
        self.image = np.array(background, dtype=np.float32)
        self.labels: Labels = np.zeros(background.shape, np.int32)
        self.mixing = mixing
        self._surface = surface
        self._count = 0

    def draw(self, particle: Particle, *, most_covered: float = 1.0) -> bool:
        """Draw one particle over all earlier ones.

        Returns False, and draws nothing, if it lies outside the canvas or if others hold already
        more than the share `most_covered` of its pixels.
        """
        window = _window(particle, self.labels.shape)
        if window is None:
            return False
        coverage = _coverage(particle, window)
        mask = coverage >= 0.5
        inside = mask[window.crop]
        if not inside.any():
            return False
        labels = self.labels[window.area]
        if most_covered < 1 and float((labels[inside] > 0).mean()) > most_covered:
            return False
        profile = shade(particle.look, _footprint(particle, window, mask))[window.crop]
        if particle.look.texture and self._surface is not None:
            # the patch of surface texture that the particle wears; the texture repeats itself
            height, width = self._surface.shape
            rows, columns = window.crop
            down = int(particle.grain[1] * height) + np.arange(rows.start, rows.stop)
            across = int(particle.grain[0] * width) + np.arange(columns.start, columns.stop)
            worn = self._surface[np.ix_(down % height, across % width)]
            profile = profile * (1 + particle.look.texture * worn)
        self._mix(particle, window, coverage[window.crop], profile)
        self._count += 1
        labels[inside] = self._count
        return True

    def _mix(self, particle: Particle, window: _Window, coverage: Field, profile: Field) -> None:
        canvas, mixing = self.image[window.area], self.mixing
        signal = mixing.contrast * particle.tone * profile
        if mixing.mode == "add":
            canvas += coverage * signal
        elif mixing.mode == "absorb":
            canvas *= np.exp(-coverage * signal)
        else:
            if particle.look.shadow:
                self._cast_shadow(particle, window)
            canvas += coverage * (mixing.level + signal - canvas)

    def _cast_shadow(self, particle: Particle, window: _Window) -> None:
        """Darken the neighbourhood: fewer electrons reach the detector from beside a particle."""
        radius = max(particle.diameter * 0.5, 1.0)
        offset = 0.25 * radius
        centre_x = particle.x - offset * np.cos(particle.look.light_rad)
        centre_y = particle.y - offset * np.sin(particle.look.light_rad)
        reach = int(1.35 * particle.outline.reach * particle.diameter + 2)
        height, width = self.labels.shape
        top, bottom = max(int(centre_y) - reach, 0), min(int(centre_y) + reach, height)
        left, right = max(int(centre_x) - reach, 0), min(int(centre_x) + reach, width)
        if top >= bottom or left >= right:
            return
        y = (np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(centre_y)) / reach
        x = (np.arange(left, right, dtype=np.float32)[None, :] - np.float32(centre_x)) / reach
        fall = np.maximum(1 - (x * x + y * y), 0)
        self.image[top:bottom, left:right] *= 1 - np.float32(particle.look.shadow) * fall


@dataclass(frozen=True)
class _Window:
    """The box around a particle, whole and as far as it lies on the canvas."""

    left: int
    top: int
    width: int
    height: int
    area: tuple[slice, slice]
    crop: tuple[slice, slice]


def _window(particle: Particle, shape: tuple[int, int]) -> _Window | None:
    low, high = particle.outline.bounds
    left = math.floor(low[0] * particle.diameter + particle.x) - 2
    top = math.floor(low[1] * particle.diameter + particle.y) - 2
    right = math.ceil(high[0] * particle.diameter + particle.x) + 2
    bottom = math.ceil(high[1] * particle.diameter + particle.y) + 2
    height, width = shape
    inner_left, inner_right = max(left, 0), min(right, width)
    inner_top, inner_bottom = max(top, 0), min(bottom, height)
    if inner_left >= inner_right or inner_top >= inner_bottom:
        return None
    return _Window(
        left=left,
        top=top,
        width=right - left,
        height=bottom - top,
        area=(slice(inner_top, inner_bottom), slice(inner_left, inner_right)),
        crop=(
            slice(inner_top - top, inner_bottom - top),
            slice(inner_left - left, inner_right - left),
        ),
    )


def _coverage(particle: Particle, window: _Window) -> Field:
    """Fraction of each pixel of the window that the particle covers."""
    fine = 4 if particle.diameter < 30 else 2
    shrink = max(1 - 2 * _OUTLINE_GAIN / (fine * particle.diameter), 0.3)
    points = particle.outline.points * (particle.diameter * shrink)
    origin = np.array([window.left - particle.x, window.top - particle.y])
    points = (points - origin) * fine - 0.5
    drawn = np.zeros((window.height * fine, window.width * fine), np.uint8)
    fixed_point = np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(drawn, [fixed_point], 255, shift=_SUBPIXEL_BITS)
    size = (window.width, window.height)
    averaged = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
    return np.asarray(averaged, dtype=np.float32) * np.float32(1 / 255)


def _footprint(particle: Particle, window: _Window, mask: NDArray[np.bool_]) -> Footprint:
    depth_px = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 3)
    radius_px = max(particle.diameter / 2, 1.0)
    x = np.arange(window.width, dtype=np.float32) + np.float32(window.left + 0.5 - particle.x)
    y = np.arange(window.height, dtype=np.float32) + np.float32(window.top + 0.5 - particle.y)
    return Footprint(
        depth_px=np.asarray(depth_px, dtype=np.float32),
        inner_radius_px=max(float(depth_px.max()), 1.0),
        x=x[None, :] / np.float32(radius_px),
        y=y[:, None] / np.float32(radius_px),
        outline=particle.outline,
        individual=particle.grain,
    )
