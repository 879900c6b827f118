"""Families of powders in an SEM: irregular bodies on one another, charging, substrates."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.signal import lfilter

from samstar_rl.simulator import placement
from samstar_rl.simulator.film import FILMS, pitted
from samstar_rl.simulator.image_families import (
    IdealImage,
    Points,
    body_diameter,
    compose,
    extent_of,
)
from samstar_rl.simulator.shapes import SHAPES, blob
from samstar_rl.simulator.styles import STYLES, Style
from samstar_rl.simulator.texture import Shape, blurred, octaves

_BODIES: dict[str, tuple[list[str], list[float]]] = {
    "grains": (["pebble", "polygon", "blob"], [0.6, 0.25, 0.15]),
    "spheres": (["disc", "ellipse", "blob"], [0.5, 0.25, 0.25]),
    "crystals": (["polygon", "rectangle", "shard", "bipyramid"], [0.35, 0.25, 0.25, 0.15]),
    "lumps": (["ragged", "blob", "pebble"], [0.3, 0.4, 0.3]),
}


def agglomerates(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Heaps of irregular bodies on a substrate, the upper ones brighter and in front."""
    style = _powder_style(rng)
    mean = body_diameter(rng, shape)
    heaps = _heaps(rng, shape, mean)
    height = distance_transform_edt(heaps)
    positions = _within(rng, heaps, mean, crowding=rng.uniform(0.9, 2.2))
    rows, columns = (positions[:, axis].astype(int) for axis in (1, 0))
    # a heap is higher inside: what lies there is drawn last, in front of the outer ones
    level = np.minimum(height[rows, columns] / max(2.5 * mean, 1.0), 1)
    order = np.argsort(level + rng.normal(0, 0.35, len(level)))
    return _charged(rng, _draw(rng, shape, style, mean, positions[order], level[order]), mean)


def powder(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """A bed of bodies that fills the field, layer upon layer."""
    style = _powder_style(rng)
    mean = body_diameter(rng, shape)
    field = np.ones(shape, bool)
    positions = _within(rng, field, mean, crowding=rng.uniform(1.3, 2.6))
    level = np.linspace(0, 1, len(positions)) ** rng.uniform(0.5, 2)
    return _charged(rng, _draw(rng, shape, style, mean, positions, level), mean)


def _powder_style(rng: np.random.Generator) -> Style:
    style = STYLES["secondary"](rng)
    models = ["polyhedron", "edge_bright", "lit", "secant", "dome", "facets"]
    look = replace(
        style.looks[0],
        model=str(rng.choice(models, p=[0.42, 0.18, 0.18, 0.08, 0.06, 0.08])),
        rim_width=rng.uniform(0.06, 0.3),
        outline=rng.uniform(0.05, 0.5) if rng.random() < 0.6 else rng.uniform(-0.4, 0.1),
        shadow=rng.uniform(0.1, 0.55) if rng.random() < 0.75 else 0.0,
        texture=rng.uniform(0.03, 0.2) if rng.random() < 0.4 else 0.0,
    )
    level = rng.uniform(0.03, 0.3)
    return replace(
        style,
        looks=(look,),
        mixing=replace(style.mixing, level=level, contrast=rng.uniform(0.3, 0.75)),
        tone_spread=float(rng.choice([0.05, 0.12, 0.2])),
        film_level=level + rng.uniform(-0.2, 0.15),
    )


def _draw(
    rng: np.random.Generator,
    shape: Shape,
    style: Style,
    mean: float,
    positions: Points,
    level: Points,
) -> IdealImage:
    sigma_log = float(rng.choice([0.08, 0.2, 0.35, 0.5], p=[0.2, 0.4, 0.3, 0.1]))
    count = len(positions)
    diameters = placement.lognormal_diameters(rng, count, mean=mean, sigma_log=sigma_log)
    diameters = np.clip(diameters, 0.35 * mean, 2.5 * mean)
    deep = rng.uniform(0.25, 0.95)
    kinds, shares = _BODIES[str(rng.choice(list(_BODIES), p=[0.5, 0.18, 0.17, 0.15]))]
    kept = [SHAPES[str(kind)](rng) for kind in rng.choice(kinds, size=min(count, 80), p=shares)]
    outlines = [kept[index] for index in rng.integers(len(kept), size=count)]
    # the substrate: smooth, textured or pitted, as bright as the style says
    strength = rng.uniform(0.01, 0.08)
    if rng.random() < 0.3:
        film = pitted(rng, shape, strength)
    else:
        names = ["plain", "grainy", "rough", "mottled", "scratched", "wrinkled", "dirty"]
        name = str(rng.choice(names, p=[0.34, 0.2, 0.2, 0.1, 0.06, 0.04, 0.06]))
        film = FILMS[name](rng, shape, strength)
    return compose(
        rng,
        shape,
        style,
        diameters,
        positions,
        outlines=outlines,
        tones=deep + (1 - deep) * level,
        background=np.float32(style.film_level) + film,
    )


def _heaps(rng: np.random.Generator, shape: Shape, mean: float) -> np.ndarray:
    """Where the heaps lie: (H, W) bool, ragged patches that cover a tenth to most of the field."""
    patches = np.zeros(shape, np.uint8)
    lowest, highest = 3 * mean, max(1.1 * min(shape), 4 * mean)
    for _ in range(int(rng.integers(1, 9))):
        reach = float(np.exp(rng.uniform(np.log(lowest), np.log(highest))))
        centre = rng.uniform(-0.05, 1.05, 2) * extent_of(shape)
        edge = blob(rng, roughness=rng.uniform(0.1, 0.35)).points * reach + centre
        cv2.fillPoly(patches, [np.round(edge * 8).astype(np.int32)], 1, shift=3)
    holes = octaves(rng, shape, max(3.5 * mean, 8.0)) > rng.uniform(0.6, 2.0)
    kept = (patches > 0) & ~holes
    return kept if kept.any() else patches > 0 if patches.any() else np.ones(shape, bool)


def _within(
    rng: np.random.Generator, region: np.ndarray, mean: float, *, crowding: float
) -> Points:
    """Centres in a region, as x and y; the bodies' areas sum to `crowding` times the region's."""
    places = np.flatnonzero(region)
    count = int(np.clip(crowding * len(places) / (np.pi / 4 * mean**2), 2, 2200))
    rows, columns = np.divmod(rng.choice(places, count), region.shape[1])
    points = np.stack([columns, rows], axis=1) + rng.uniform(0, 1, (count, 2))
    apart = placement.parted(points, np.full(count, mean), gap=-rng.uniform(0.2, 0.6), steps=6)
    height, width = region.shape
    return np.asarray(np.clip(apart, 0, (width - 1e-3, height - 1e-3)))


def _charged(rng: np.random.Generator, scene: IdealImage, mean: float) -> IdealImage:
    """The scene with a glow around heaps and dark trails behind them along the scan line."""
    image, covered = scene.image, (scene.labels > 0).astype(np.float32)
    if rng.random() < 0.35:
        glow = blurred(covered, float(rng.uniform(0.3, 2.0)) * mean)
        image = image + np.float32(rng.uniform(-0.1, 0.22)) * glow
    if rng.random() < 0.2:
        fade = float(np.exp(-1 / max(3 * mean, 1.0)))
        along = lfilter([1 - fade], [1, -fade], covered, axis=1)
        trails = np.asarray(along * (1 - covered), np.float32)  # zero on the bodies themselves
        image = image - np.float32(rng.uniform(0.05, 0.25)) * trails
    return IdealImage(np.asarray(image, np.float32), scene.labels, scene.optics)
