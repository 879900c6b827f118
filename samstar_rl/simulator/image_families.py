"""Families of the training images: what lies on the film, and where.

Each family takes a random generator and a shape and returns an `IdealImage`: the image, its labels,
and the optics that shall record it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.simulator import placement
from samstar_rl.simulator.canvas import Canvas, Mixing, Particle
from samstar_rl.simulator.shading import Look
from samstar_rl.simulator.shapes import (
    SHAPES,
    Outline,
    blob,
    disc,
    rod,
    rotated,
    roughened,
    worm,
)
from samstar_rl.simulator.styles import (
    STYLES,
    Style,
    draw_background,
    draw_style,
    draw_surface,
)
from samstar_rl.simulator.texture import Field, Shape, smooth
from samstar_rl.simulator.tiling import (
    bent_coordinates,
    region_labels,
    tessellate,
)

if TYPE_CHECKING:
    from samstar_rl.simulator.optics import Optics

Labels = NDArray[np.int32]
Points = NDArray[np.float64]

SMALLEST_DIAMETER_PX = 4.0
_DISTINCT_OUTLINES = 40
MOST_PARTICLES = 250
WIDE_PX = 640

_PLACES: tuple[Callable[[np.random.Generator, Points, placement.Extent], Points], ...] = (
    placement.separated,
    placement.scattered,
    placement.relaxed,
)


@dataclass(frozen=True, eq=False)
class IdealImage:
    """An ideal image, about 0 to 1, with its labels and the optics to record it."""

    image: Field
    labels: Labels
    optics: Optics


def scattered(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Particles here and there, apart or by chance overlapping."""
    style = draw_style(rng)
    mean = _diameter(rng, shape, 5, 0.42)
    count = _count(rng, shape, mean, cover=(0.03, 0.65))
    diameters = _diameters(rng, shape, count, mean)
    place = placement.separated if rng.random() < 0.65 else placement.scattered
    return compose(rng, shape, style, diameters, place(rng, diameters, extent_of(shape)))


def aggregates(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Chains and clumps of touching or overlapping particles on empty film."""
    style = draw_style(rng)
    mean = _diameter(rng, shape, 7, 0.3)
    count = _count(rng, shape, mean, cover=(0.08, 0.65), most=160)
    diameters = _diameters(rng, shape, count, mean, widest=0.3)
    positions = placement.aggregated(
        rng,
        diameters,
        extent_of(shape),
        clusters=int(np.exp(rng.uniform(0, np.log(12)))),
        overlap=rng.uniform(-0.02, 0.25) if rng.random() < 0.7 else rng.uniform(0.2, 0.5),
        branching=rng.uniform(0.1, 1.0),
    )
    order = rng.permutation(count)
    return compose(rng, shape, _seamed(rng, style), diameters[order], positions[order])


def clouds(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Overlapping heaps: normal clouds of particles."""
    style = draw_style(rng)
    mean = _diameter(rng, shape, 9, 0.35)
    count = _count(rng, shape, mean, cover=(0.08, 0.7), most=150)
    diameters = _diameters(rng, shape, count, mean, widest=0.3)
    clusters, spread = int(rng.integers(1, 5)), rng.uniform(0.06, 0.22)
    extent = extent_of(shape)
    positions = placement.clustered(rng, diameters, extent, clusters=clusters, spread=spread)
    return compose(rng, shape, _seamed(rng, style), diameters, positions)


def monolayer(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Self-assembled layer: particles on a lattice, nearly touching, with vacancies."""
    style = draw_style(rng)
    diameter = _diameter(rng, shape, 10, 0.4)
    if rng.random() < 0.25:
        return _smectic(rng, shape, style, diameter)
    diameter = max(diameter, float(np.sqrt(shape[0] * shape[1] / MOST_PARTICLES)))
    spacing = diameter * rng.uniform(0.97, 1.3)
    square = rng.random() < 0.25
    positions = placement.lattice(
        rng,
        extent_of(shape),
        spacing=spacing,
        angle_rad=np.pi / 2 if square else np.pi / 3,
        jitter=rng.choice([0.01, 0.04, 0.1]),
        vacancies=rng.uniform(0, 0.35) * (rng.random() < 0.6),
    )
    positions = positions[rng.permutation(len(positions))]
    diameters = placement.lognormal_diameters(
        rng, len(positions), mean=diameter, sigma_log=rng.choice([0.01, 0.05, 0.1])
    )
    kinds = ["rectangle"] if square else ["disc", "disc", "polygon", "ellipse", "blob"]
    return compose(rng, shape, style, diameters, positions, kinds=[str(rng.choice(kinds))])


def dense(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Random close packing: many particles, touching everywhere."""
    style = draw_style(rng)
    mean = _diameter(rng, shape, 9, 0.36)
    count = _count(rng, shape, mean, cover=(0.55, 1.0))
    diameters = _diameters(rng, shape, count, mean, widest=0.3)
    overlap = rng.uniform(-0.08, 0.12)
    positions = placement.relaxed(rng, diameters, extent_of(shape), overlap=overlap)
    return compose(rng, shape, _seamed(rng, style), diameters, positions)


def pile(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Many layers of opaque particles, the deeper ones darker: SEM of powders and colloids."""
    style = _seamed(rng, STYLES["secondary"](rng))
    mean = _diameter(rng, shape, 11, 0.42)
    count = _count(rng, shape, mean, cover=(1.0, 2.2))
    diameters = _diameters(rng, shape, count, mean, widest=0.3)
    positions = placement.scattered(rng, diameters, extent_of(shape))
    depth = np.linspace(rng.uniform(0.2, 0.9), 1.0, count)
    style = replace(style, mixing=replace(style.mixing, level=rng.uniform(0.0, 0.15)))
    return compose(rng, shape, style, diameters, positions, tones=depth)


def mixture(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Round and rectangular particles together, each kind with its size and its contrast."""
    style = draw_style(rng)
    mean = _diameter(rng, shape, 8, 0.28)
    count = _count(rng, shape, mean, cover=(0.08, 0.6))
    other = rng.uniform(0.5, 2.0) * mean
    round_ones = rng.random(count) < rng.uniform(0.25, 0.75)
    diameters = np.where(
        round_ones,
        _diameters(rng, shape, count, mean, widest=0.2),
        _diameters(rng, shape, count, other, widest=0.2),
    )
    place = _PLACES[rng.integers(3)]
    positions = place(rng, diameters, extent_of(shape))
    angular = str(rng.choice(["rectangle", "rod", "polygon", "bipyramid", "shard"]))
    kinds = np.where(round_ones, str(rng.choice(["disc", "ellipse", "blob"])), angular)
    return compose(rng, shape, style, diameters, positions, kinds=[str(k) for k in kinds])


def beside_large(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Nanoparticles beside, on and under a few large bodies or aggregates."""
    style = draw_style(rng)
    extent = extent_of(shape)
    large = _diameters(rng, shape, int(rng.integers(1, 5)), min(shape) * rng.uniform(0.2, 0.5))
    small_mean = _diameter(rng, shape, 4.5, 0.06)
    small_count = _count(rng, shape, small_mean, cover=(0.02, 0.25), most=200)
    small = _diameters(rng, shape, small_count, small_mean, widest=0.3)
    large_at = placement.separated(rng, large, extent, gap=0.0)
    small_at = placement.scattered(rng, small, extent)
    if rng.random() < 0.6:  # clear of the large ones, as most preparations leave them
        steps = small_at[:, None] - np.nan_to_num(large_at, nan=1e6)[None]
        near = np.sqrt((steps**2).sum(axis=2)) < 0.55 * large[None] + 0.5 * small[:, None]
        small_at[near.any(axis=1)] = np.nan
    big_kind = str(rng.choice(["ragged", "ragged", "blob", "disc", "shard", "polygon"]))
    small_kind = str(rng.choice(["disc", "disc", "blob", "polygon"]))
    return compose(
        rng,
        shape,
        style,
        np.concatenate([large, small]),
        np.concatenate([large_at, small_at]),
        kinds=[big_kind] * len(large) + [small_kind] * len(small),
    )


def large_bodies(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """One or a few bodies that fill much of the field, often ragged or granular."""
    style = draw_style(rng)
    mean = min(shape) * rng.uniform(0.25, 0.6)
    diameters = _diameters(rng, shape, int(rng.integers(1, 6)), mean, widest=0.3)
    extent = extent_of(shape)
    if rng.random() < 0.5:
        positions = placement.separated(rng, diameters, extent, gap=-0.05)
    else:
        positions = placement.scattered(rng, diameters, extent)
    kinds = ["ragged", "ragged", "blob", "disc", "rod", "rectangle", "polygon", "shard", "worm"]
    looks = tuple(
        replace(look, texture=look.texture + rng.uniform(0, 0.25)) for look in style.looks
    )
    style = replace(style, looks=looks)
    return compose(rng, shape, style, diameters, positions, kinds=[str(rng.choice(kinds))])


def rods(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Rods, needles and fibres: bundles, crossings, or scattered."""
    style = draw_style(rng)
    aspect = float(np.exp(rng.uniform(np.log(2), np.log(12))))
    width = float(np.exp(rng.uniform(np.log(4.5), np.log(0.14 * min(shape)))))
    mean = width * np.sqrt(aspect)
    count = _count(rng, shape, mean, cover=(0.05, 0.6), most=120)
    diameters = _diameters(rng, shape, count, mean, widest=0.3)
    bent = rng.random() < 0.25
    capped, common, spread = rng.random() < 0.6, rng.uniform(0, np.pi), rng.choice([0.1, 0.4, 3.0])
    outlines = []
    for _ in range(count):
        each = aspect * np.exp(rng.normal(0, 0.15))
        outline = worm(rng, aspect=each) if bent else aligned_rod(rng, each, capped)
        outlines.append(rotated(outline, common + rng.normal(0, spread)))
    extent = extent_of(shape)
    if rng.random() < 0.5:
        positions = placement.scattered(rng, diameters, extent)
    else:
        clusters, spread = int(rng.integers(1, 4)), rng.uniform(0.08, 0.25)
        positions = placement.clustered(rng, diameters, extent, clusters=clusters, spread=spread)
    most = rng.uniform(0.0, 0.7)
    return compose(rng, shape, style, diameters, positions, outlines=outlines, most=most)


def decorated(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Spheres with rough or bumpy skins: raspberries, flowers, sintered agglomerates."""
    style = draw_style(rng)
    mean = _diameter(rng, shape, 16, 0.4)
    count = _count(rng, shape, mean, cover=(0.08, 0.7), most=60)
    diameters = _diameters(rng, shape, count, mean, widest=0.25)
    bumps = rng.uniform(0.006, 0.025)
    outlines = [roughened(disc(rng), rng, amplitude=bumps) for _ in range(count)]
    looks = tuple(replace(look, texture=rng.uniform(0.15, 0.5)) for look in style.looks)
    grain_px = max(mean * rng.uniform(0.06, 0.2), 2.5)
    surface = str(rng.choice(["bumps", "relief"]))
    style = replace(style, looks=looks, surface=surface, surface_grain_px=grain_px)
    place = _PLACES[2 * int(rng.integers(2))]
    positions = place(rng, diameters, extent_of(shape))
    return compose(rng, shape, style, diameters, positions, outlines=outlines)


def core_shell(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Core-shell particles and hollow spheres, clearly resolved."""
    style = STYLES[str(rng.choice(["bright_field", "dark_field"]))](rng)
    model = str(rng.choice(["core_shell", "core_shell", "hollow"]))
    look = replace(style.looks[0], model=model)
    style = replace(
        style, looks=(look,), mixing=replace(style.mixing, contrast=rng.uniform(0.4, 1.2))
    )
    mean = _diameter(rng, shape, 10, 0.3)
    count = _count(rng, shape, mean, cover=(0.05, 0.6), most=150)
    diameters = _diameters(rng, shape, count, mean, widest=0.2)
    place = _PLACES[2 * int(rng.integers(2))]
    positions = place(rng, diameters, extent_of(shape))
    kinds = [str(rng.choice(["disc", "disc", "blob", "polygon"]))]
    return compose(rng, shape, style, diameters, positions, kinds=kinds)


def vesicles(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Closed membranes: dark or bright lines around insides like the outside, some nested."""
    style = draw_style(rng)
    look = Look(
        model="membrane",
        rim_width=rng.uniform(0.1, 0.5),
        core_fraction=rng.normal(0, 1.0),
    )
    contrast = float(rng.choice([-1, 1]) * rng.uniform(0.15, 0.6))
    style = replace(style, mixing=Mixing("add", contrast), looks=(look,), film_level=0.5)
    mean = _diameter(rng, shape, 14, 0.4)
    count = _count(rng, shape, mean, cover=(0.05, 0.6), most=90)
    diameters = _diameters(rng, shape, count, mean, widest=0.5)
    place = _PLACES[2 * int(rng.random() < 0.35)]
    positions = place(rng, diameters, extent_of(shape))
    kinds = [str(rng.choice(["disc", "ellipse", "blob"]))]
    return compose(rng, shape, style, diameters, positions, kinds=kinds, most=0.1)


def atoms(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Atomic columns: Gaussian spots on a lattice, one or two sublattices, perhaps a particle."""
    style = STYLES["dark_field" if rng.random() < 0.7 else "bright_field"](rng)
    spacing = float(np.exp(rng.uniform(np.log(8), np.log(0.14 * min(shape)))))
    positions = placement.lattice(
        rng,
        extent_of(shape),
        spacing=spacing,
        angle_rad=float(rng.choice([np.pi / 2, np.pi / 3, rng.uniform(0.9, 1.6)])),
        ratio=rng.choice([1.0, rng.uniform(0.8, 1.4)]),
        jitter=rng.uniform(0, 0.05),
        vacancies=rng.uniform(0, 0.25) * (rng.random() < 0.4),
        limit=600,
    )
    if rng.random() < 0.35:
        centre = rng.uniform(0.3, 0.7, 2) * extent_of(shape)
        reach = rng.uniform(0.25, 0.6) * min(shape)
        positions = positions[((positions - centre) ** 2).sum(axis=1) < reach**2]
    if len(positions) > 320:  # a cut through the middle would look odd: take fewer, larger cells
        return atoms(rng, shape)
    diameter = max(spacing * rng.uniform(0.4, 0.85), SMALLEST_DIAMETER_PX)
    tones = 1 + rng.normal(0, 0.06, len(positions))
    tones[:: 2 if rng.random() < 0.4 else 1] *= rng.uniform(0.6, 1.0)
    look = replace(style.looks[0], model="thickness", texture=0.0, outline=0.0)
    style = replace(style, looks=(look,), optics=replace(style.optics, blur_px=0.12 * spacing))
    diameters = np.full(len(positions), diameter)
    return compose(rng, shape, style, diameters, positions, kinds=["disc"], tones=tones)


def grains(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Polycrystal: regions of different grey with dark, bright or hardly visible boundaries."""
    seeds = tiling_seeds(rng, shape, most=160)
    spacing = np.sqrt(shape[0] * shape[1] / len(seeds))
    bend = rng.uniform(0, 0.12) * spacing
    x, y = bent_coordinates(rng, shape, bend_px=bend, grain_px=max(spacing * 0.5, 4.0))
    tiling = tessellate(seeds, x, y)
    tone = rng.uniform(0.03, 0.22) if rng.random() < 0.7 else 0.0
    line = rng.uniform(0.15, 0.5) if tone < 0.08 else rng.uniform(0, 0.4)
    width = min(rng.uniform(0.8, 4), 0.15 * spacing)
    level = rng.uniform(0.35, 0.65)
    image = level + (tone * rng.normal(0, 1, len(seeds)))[tiling.region]
    image = image + rng.uniform(0, 0.06) * smooth(rng, shape, rng.uniform(2, 20))
    image += rng.choice([-1, 1]) * line * np.exp(-((tiling.gap_px / width) ** 2))
    labels = region_labels(tiling, width, np.ones(len(seeds), bool))
    return IdealImage(image.astype(np.float32), labels, draw_style(rng).optics)


def cells(rng: np.random.Generator, shape: Shape) -> IdealImage:
    """Tissue and foams: cells with thick walls, some absent, some with a nucleus."""
    seeds = tiling_seeds(rng, shape, most=90)
    spacing = np.sqrt(shape[0] * shape[1] / len(seeds))
    x, y = bent_coordinates(rng, shape, bend_px=0.08 * spacing, grain_px=max(spacing * 0.6, 5.0))
    tiling = tessellate(seeds, x, y)
    wall = rng.uniform(0.06, 0.3) * spacing
    kept = rng.random(len(seeds)) > rng.uniform(0, 0.4) * (rng.random() < 0.4)
    inside = np.clip((tiling.gap_px - wall / 2) / max(0.15 * wall, 0.7) + 0.5, 0, 1)
    inside *= kept[tiling.region]
    wall_grey, inside_grey = rng.permutation([rng.uniform(0.1, 0.4), rng.uniform(0.55, 0.9)])
    tones = inside_grey + rng.uniform(0, 0.08) * rng.normal(0, 1, len(seeds))
    image = wall_grey + inside * (tones[tiling.region] - wall_grey)
    image += rng.uniform(0, 0.1) * smooth(rng, shape, rng.uniform(2, 14)) * inside
    if rng.random() < 0.5:
        rim = np.exp(-((tiling.gap_px / (0.5 * wall)) ** 2))
        image += rng.normal(0, 0.25) * rim
    if rng.random() < 0.3:
        _draw_nuclei(rng, image, seeds[kept], spacing)
    labels = region_labels(tiling, wall, kept)
    return IdealImage(image.astype(np.float32), labels, draw_style(rng).optics)


def compose(
    rng: np.random.Generator,
    shape: Shape,
    style: Style,
    diameters: Points,
    positions: Points,
    *,
    kinds: list[str] | None = None,
    outlines: list[Outline] | None = None,
    tones: Points | None = None,
    most: float = 0.75,
    background: Field | None = None,
) -> IdealImage:
    """Draw particles in the given order.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Height and width in px.
    style : Style
    diameters : (N,) array
        In px.
    positions : (N, 2) array
        x and y in px; NaN leaves a particle out.
    kinds : list of str, optional
        Shapes to draw from, or one for each particle.
    outlines : list of Outline, optional
        In place of kinds.
    tones : (N,) array, optional
        Factors on the particles' contrast.
    most : float
        Particles more than this part of which is covered already are left out.
    background : (H, W) array, optional
        By default what the style has beneath its particles.

    Returns
    -------
    IdealImage
    """
    if background is None:
        background = draw_background(rng, style, shape)
    canvas = Canvas(background, style.mixing, draw_surface(rng, style, shape))
    if outlines is None:
        outlines = _outlines(rng, kinds or _kinds(rng), len(diameters))
    tones = np.ones(len(diameters)) if tones is None else tones
    tones = np.maximum(tones * (1 + rng.normal(0, style.tone_spread, len(diameters))), 0.3)
    looks = rng.integers(len(style.looks), size=len(diameters))
    grain = rng.random((len(diameters), 2))
    transparent = style.mixing.mode != "occlude"
    for index in np.flatnonzero(~np.isnan(positions[:, 0])):
        particle = Particle(
            outline=outlines[index],
            x=float(positions[index, 0]),
            y=float(positions[index, 1]),
            diameter=float(diameters[index]),
            tone=float(tones[index]),
            look=style.looks[looks[index]],
            grain=(float(grain[index, 0]), float(grain[index, 1])),
        )
        canvas.draw(particle, most_covered=most if transparent else 1.0)
    return IdealImage(canvas.image, canvas.labels, style.optics)


def _seamed(rng: np.random.Generator, style: Style) -> Style:
    """The style with a visible seam where opaque particles meet: no one can part flat ones."""
    if style.mixing.mode != "occlude":
        return style
    plain = {"flat", "gradient", "dome", "concave"}
    seamless = [look.model in plain and abs(look.outline) < 0.1 for look in style.looks]
    looks = (
        replace(look, outline=rng.choice([-1, 1]) * rng.uniform(0.2, 0.6)) if bare else look
        for look, bare in zip(style.looks, seamless, strict=True)
    )
    return replace(style, looks=tuple(looks))


def _kinds(rng: np.random.Generator) -> list[str]:
    """One kind of particle for the whole sample, sometimes two."""
    names = ["disc", "ellipse", "polygon", "rectangle", "bipyramid", "rod", "blob", "ragged"]
    names += ["worm", "peanut"]
    shares = [0.36, 0.1, 0.15, 0.08, 0.03, 0.07, 0.11, 0.05, 0.03, 0.02]
    count = 1 if rng.random() < 0.75 else 2
    return [str(name) for name in rng.choice(names, size=count, p=shares)]


def _outlines(rng: np.random.Generator, kinds: list[str], count: int) -> list[Outline]:
    """Outlines of the given kinds: one kind each, or drawn from a shorter list."""
    if len(kinds) < count:
        kinds = [kinds[index] for index in rng.integers(len(kinds), size=count)]
    rough = rng.uniform(0.004, 0.02) if rng.random() < 0.3 else 0.0
    made: dict[str, list[Outline]] = {kind: [] for kind in kinds}
    outlines = []
    for kind in kinds[:count]:
        if len(made[kind]) < _DISTINCT_OUTLINES:
            outline = SHAPES[kind](rng)
            made[kind].append(roughened(outline, rng, amplitude=rough) if rough else outline)
            outlines.append(made[kind][-1])
        else:  # no eye sees a shape return at another angle, and turning is cheap
            again = made[kind][rng.integers(_DISTINCT_OUTLINES)]
            outlines.append(rotated(again, rng.uniform(-np.pi, np.pi)))
    return outlines


def _smectic(rng: np.random.Generator, shape: Shape, style: Style, diameter: float) -> IdealImage:
    """Rods or bricks side by side in rows: a stretched lattice of equal orientation."""
    aspect, turn = rng.uniform(1.4, 4.5), rng.uniform(0, np.pi)
    width = max(diameter / np.sqrt(aspect), np.sqrt(shape[0] * shape[1] / (220 * aspect)), 4.5)
    gap = rng.uniform(1.02, 1.25)
    positions = placement.lattice(
        rng,
        extent_of(shape),
        spacing=width * gap,
        angle_rad=np.pi / 2 - (rng.uniform(0, 0.4) if rng.random() < 0.5 else 0.0),
        ratio=aspect * rng.uniform(1.0, 1.1),
        turn_rad=turn,
        jitter=rng.uniform(0, 0.06),
        vacancies=rng.uniform(0, 0.3),
        limit=250,
    )
    capped = bool(rng.random() < 0.6)
    outlines = []
    for _ in range(len(positions)):
        angle = turn + np.pi / 2 + rng.normal(0, 0.05)
        outlines.append(rotated(aligned_rod(rng, aspect, capped), angle))
    diameters = np.full(len(positions), width * np.sqrt(aspect * 4 / np.pi) * 0.97)
    return compose(rng, shape, style, diameters, positions, outlines=outlines)


def aligned_rod(rng: np.random.Generator, aspect: float, capped: bool) -> Outline:
    """Make a rod along x: the random turn of the shape is undone.

    Parameters
    ----------
    rng : numpy.random.Generator
    aspect : float
        Length over width.
    capped : bool
        Whether its ends are round.

    Returns
    -------
    Outline
    """
    outline = rod(rng, aspect=max(float(aspect), 1.05), capped=capped)
    values, vectors = np.linalg.eigh(np.cov(outline.points.T))
    long_axis = vectors[:, int(np.argmax(values))]
    return rotated(outline, -float(np.arctan2(long_axis[1], long_axis[0])))


def tiling_seeds(rng: np.random.Generator, shape: Shape, *, most: int) -> Points:
    """Draw seeds of a tiling: random, or a disturbed lattice for more even regions.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Height and width in px.
    most : int
        Number of seeds.

    Returns
    -------
    (N, 2) array
        x and y in px.
    """
    count = int(np.exp(rng.uniform(np.log(5), np.log(most))))
    extent = np.asarray(extent_of(shape))
    if rng.random() < 0.35:
        return np.asarray(rng.uniform(-0.08, 1.08, (count, 2)) * extent)
    spacing = float(np.sqrt(extent.prod() / count))
    seeds = placement.lattice(
        rng, extent_of(shape), spacing=spacing, jitter=rng.uniform(0.05, 0.25)
    )
    return seeds if len(seeds) > 2 else np.asarray(rng.uniform(0, 1, (5, 2)) * extent)


def _draw_nuclei(rng: np.random.Generator, image: Field, seeds: Points, spacing: float) -> None:
    """A darker or brighter round body in each cell; it belongs to the cell."""
    step = rng.choice([-1, 1]) * rng.uniform(0.08, 0.3)
    drawn = np.zeros(image.shape, np.float32)
    for seed in seeds:
        points = seed + blob(rng, roughness=0.1).points * spacing * rng.uniform(0.3, 0.45)
        cv2.fillPoly(drawn, [np.round(points * 8).astype(np.int32)], 1.0, shift=3)
    image += step * cv2.GaussianBlur(drawn, (0, 0), 1.0)


def extent_of(shape: Shape) -> tuple[float, float]:
    """Width and height, as functions of `placement` take them."""
    height, width = shape
    return float(width), float(height)


def _diameter(rng: np.random.Generator, shape: Shape, low_px: float, high_share: float) -> float:
    """A mean diameter, log-uniform from `low_px` to a share of the short side."""
    high_px = max(high_share * min(shape), 1.5 * low_px)
    # The exponent favours the larger ones, as photographers do: in EMPS the median particle of a
    # picture measures a fifth of its short side.
    return float(low_px * (high_px / low_px) ** (rng.random() ** 0.7))


def _count(
    rng: np.random.Generator,
    shape: Shape,
    mean: float,
    *,
    cover: tuple[float, float],
    most: int = MOST_PARTICLES,
) -> int:
    """Number of particles that cover a share of the field within the given limits."""
    share = rng.uniform(*cover)
    return int(np.clip(share * shape[0] * shape[1] / (np.pi / 4 * mean**2), 1, most))


def _diameters(
    rng: np.random.Generator, shape: Shape, count: int, mean: float, *, widest: float = 0.6
) -> Points:
    """Lognormal diameters in px, within what an image can show."""
    sigma_log = min(float(rng.choice([0.05, 0.18, 0.35, 0.6], p=[0.35, 0.35, 0.2, 0.1])), widest)
    diameters = placement.lognormal_diameters(rng, count, mean=mean, sigma_log=sigma_log)
    return np.asarray(np.clip(diameters, SMALLEST_DIAMETER_PX, 0.6 * min(shape)))


def body_diameter(rng: np.random.Generator, shape: Shape) -> float:
    """A mean diameter in px: 14 to 64 in a wide picture, else from 12 to a third of the side."""
    if min(shape) >= WIDE_PX:
        return float(np.exp(rng.uniform(np.log(14), np.log(64))))
    return float(np.exp(rng.uniform(np.log(12), np.log(max(0.33 * min(shape), 16)))))
