"""What lies beneath the particles: carbon films, substrates, holes, dirt, scratches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from samstar_rl.simulator.shapes import blob
from samstar_rl.simulator.texture import (
    Field,
    Shape,
    amorphous,
    blurred,
    octaves,
    relief,
    ridged,
    smooth,
)


def _plain(rng: np.random.Generator, shape: Shape, strength: float) -> Field:
    """Draw an almost even film, with a slow change of thickness."""
    return np.float32(0.3 * strength) * smooth(rng, shape, max(shape) / rng.uniform(1.5, 5))


def _textured(
    texture: Callable[[np.random.Generator, Shape, float], Field],
    rng: np.random.Generator,
    shape: Shape,
    strength: float,
    *,
    log_grain: tuple[float, float],
    gain: float = 1.0,
) -> Field:
    """Draw a film of one texture, whose grain in px has a logarithm within the limits."""
    grain_px = float(np.exp(rng.uniform(*log_grain)))
    return np.float32(gain * strength) * texture(rng, shape, grain_px)


# Patches of uneven thickness or of dried solution. One octave alone looks like a blurred picture of
# noise; real films have detail at all scales.
_mottled = partial(_textured, octaves, log_grain=(2.2, 4.5), gain=0.8)


def _scratched(rng: np.random.Generator, shape: Shape, strength: float) -> Field:
    """Draw polishing scratches and cracks: long straight or kinked lines."""
    height, width = shape
    lines = np.zeros(shape, np.float32)
    direction = rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(2, 14))):
        angle = direction + rng.normal(0, 0.15 if rng.random() < 0.7 else 1.0)
        start = rng.uniform(0, 1, 2) * (width, height)
        steps = np.cumsum(rng.uniform(0.05, 0.3, 5)) * max(shape)
        bends = angle + np.cumsum(rng.normal(0, 0.08, 5))
        points = start + steps[:, None] * np.stack([np.cos(bends), np.sin(bends)], axis=1)
        tone = float(rng.normal(0, 1.5))
        thickness = int(rng.integers(1, 3))
        polyline = np.round(points * 8).astype(np.int32)
        cv2.polylines(lines, [polyline], False, tone, thickness, cv2.LINE_8, shift=3)
    return np.float32(strength) * (blurred(lines, 0.7) + 0.3 * smooth(rng, shape, 12))


def _holey(rng: np.random.Generator, shape: Shape, strength: float) -> Field:
    """Draw holey carbon: the edge of one or two holes crosses the field."""
    height, width = shape
    film = np.zeros(shape, np.uint8)
    for _ in range(int(rng.integers(1, 3))):
        radius = max(shape) * rng.uniform(0.35, 1.2)
        angle = rng.uniform(0, 2 * np.pi)
        away = radius + rng.uniform(-0.3, 0.35) * max(shape)
        centre = np.array([width, height]) / 2 + away * np.array([np.cos(angle), np.sin(angle)])
        edge = blob(rng, roughness=0.04).points * 2 * radius + centre
        cv2.fillPoly(film, [np.round(edge * 8).astype(np.int32)], 1, shift=3)
    hole = film.astype(np.float32)
    rim = blurred(hole, 1.0) - blurred(hole, float(rng.uniform(2, 5)))
    texture = amorphous(rng, shape, float(rng.uniform(1.2, 4)))
    step = np.float32(rng.choice([-1, 1]) * rng.uniform(1, 4))
    return np.float32(strength) * (step * blurred(hole, 0.8) + 2 * rim + 0.6 * (1 - hole) * texture)


def _dirty(rng: np.random.Generator, shape: Shape, strength: float) -> Field:
    """Draw dust and residues too faint and formless to count as particles: soft specks."""
    film = _mottled(rng, shape, 0.4 * strength)
    height, width = shape
    specks = np.zeros(shape, np.float32)
    count = int(np.exp(rng.uniform(np.log(5), np.log(150))))
    rows, columns = rng.integers(height, size=count), rng.integers(width, size=count)
    specks[rows, columns] = rng.exponential(1.0, count).astype(np.float32)
    sigma_px = float(rng.uniform(0.6, 1.6))
    specks = blurred(specks, sigma_px) * np.float32(6 * sigma_px**2)
    return film + np.float32(strength * rng.choice([-1, 1])) * specks


def _fibrous(rng: np.random.Generator, shape: Shape, strength: float) -> Field:
    """Draw thin curved strands: polymer residues, collagen, the edges of exfoliated flakes."""
    lines = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(3, 25))):
        bends = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, 12))
        step = rng.uniform(0.01, 0.06) * max(shape)
        start = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        points = start + step * np.cumsum(np.stack([np.cos(bends), np.sin(bends)], 1), axis=0)
        polyline = np.round(points * 8).astype(np.int32)
        tone = float(rng.uniform(0.3, 1.5))
        cv2.polylines(lines, [polyline], False, tone, 1, cv2.LINE_8, shift=3)
    sign = np.float32(rng.choice([-1, 1]) * strength)
    return sign * blurred(lines, float(rng.uniform(0.5, 1.2))) + _plain(rng, shape, strength)


def pitted(rng: np.random.Generator, shape: Shape, strength: float) -> Field:
    """Draw pores and pits: a filter membrane, an etched or corroded surface; rims catch the light.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Height and width in px.
    strength : float
        Factor on the contrast of the film.

    Returns
    -------
    (H, W) float array
    """
    height, width = shape
    pits = np.zeros(shape, np.float32)
    radius = float(np.exp(rng.uniform(np.log(1.2), np.log(0.03 * max(shape)))))
    share = float(np.exp(rng.uniform(np.log(0.004), np.log(0.12))))
    count = int(np.clip(share * height * width / (np.pi * radius**2), 3, 1500))
    spread = float(rng.choice([0.05, 0.3, 0.6]))
    for x, y in rng.uniform(0, 1, (count, 2)) * (width, height):
        reach = radius * float(np.exp(rng.normal(0, spread)))
        axes = (max(int(8 * reach), 6), max(int(8 * reach * rng.uniform(0.75, 1)), 6))
        angle, centre = float(rng.uniform(0, 180)), (int(8 * x), int(8 * y))
        depth = float(rng.uniform(0.5, 1))
        edge = np.asarray(cv2.ellipse2Poly((0, 0), axes, int(angle), 0, 360, 24), np.int32)
        cv2.fillPoly(pits, [edge + np.asarray(centre, np.int32)], depth, shift=3)
    soft = blurred(pits, float(rng.uniform(0.5, 1.2)))
    rim = soft - blurred(soft, 1 + 0.5 * radius)
    ground = octaves(rng, shape, float(np.exp(rng.uniform(1.2, 3.5))))
    return np.float32(strength) * (0.4 * ground - 4 * soft - np.float32(rng.uniform(0, 2)) * rim)


FILMS: dict[str, Callable[[np.random.Generator, Shape, float], Field]] = {
    "plain": _plain,
    # amorphous: band-limited phase contrast
    "carbon": partial(_textured, amorphous, log_grain=(0, 1.8)),
    "mottled": _mottled,
    # sputtered metal, paper, sintered powder
    "grainy": partial(_textured, octaves, log_grain=(1, 2.8)),
    # the folds of a thin film
    "wrinkled": partial(_textured, ridged, log_grain=(2.5, 4.5)),
    "scratched": _scratched,
    "holey": _holey,
    "dirty": _dirty,
    "fibrous": _fibrous,
    # a rough substrate under a detector at its side
    "rough": partial(_textured, relief, log_grain=(1.2, 3.6), gain=0.6),
}
