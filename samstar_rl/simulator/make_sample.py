"""From a preset and a seed to one sample, with its optics and its true parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.simulator import placement, presets
from samstar_rl.simulator.drift import SAMPLE_OVER_FIELD, DriftState
from samstar_rl.simulator.film import FILMS
from samstar_rl.simulator.parameters import (
    PopulationParameters,
    SampleParameters,
    shape_ranges,
    size_statistics,
)
from samstar_rl.simulator.sample import (
    PRESENT_AT_START,
    Film,
    ParticleSample,
    Population,
    TilingLook,
    TilingSample,
    View,
)
from samstar_rl.simulator.shapes import SHAPES, Outline, rotated, smoothed
from samstar_rl.simulator.styles import (
    STYLES,
    Style,
    draw_background,
    draw_surface,
)
from samstar_rl.simulator.texture import smooth

if TYPE_CHECKING:
    from samstar_rl.simulator.optics import Optics
    from samstar_rl.simulator.texture import Shape

Points = NDArray[np.float64]
Extent = tuple[float, float]

# Longest side of the picture, in px, from which a sample's mean coverage is read.
_OVERVIEW_PX = 512
_TILING_PX = 384
_POLARITY_PX = 128
_NM2_PER_UM2 = 1e6
_LEAST_AREA_PX = 60
# Beyond these many standard deviations the lognormal distribution is cut: no sample holds them.
_CUT_SIGMAS = 2.5


@dataclass(frozen=True, eq=False)
class Prepared:
    """A sample ready for the microscope.

    Parameters
    ----------
    sample : ParticleSample or TilingSample
        What is looked at.
    optics : Optics
        How it is recorded at the start.
    parameters : SampleParameters
        Its true parameters at the start.
    """

    sample: ParticleSample | TilingSample
    optics: Optics
    parameters: SampleParameters


def prepare(preset: presets.Preset, rng: np.random.Generator, shape: Shape) -> Prepared:
    """Draw one sample of a preset for frames of the given shape.

    Parameters
    ----------
    preset : Preset
    rng : numpy.random.Generator
    shape : (int, int)
        Height and width in px.

    Returns
    -------
    Prepared
    """
    match preset:
        case presets.ParticlePreset():
            style = _drawn_style(preset, rng)
            means = tuple(rng.uniform(*one.mean_diameter_nm) for one in preset.populations)
            field_nm = means[0] * _log_uniform(rng, preset.field_diameters)
            kind = SampleType(preset, style, means, field_nm)
            return prepare_field(kind, rng, shape, magnification=1.0, over_field=SAMPLE_OVER_FIELD)
        case presets.LatticePreset():
            return _prepare_lattice(preset, rng, shape)
        case presets.TilingPreset():
            return _prepare_tiling(preset, rng, shape)
        case _:
            assert_never(preset)


def prepare_field(
    kind: SampleType,
    rng: np.random.Generator,
    shape: Shape,
    *,
    magnification: float,
    over_field: float,
) -> Prepared:
    """Draw one field of particles of a known type.

    Parameters
    ----------
    kind : SampleType
    rng : numpy.random.Generator
        Places the particles.
    shape : (int, int)
        Height and width in px.
    magnification : float
        1 shows the type's own field.
    over_field : float
        By how much wider than the frame the field is drawn.

    Returns
    -------
    Prepared
    """
    style, means = kind.style, kind.means_nm
    pixel_size_nm = kind.field_nm / magnification / min(shape)
    extent = _extent_nm(shape, pixel_size_nm, over_field)
    parts, sigmas = [], []
    for population, mean in zip(kind.preset.populations, means, strict=True):
        sigmas.append(rng.uniform(*population.sigma_log))
        coverage = _log_uniform(rng, population.coverage) / PRESENT_AT_START
        parts.append(_placed(population, rng, style, mean, sigmas[-1], coverage, extent))
    particles = _joined(parts, rng, extent, apart=len(parts) > 1)
    background = draw_background(rng, style, _film_shape(shape, over_field))
    sample = ParticleSample(
        particles,
        Film(background, pixel_size_nm),
        style.mixing,
        draw_surface(rng, style, shape),
        rng,
    )
    start = particles.rank < PRESENT_AT_START
    parameters = _parameters(
        sample,
        particles.diameters_nm[start],
        [outline for outline, there in zip(particles.outlines, start, strict=True) if there],
        extent,
        pixel_size_nm,
    )
    known = tuple(
        PopulationParameters(float(mean), float(sigma_log), len(part) / len(particles))
        for mean, sigma_log, part in zip(means, sigmas, parts, strict=True)
    )
    return Prepared(sample, style.optics, replace(parameters, populations=known))


@dataclass(frozen=True)
class SampleType:
    """A style and sizes of one kind of sample, of which there may be many fields.

    Parameters
    ----------
    preset : ParticlePreset
        From its ranges each field draws what is left open; those that `draw` made have no width.
    style : Style
        How it looks.
    means_nm : tuple of float
        Mean diameter of each population.
    field_nm : float
        Short side of the field of view at a magnification of 1.
    """

    preset: presets.ParticlePreset
    style: Style
    means_nm: tuple[float, ...]
    field_nm: float

    @classmethod
    def draw(
        cls,
        preset: presets.ParticlePreset,
        rng: np.random.Generator,
        field_diameters: tuple[float, float],
    ) -> SampleType:
        """Draw one type of sample that a preset knows.

        Parameters
        ----------
        preset : ParticlePreset
        rng : numpy.random.Generator
        field_diameters : (float, float)
            Short side of the field at a magnification of 1, in mean diameters.

        Returns
        -------
        SampleType
        """
        populations = []
        for population in preset.populations:
            n_kinds = int(rng.integers(1, population.mixed + 1))
            mean, sigma_log = (
                float(rng.uniform(*ends))
                for ends in (population.mean_diameter_nm, population.sigma_log)
            )
            coverage = _log_uniform(rng, population.coverage)
            populations.append(
                presets.Population(
                    kinds=tuple(str(kind) for kind in rng.choice(population.kinds, size=n_kinds)),
                    mean_diameter_nm=(mean, mean),
                    sigma_log=(sigma_log, sigma_log),
                    coverage=(coverage, coverage),
                    arrangements=(str(rng.choice(population.arrangements)),),
                    mixed=n_kinds,
                )
            )
        means = tuple(population.mean_diameter_nm[0] for population in populations)
        return cls(
            replace(preset, populations=tuple(populations)),
            _drawn_style(preset, rng),
            means,
            means[0] * _log_uniform(rng, field_diameters),
        )


def _drawn_style(preset: presets.ParticlePreset, rng: np.random.Generator) -> Style:
    style = _steady(rng, STYLES[str(rng.choice(preset.styles))](rng))
    if preset.models:
        # A core of nearly the whole or hardly any of the particle would not be seen.
        core = rng.uniform(0.4, 0.7)
        look = replace(style.looks[0], model=str(rng.choice(preset.models)), core_fraction=core)
        style = replace(style, looks=(look,))
    return style


def _placed(
    population: presets.Population,
    rng: np.random.Generator,
    style: Style,
    mean: float,
    sigma_log: float,
    coverage: float,
    extent: Extent,
) -> Population:
    """Particles of one population over the whole sample, the later-born ones included."""
    mean_area = np.pi / 4 * mean**2 * np.exp(sigma_log**2)  # E[d^2] of a lognormal
    count = max(int(coverage * extent[0] * extent[1] / mean_area), 4)
    median = mean * np.exp(-(sigma_log**2) / 2)
    deviations = np.clip(rng.normal(0, 1, count), -_CUT_SIGMAS, _CUT_SIGMAS)
    diameters = np.asarray(median * np.exp(sigma_log * deviations))
    arrangement = str(rng.choice(population.arrangements))
    positions = ARRANGEMENTS[arrangement](rng, diameters, extent)
    found = ~np.isnan(positions[:, 0])
    count = int(found.sum())
    kinds = rng.choice(population.kinds, size=int(rng.integers(1, population.mixed + 1)))
    tones = np.maximum(1 + rng.normal(0, style.tone_spread, count), 0.4)
    return Population(
        positions_nm=positions[found] - np.asarray(extent) / 2,
        diameters_nm=diameters[found],
        outlines=_outlines(rng, [str(kind) for kind in kinds], count),
        tones=tones,
        looks=[style.looks[index] for index in rng.integers(len(style.looks), size=count)],
        grain=rng.random((count, 2)),
        # evenly spread, so that the start has its true share
        rank=np.asarray((rng.permutation(count) + rng.random()) / count),
    )


def _outlines(rng: np.random.Generator, kinds: list[str], count: int) -> list[Outline]:
    """Outlines of one sample: each kind with one habit, slightly varied, at any angle."""
    habits = {kind: [SHAPES[kind](rng) for _ in range(24)] for kind in kinds}
    chosen = [kinds[index] for index in rng.integers(len(kinds), size=count)]
    return [rotated(habits[kind][rng.integers(24)], rng.uniform(-np.pi, np.pi)) for kind in chosen]


def _joined(
    parts: list[Population], rng: np.random.Generator, extent: Extent, *, apart: bool
) -> Population:
    """One population of all; `apart` keeps particles of different kinds from coinciding."""
    positions = np.concatenate([part.positions_nm for part in parts])
    diameters = np.concatenate([part.diameters_nm for part in parts])
    if apart:
        half = np.asarray(extent) / 2
        gap = rng.uniform(-0.05, 0.15)
        positions = placement.parted(positions + half, diameters, gap=gap) - half
    order = rng.permutation(len(diameters))
    if len(parts) > 1:  # the small lie on top of the large
        order = np.argsort(-diameters, kind="stable")
    outlines = [outline for part in parts for outline in part.outlines]
    looks = [look for part in parts for look in part.looks]
    return Population(
        positions_nm=positions[order],
        diameters_nm=diameters[order],
        outlines=[outlines[index] for index in order],
        tones=np.concatenate([part.tones for part in parts])[order],
        looks=[looks[index] for index in order],
        grain=np.concatenate([part.grain for part in parts])[order],
        rank=np.concatenate([part.rank for part in parts])[order],
    )


def _prepare_lattice(
    preset: presets.LatticePreset, rng: np.random.Generator, shape: Shape
) -> Prepared:
    style = _steady(rng, STYLES["dark_field" if rng.random() < 0.75 else "bright_field"](rng))
    look = replace(style.looks[0], model="thickness", texture=0.0)
    constant_nm, spot = rng.uniform(*preset.constant_nm), rng.uniform(*preset.spot_fraction)
    angle_deg = float(rng.choice(preset.angles_deg))
    pixel_size_nm = constant_nm * rng.uniform(*preset.field_constants) / min(shape)
    blur_px = 0.14 * constant_nm / pixel_size_nm
    optics = replace(style.optics, blur_px=blur_px, fringe=0.0)
    style = replace(style, looks=(look,), film="plain", optics=optics)
    extent = _extent_nm(shape, pixel_size_nm)
    # columns of one or two elements with a few vacancies
    positions = placement.lattice(
        rng,
        extent,
        spacing=constant_nm,
        angle_rad=float(np.deg2rad(angle_deg)),
        jitter=rng.uniform(0, 0.02),
        vacancies=rng.uniform(*preset.vacancies),
        limit=100_000,
    )
    count = len(positions)
    tones = 1 + rng.normal(0, 0.05, count)
    if rng.random() < 0.4:
        tones[rng.random(count) < rng.uniform(0.1, 0.5)] *= rng.uniform(0.6, 0.85)
    particles = Population(
        positions_nm=positions - np.asarray(extent) / 2,
        diameters_nm=np.full(count, constant_nm * spot),
        outlines=[SHAPES["disc"](rng)] * count,
        tones=tones,
        looks=[look] * count,
        grain=np.zeros((count, 2)),
        # Columns neither appear nor vanish, but for a few that the beam knocks out.
        rank=np.where(rng.random(count) < 0.05, rng.random(count) * PRESENT_AT_START * 0.97, 0.0),
    )
    film = Film(draw_background(rng, style, _film_shape(shape)), pixel_size_nm)
    sample = ParticleSample(particles, film, style.mixing, None, rng, merging=False, growing=False)
    parameters = _parameters(
        sample, particles.diameters_nm, particles.outlines[:1], extent, pixel_size_nm
    )
    parameters = replace(
        parameters,
        lattice_constant_nm=constant_nm,
        lattice_angle_deg=angle_deg,
        populations=(PopulationParameters(constant_nm * spot, 0.0, 1.0),),
    )
    return Prepared(sample, style.optics, parameters)


def _prepare_tiling(
    preset: presets.TilingPreset, rng: np.random.Generator, shape: Shape
) -> Prepared:
    mean = rng.uniform(*preset.mean_diameter_nm)
    pixel_size_nm = mean * rng.uniform(*preset.field_diameters) / min(shape)
    extent = _extent_nm(shape, pixel_size_nm)
    # A region of the mean diameter d has the area of a hexagonal lattice's cell of this spacing.
    spacing = mean * np.sqrt(np.pi / 4 * 2 / np.sqrt(3))
    jitter = 0.35 * rng.uniform(*preset.irregularity)
    seeds = placement.lattice(rng, extent, spacing=spacing, jitter=jitter, limit=100_000)
    style = _steady(rng, STYLES["secondary"](rng))
    look = _tiling_look(preset, rng, mean)
    grey = np.float32(rng.uniform(0.01, 0.05)) * FILMS["grainy"](rng, _film_shape(shape), 1.0)
    strength, grain_px = np.float32(rng.uniform(0.02, 0.07)), 0.5 * mean / pixel_size_nm
    bend_x, bend_y = (strength * smooth(rng, _film_shape(shape), grain_px) for _ in range(2))
    bend = (Film(bend_x, pixel_size_nm), Film(bend_y, pixel_size_nm))
    half = np.asarray(extent) / 2
    film = Film(grey, pixel_size_nm)
    sample = TilingSample(seeds - half, spacing, look, film, bend, rng)
    optics = replace(style.optics, streaks=0.0)
    parameters = _tiling_parameters(sample, extent, pixel_size_nm, shape)
    return Prepared(sample, optics, parameters)


def _tiling_look(
    preset: presets.TilingPreset, rng: np.random.Generator, mean_nm: float
) -> TilingLook:
    wall_nm = mean_nm * rng.uniform(*preset.wall_fraction)
    if preset.look == "grains":
        region = rng.uniform(0.35, 0.65)
        wall = region + rng.choice([-1, 1, -1]) * rng.uniform(0.15, 0.35)
        return TilingLook(wall_nm, wall, region, tone_spread=rng.uniform(0.06, 0.14))
    dark, bright = rng.uniform(0.15, 0.35), rng.uniform(0.6, 0.85)
    wall, region = (dark, bright) if rng.random() < 0.5 else (bright, dark)
    nucleus = rng.choice([-1, 1]) * rng.uniform(0.08, 0.2) if rng.random() < 0.4 else 0.0
    return TilingLook(wall_nm, wall, region, rng.uniform(0.01, 0.05), nucleus=float(nucleus))


def _tiling_parameters(
    sample: TilingSample, extent: Extent, pixel_size_nm: float, shape: Shape
) -> SampleParameters:
    """Sizes of regions are not set but follow from the seeds: measured on the whole sample."""
    # Two thirds of it each way hold hundreds of regions: enough for a mean within a percent.
    view = _overview((0.65 * extent[0], 0.65 * extent[1]), _TILING_PX)
    _, labels = sample.look_at(view, DriftState())
    areas = _areas_inside(labels)
    areas = areas[areas > 0] * view.pixel_size_nm**2
    diameters = np.sqrt(4 / np.pi * areas)
    mean, sigma_log, std, size_range = size_statistics(diameters)
    covered = labels > 0
    circularity, aspect = _region_shapes(sample, pixel_size_nm, shape)
    return SampleParameters(
        mean_diameter_nm=mean,
        sigma_log=sigma_log,
        std_diameter_nm=std,
        size_range_nm=size_range,
        areal_coverage=float(covered.mean()),
        number_density_per_um2=_NM2_PER_UM2 * float(covered.mean()) / float(areas.mean()),
        circularity_range=circularity,
        aspect_range=aspect,
        polarity="bright" if sample.look.region_grey > sample.look.wall_grey else "dark",
        pixel_size_nm=pixel_size_nm,
        populations=(PopulationParameters(mean, sigma_log, 1.0),),
    )


def _region_shapes(
    sample: TilingSample, pixel_size_nm: float, shape: Shape
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of circularity and aspect, measured on the regions of the first view."""
    _, labels = sample.look_at(View(0.0, 0.0, pixel_size_nm, shape), DriftState())
    outlines = []
    for label in np.flatnonzero(_areas_inside(labels) > _LEAST_AREA_PX):
        mask = (labels == label).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        points = max(contours, key=len)[:, 0].astype(np.float64)
        outlines.append(Outline(smoothed(points, 3), np.empty(0)))
    return shape_ranges(outlines) if outlines else ((0.6, 0.9), (1.0, 1.8))


def _parameters(
    sample: ParticleSample,
    diameters_nm: Points,
    outlines: Sequence[Outline],
    extent: Extent,
    pixel_size_nm: float,
) -> SampleParameters:
    mean, sigma_log, std, size_range = size_statistics(diameters_nm)
    circularity, aspect = shape_ranges(outlines[:200])
    _, diameters_now = sample.bodies(DriftState())
    area_um2 = extent[0] * extent[1] / _NM2_PER_UM2
    return SampleParameters(
        mean_diameter_nm=mean,
        sigma_log=sigma_log,
        std_diameter_nm=std,
        size_range_nm=size_range,
        areal_coverage=float(sample.covered(_overview(extent)).mean()),
        number_density_per_um2=float((diameters_now > 0).sum() / area_um2),
        circularity_range=circularity,
        aspect_range=aspect,
        polarity=_polarity(sample, extent),
        pixel_size_nm=pixel_size_nm,
    )


def _polarity(sample: ParticleSample, extent: Extent) -> str:
    """Whether particles are brighter or darker than what lies between them."""
    field = 1 / SAMPLE_OVER_FIELD
    view = _overview((extent[0] * field, extent[1] * field), _POLARITY_PX)
    image, labels = sample.look_at(view, DriftState())
    covered = labels > 0
    if covered.all() or not covered.any():
        return "bright"
    return "bright" if image[covered].mean() > image[~covered].mean() else "dark"


def _overview(extent: Extent, longest_px: int = _OVERVIEW_PX) -> View:
    """A view of an area about the middle of the sample, by default of the whole sample."""
    pixel_size_nm = max(extent) / longest_px
    shape = (int(extent[1] / pixel_size_nm), int(extent[0] / pixel_size_nm))
    return View(0.0, 0.0, pixel_size_nm, shape)


def _areas_inside(labels: NDArray[np.int32]) -> Points:
    """Area in px of each label; 0 for the background and for what the border cuts."""
    areas = np.bincount(labels.ravel()).astype(np.float64)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    areas[np.unique(border)] = 0
    areas[0] = 0
    return areas


def _film_shape(shape: Shape, over_field: float = SAMPLE_OVER_FIELD) -> Shape:
    side = int(np.ceil((over_field - 1) * min(shape)))
    return shape[0] + side, shape[1] + side


def _extent_nm(shape: Shape, pixel_size_nm: float, over_field: float = SAMPLE_OVER_FIELD) -> Extent:
    height, width = _film_shape(shape, over_field)
    return width * pixel_size_nm, height * pixel_size_nm


def _steady(rng: np.random.Generator, style: Style) -> Style:
    """A style as an operator would leave it before an experiment: sharp, well exposed."""
    optics = replace(
        style.optics,
        blur_px=rng.uniform(0.5, 0.95),
        dose=float(np.exp(rng.uniform(np.log(80), np.log(1500)))),
        readout=rng.uniform(0.005, 0.02),
        tilt=rng.uniform(0.0, 0.2),
        fringe=min(style.optics.fringe, 0.8),
        streaks=min(style.optics.streaks, 0.012),
        gamma=float(np.clip(style.optics.gamma, 0.8, 1.25)),
        inverted=False,
    )
    looks = tuple(replace(look, texture=min(look.texture, 0.15)) for look in style.looks[:1])
    contrast = max(style.mixing.contrast, 0.35)
    film_level = style.film_level
    if style.mixing.mode == "occlude":  # opaque particles stand out from it, on whichever side
        film_level = min(film_level, style.mixing.level + 0.1 * contrast)
    return replace(
        style,
        optics=optics,
        looks=looks,
        mixing=replace(style.mixing, contrast=contrast),
        tone_spread=min(style.tone_spread, 0.3 if style.mixing.mode == "absorb" else 0.15),
        film_strength=min(style.film_strength, 0.08 * contrast),
        film_level=film_level,
    )


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def _grown(
    rng: np.random.Generator,
    diameters: Points,
    extent: Extent,
    *,
    overlap: tuple[float, float],
    members: tuple[int, int],
) -> Points:
    """Aggregates of about so many members that overlap by so much."""
    part = rng.uniform(*overlap)
    clusters = max(len(diameters) // int(rng.integers(*members)), 2)
    return placement.aggregated(
        rng,
        diameters,
        extent,
        clusters=clusters,
        overlap=part,
        branching=rng.uniform(0.3, 1.0),
        margin=0.0,
    )


def _spread(rng: np.random.Generator, diameters: Points, extent: Extent) -> Points:
    """One in each cell of a grid, so that every view has its share of a few large bodies."""
    count = len(diameters)
    columns = max(round(float(np.sqrt(count * extent[0] / extent[1]))), 1)
    rows = -(-count // columns)
    cells = rng.permutation(rows * columns)[:count]
    corners = np.stack([cells % columns, cells // columns], axis=1)
    cell = np.asarray(extent) / (columns, rows)
    return np.asarray((corners + rng.uniform(0.15, 0.85, (count, 2))) * cell)


def _packed(rng: np.random.Generator, diameters: Points, extent: Extent) -> Points:
    """Clouds whose particles push each other apart until they hardly touch."""
    clusters = int(rng.integers(4, 10))
    positions = placement.clustered(rng, diameters, extent, clusters=clusters, spread=0.09)
    return placement.parted(positions, diameters, gap=rng.uniform(-0.05, 0.05))


ARRANGEMENTS: dict[str, Callable[[np.random.Generator, Points, Extent], Points]] = {
    "scattered": placement.scattered,
    "separated": placement.separated,
    "mixed": placement.scattered,
    "aggregated": partial(_grown, overlap=(-0.03, 0.08), members=(4, 14)),
    "overlapping": partial(_grown, overlap=(0.15, 0.4), members=(3, 9)),
    "packed": _packed,
    "spread": _spread,
}
