"""Families of packed and fine structures: rafts of rods, platelets, chains, thin walls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from samstar_rl.simulator import placement
from samstar_rl.simulator.image_families import (
    IdealImage,
    Points,
    aligned_rod,
    atoms,
    body_diameter,
    compose,
    extent_of,
    tiling_seeds,
)
from samstar_rl.simulator.shapes import SHAPES, Outline, rotated
from samstar_rl.simulator.styles import STYLES, Style, draw_style
from samstar_rl.simulator.texture import Shape, smooth
from samstar_rl.simulator.tiling import bent_coordinates, region_labels, tessellate

_MOST_RODS = 900


def packed_rods(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Rafts of rods side by side, rows of them end to end, rafts across one another."""
    style = _transmission_style(rng, contrast=(0.35, 1.6))
    aspect = float(np.exp(rng.uniform(np.log(2.2), np.log(7))))
    width = max(body_diameter(rng, shape) / np.sqrt(aspect), 6.0)
    capped = bool(rng.random() < 0.65)
    wanted = rng.uniform(0.25, 0.95) * shape[0] * shape[1] / (aspect * width**2)
    wanted = int(np.clip(wanted, 4, _MOST_RODS))
    places: list[Points] = []
    angles: list[float] = []
    while len(angles) < wanted:
        raft, turn = _raft(rng, width, aspect)
        raft = raft + rng.uniform(-0.05, 1.05, 2) * extent_of(shape)
        places.append(raft)
        angles += (turn + rng.normal(0, rng.choice([0.02, 0.06, 0.15]), len(raft))).tolist()
    positions = np.concatenate(places)
    shapes = [
        aligned_rod(rng, aspect * np.exp(rng.normal(0, 0.08)), capped)
        for _ in range(min(len(positions), 40))
    ]
    outlines = [rotated(shapes[rng.integers(len(shapes))], angle) for angle in angles]
    diameters = width * np.sqrt(aspect * 4 / np.pi) * np.exp(rng.normal(0, 0.05, len(positions)))
    most = rng.uniform(0.1, 0.6)
    return compose(rng, shape, style, diameters, positions, outlines=outlines, most=most)


def platelets(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Thin plates that shine through one another, some of them standing on edge in stacks."""
    style = _transmission_style(rng, contrast=(0.15, 0.6))
    look = replace(style.looks[0], model="flat", outline=rng.uniform(-0.1, 0.5))
    style = replace(style, looks=(look,))
    mean = body_diameter(rng, shape)
    count = int(np.clip(rng.uniform(0.15, 0.9) * shape[0] * shape[1] / mean**2, 2, 500))
    kind = str(rng.choice(["polygon", "disc", "rectangle", "pebble"], p=[0.5, 0.15, 0.25, 0.1]))
    outlines = [SHAPES[kind](rng) for _ in range(count)]
    diameters = placement.lognormal_diameters(rng, count, mean=mean, sigma_log=0.15)
    positions = placement.scattered(rng, diameters, extent_of(shape))
    if rng.random() < 0.5:
        stacks = [_edge_on_stack(rng, shape, mean) for _ in range(int(rng.integers(1, 5)))]
        outlines += [outline for stack in stacks for outline in stack[0]]
        diameters = np.concatenate([diameters, *(stack[1] for stack in stacks)])
        positions = np.concatenate([positions, *(stack[2] for stack in stacks)])
    most = rng.uniform(0.3, 0.65)
    return compose(rng, shape, style, diameters, positions, outlines=outlines, most=most)


def chains(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Necklaces of touching particles, straight or curled."""
    style = draw_style(rng)
    mean = body_diameter(rng, shape)
    count = int(np.clip(rng.uniform(0.05, 0.45) * shape[0] * shape[1] / mean**2, 3, 500))
    diameters = placement.lognormal_diameters(
        rng, count, mean=mean, sigma_log=float(rng.choice([0.03, 0.1, 0.2]))
    )
    positions = placement.chained(
        rng,
        diameters,
        extent_of(shape),
        chains=int(np.clip(count / rng.uniform(3, 30), 1, 60)),
        gap=rng.uniform(-0.12, 0.04),
        bend_rad=float(rng.choice([0.1, 0.35, 0.8])),
    )
    kind = str(rng.choice(["disc", "blob", "polygon", "rectangle", "pebble"]))
    outline = float(rng.choice([-1, 1]) * rng.uniform(0.1, 0.5))
    looks = tuple(replace(look, outline=look.outline or outline) for look in style.looks)
    style = replace(style, looks=looks)
    return compose(rng, shape, style, diameters, positions, kinds=[kind], most=0.5)


def coated(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Dense cores in thin, faint shells that touch or run into one another."""
    style = _transmission_style(rng, contrast=(0.5, 1.6))
    look = replace(style.looks[0], model="core_shell", core_fraction=rng.uniform(0.3, 0.9))
    style = replace(style, looks=(look,))
    mean = body_diameter(rng, shape)
    count = int(np.clip(rng.uniform(0.1, 0.75) * shape[0] * shape[1] / mean**2, 2, 700))
    diameters = placement.lognormal_diameters(
        rng, count, mean=mean, sigma_log=float(rng.choice([0.05, 0.15, 0.3]))
    )
    if rng.random() < 0.5:
        positions = placement.relaxed(rng, diameters, extent_of(shape), overlap=0.05)
    else:
        positions = placement.aggregated(
            rng, diameters, extent_of(shape), clusters=int(rng.integers(1, 9)), overlap=0.08
        )
    kind = str(rng.choice(["disc", "blob", "polygon", "pebble"]))
    return compose(rng, shape, style, diameters, positions, kinds=[kind], most=0.4)


def low_dose_atoms(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Atomic columns of a beam-sensitive crystal: few electrons a pixel."""
    scene = atoms(rng, shape)
    dose = float(np.exp(rng.uniform(np.log(2.5), np.log(40))))
    return replace(scene, optics=replace(scene.optics, dose=dose))


def thin_walls(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Cells, foams and grains whose walls are one to three pixels thin."""
    seeds = tiling_seeds(rng, shape, most=500 if min(shape) >= 640 else 120)
    spacing = float(np.sqrt(shape[0] * shape[1] / len(seeds)))
    bend = rng.uniform(0, 0.1) * spacing
    x, y = bent_coordinates(rng, shape, bend_px=bend, grain_px=max(spacing * 0.5, 4.0))
    tiling = tessellate(seeds, x, y)
    wall = rng.uniform(1.0, 3.0)
    sign = float(rng.choice([-1, 1]))
    level = 0.5 - 0.2 * sign + rng.uniform(-0.1, 0.1)
    tones = rng.uniform(0, 0.07) * rng.normal(0, 1, len(seeds))
    image = level + tones[tiling.region] + rng.uniform(0, 0.07) * smooth(rng, shape, 8)
    broken = 1 + rng.uniform(0, 0.6) * smooth(rng, shape, max(spacing / 2, 4.0))
    image = image + sign * rng.uniform(0.2, 0.5) * broken * np.exp(-((tiling.gap_px / wall) ** 2))
    labels = region_labels(tiling, wall, np.ones(len(seeds), bool))
    return IdealImage(image.astype(np.float32), labels, draw_style(rng).optics)


def _transmission_style(rng: np.random.Generator, *, contrast: tuple[float, float]) -> Style:
    if rng.random() < 0.75:
        style = STYLES["bright_field"](rng)
        return replace(style, mixing=replace(style.mixing, contrast=rng.uniform(*contrast)))
    style = STYLES["dark_field"](rng)
    return replace(style, mixing=replace(style.mixing, contrast=rng.uniform(0.2, 0.6)))


def _raft(rng: np.random.Generator, width: float, aspect: float) -> tuple[Points, float]:
    """Positions of rods around the origin and the angle of their long axes."""
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(2, 15))
    if rng.random() < 0.2:
        rows = columns = 1
    turn = float(rng.uniform(0, np.pi))
    across, along = np.meshgrid(np.arange(columns) - columns / 2, np.arange(rows) - rows / 2)
    shear = rng.uniform(-0.3, 0.3)
    u = (along + shear * across / aspect).ravel() * aspect * width * rng.uniform(1.02, 1.15)
    v = across.ravel() * width * rng.uniform(0.98, 1.2)
    u = u + rng.normal(0, 0.07 * aspect * width, len(u))
    v = v + rng.normal(0, 0.04 * width, len(v))
    kept = rng.random(len(u)) > rng.uniform(0, 0.2)
    if not kept.any():
        kept[0] = True
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([cos * u - sin * v, sin * u + cos * v], axis=1)[kept], turn


def _edge_on_stack(
    rng: np.random.Generator, shape: Shape, length: float
) -> tuple[list[Outline], Points, Points]:
    """Outlines, diameters and positions of plates that stand on edge, one behind another."""
    aspect = max(length / max(length * rng.uniform(0.12, 0.3), 5.0), 1.5)
    width = length / aspect
    positions, turn = _raft(rng, width, aspect)
    positions = positions + rng.uniform(0.1, 0.9, 2) * extent_of(shape)
    outlines = [
        rotated(aligned_rod(rng, aspect, False), turn + rng.normal(0, 0.05)) for _ in positions
    ]
    return outlines, np.full(len(positions), width * np.sqrt(aspect * 4 / np.pi)), positions
