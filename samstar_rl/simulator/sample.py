"""Samples under the microscope: they persist from frame to frame and are drawn through a view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.simulator.canvas import Canvas, Mixing, Particle
from samstar_rl.simulator.drift import DriftState
from samstar_rl.simulator.texture import Field, Shape
from samstar_rl.simulator.tiling import region_labels, tessellate

if TYPE_CHECKING:
    from samstar_rl.simulator.shading import Look
    from samstar_rl.simulator.shapes import Outline

Labels = NDArray[np.int32]
Points = NDArray[np.float64]

# Share of the placed particles that is there at the start; the others appear as density grows.
PRESENT_AT_START = 0.6
_NUCLEATION = 0.03
_SMALLEST_DRAWN_PX = 0.8
_MERGER = 0.12
# Width of the step between wall and region, over the wall's width.
_WALL_SOFTNESS = 0.4


@dataclass(frozen=True)
class View:
    """Which part of a sample a frame shows; the sample's origin lies in its centre.

    Parameters
    ----------
    centre_x_nm, centre_y_nm : float
        Position of the middle of the frame on the sample.
    pixel_size_nm : float
        Edge of one pixel.
    shape : (int, int)
        Height and width in px.
    """

    centre_x_nm: float
    centre_y_nm: float
    pixel_size_nm: float
    shape: Shape

    def to_px(self, positions_nm: Points) -> Points:
        """Positions on the sample (N, 2) as x, y in the frame, in px."""
        height, width = self.shape
        centre = (self.centre_x_nm, self.centre_y_nm)
        return np.asarray((positions_nm - centre) / self.pixel_size_nm + (width / 2, height / 2))


@dataclass(frozen=True, eq=False)
class Film:
    """A background that moves with the stage.

    Parameters
    ----------
    grey : (H, W) float32 array
        Grey values over the whole sample.
    pixel_size_nm : float
        Edge of one of its pixels.
    """

    grey: Field
    pixel_size_nm: float

    def seen(self, view: View) -> Field:
        """The part that a view shows."""
        scale = view.pixel_size_nm / self.pixel_size_nm
        height, width = self.grey.shape
        rows, columns = view.shape
        left = view.centre_x_nm / self.pixel_size_nm + width / 2 - scale * columns / 2
        top = view.centre_y_nm / self.pixel_size_nm + height / 2 - scale * rows / 2
        shift = 0.5 * scale - 0.5  # centres of pixels, not corners
        affine = np.array([[scale, 0, left + shift], [0, scale, top + shift]], dtype=np.float64)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            self.grey, affine, (columns, rows), flags=flags, borderMode=cv2.BORDER_REFLECT
        )


@dataclass(frozen=True, eq=False)
class Population:
    """Particles placed on a sample, as arrays over all that may ever appear.

    Parameters
    ----------
    positions_nm : (N, 2) float64 array
        x, y from the middle of the sample.
    diameters_nm : (N,) float64 array
        Equivalent diameters at the start.
    outlines : sequence of Outline
        Shape and orientation of each.
    tones : (N,) float64 array
        Factor on the contrast of each.
    looks : sequence of Look
        Intensity model of each.
    grain : (N, 2) float64 array
        Where on the surface texture each lies.
    rank : (N,) float64 array
        In [0, 1]: particles of a rank below the present share are there.
    """

    positions_nm: Points
    diameters_nm: Points
    outlines: Sequence[Outline]
    tones: Points
    looks: Sequence[Look]
    grain: Points
    rank: Points

    def __len__(self) -> int:
        return len(self.diameters_nm)


class ParticleSample:
    """Particles on a film; they grow, appear, vanish and merge, but stay where they are.

    Parameters
    ----------
    population : Population
        All particles, in the order they are drawn in.
    film : Film
        What they lie on.
    mixing : Mixing
        How they combine with it.
    surface : (H, W) float32 array or None
        Texture that they wear.
    rng : numpy.random.Generator
        Draws which touching pairs merge, and when.
    merging, growing : bool
        Whether touching particles merge and whether diameters follow the drift's growth.
    """

    def __init__(
        self,
        population: Population,
        film: Film,
        mixing: Mixing,
        surface: Field | None,
        rng: np.random.Generator,
        *,
        merging: bool = True,
        growing: bool = True,
    ) -> None:
        self.population = population
        self._film = film
        self._mixing = mixing
        self._surface = surface
        self._growing = growing
        self._absorber = _touching_pairs(population, merging)
        self._merging_at = rng.random(len(population))

    def look_at(self, view: View, state: DriftState) -> tuple[Field, Labels]:
        """Ideal image, about 0 to 1, and labels, whose ids are neither dense nor stable."""
        mixing = replace(self._mixing, contrast=self._mixing.contrast * state.contrast)
        canvas = Canvas(self._film.seen(view), mixing, self._surface)
        positions_nm, diameters_nm = self.bodies(state)
        positions = view.to_px(positions_nm)
        diameters = diameters_nm / view.pixel_size_nm
        diameters[diameters < _SMALLEST_DRAWN_PX] = 0
        population, outlines = self.population, self.population.outlines
        # those that exist and reach into the frame
        height, width = view.shape
        reach = np.array([outline.reach for outline in outlines]) * diameters + 2
        inside = (
            (positions > -reach[:, None]) & (positions < (width, height) + reach[:, None])
        ).all(1)
        seen = [int(index) for index in np.flatnonzero(inside & (diameters > 0))]
        flowing = (self._absorber >= 0) & (self._merging_at < state.coalescence)
        for index in sorted(seen, key=lambda index: not flowing[index]):
            canvas.draw(
                Particle(
                    outline=outlines[index],
                    x=float(positions[index, 0]),
                    y=float(positions[index, 1]),
                    diameter=float(diameters[index]),
                    tone=float(population.tones[index]),
                    look=population.looks[index],
                    grain=(float(population.grain[index, 0]), float(population.grain[index, 1])),
                )
            )
        return canvas.image, canvas.labels

    def covered(self, view: View) -> NDArray[np.uint8]:
        """1 where particles lie at the start of the experiment, 0 between them."""
        positions_nm, diameters_nm = self.bodies(DriftState())
        positions = view.to_px(positions_nm)
        mask = np.zeros(view.shape, np.uint8)
        for index in np.flatnonzero(diameters_nm > 0):
            # fillPoly adds half a pixel on each side, which matters at an overview's scale
            diameter = max(diameters_nm[index] / view.pixel_size_nm - 1, 0.5)
            points = self.population.outlines[int(index)].points * diameter + positions[index] - 0.5
            cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, shift=4)
        return mask

    def bodies(self, state: DriftState) -> tuple[Points, Points]:
        """Positions and diameters in nm at a state of the drift; absent particles measure 0."""
        population = self.population
        growth = state.growth if self._growing else 1.0
        born = (PRESENT_AT_START * state.density - population.rank) / _NUCLEATION
        diameters = population.diameters_nm * growth * np.clip(born, 0, 1) ** (1 / 3)
        # smaller partners flow into the larger ones, volume (d^3) being kept
        positions = population.positions_nm.copy()
        small = np.flatnonzero(self._absorber >= 0)
        large = self._absorber[small]
        there = (diameters[small] > 0) & (diameters[large] > 0)
        small, large = small[there], large[there]
        progress = np.clip((state.coalescence - self._merging_at[small]) / _MERGER, 0, 1)
        volume = diameters**3
        flown = progress * volume[small]
        volume[small] -= flown
        volume[large] += flown
        step = positions[large] - positions[small]
        positions[small] += (progress**2)[:, None] * step
        return positions, np.cbrt(np.maximum(volume, 0))


@dataclass(frozen=True)
class TilingLook:
    """Grey values of a tiling.

    Parameters
    ----------
    wall_nm : float
        Full width of the boundaries.
    wall_grey, region_grey : float
        Grey of the boundaries and mean grey of the regions.
    tone_spread : float
        Std of the regions' grey.
    nucleus : float
        Signed brightness of a round body in each region, 0 is none.
    """

    wall_nm: float
    wall_grey: float
    region_grey: float
    tone_spread: float
    nucleus: float = 0.0


class TilingSample:
    """Regions that tile the plane; some shrink and vanish as the structure coarsens.

    Parameters
    ----------
    seeds_nm : (N, 2) float64 array
        Centres of the regions.
    spacing_nm : float
        Their mean distance.
    look : TilingLook
        Grey values.
    film : Film
        Texture added to the regions (mean 0).
    bend : Film, Film
        Displacements in x and y, in units of the spacing, that bend the boundaries.
    rng : numpy.random.Generator
        Draws the regions' tones and which of them vanish first.
    """

    def __init__(
        self,
        seeds_nm: Points,
        spacing_nm: float,
        look: TilingLook,
        film: Film,
        bend: tuple[Film, Film],
        rng: np.random.Generator,
    ) -> None:
        self.seeds_nm = seeds_nm
        self.look = look
        self._spacing_nm = spacing_nm
        self._film = film
        self._bend = bend
        self._tones = rng.normal(0, 1, len(seeds_nm)).astype(np.float32)
        self._vanishing_at = rng.uniform(0, 1.2, len(seeds_nm))

    def look_at(self, view: View, state: DriftState) -> tuple[Field, Labels]:
        """Ideal image, about 0 to 1, and labels, whose ids are neither dense nor stable."""
        look, (rows, columns) = self.look, view.shape
        y, x = np.mgrid[:rows, :columns].astype(np.float32) + np.float32(0.5)
        scale = np.float32(self._spacing_nm / view.pixel_size_nm)
        x, y = x + scale * self._bend[0].seen(view), y + scale * self._bend[1].seen(view)
        # Seeds with a third coordinate: the nearest in the lifted space form a power diagram, whose
        # cells shrink to nothing as their seed is lifted, as grains do that neighbours consume.
        lost = np.clip((state.coalescence - self._vanishing_at) / 0.25, 0, 1)
        lift = 1.3 * self._spacing_nm * np.sqrt(lost) / view.pixel_size_nm
        tiling = tessellate(np.column_stack([view.to_px(self.seeds_nm), lift]), x, y)
        wall_px = look.wall_nm * (1 / view.pixel_size_nm)
        # grey values: a soft step from the wall to the tone of each region
        step_px = max(_WALL_SOFTNESS * wall_px, 0.7)
        inside = np.clip((tiling.gap_px - wall_px / 2) / np.float32(step_px) + 0.5, 0, 1)
        tones = look.region_grey + look.tone_spread * state.contrast * self._tones
        wall = look.region_grey + state.contrast * (look.wall_grey - look.region_grey)
        image = wall + inside * (tones.astype(np.float32)[tiling.region] - wall)
        image = np.asarray(image, np.float32)
        if look.nucleus:
            image = image + self._nuclei(view) * (tiling.gap_px > wall_px)
        image = image + self._film.seen(view)
        labels = region_labels(tiling, wall_px, np.ones(len(self.seeds_nm), bool))
        return image.astype(np.float32), labels

    def _nuclei(self, view: View) -> Field:
        drawn = np.zeros(view.shape, np.float32)
        radius_px = 0.2 * self._spacing_nm / view.pixel_size_nm
        for x, y in view.to_px(self.seeds_nm):
            centre = (round(8 * x), round(8 * y))
            cv2.circle(drawn, centre, round(8 * radius_px), 1.0, -1, cv2.LINE_8, shift=3)
        return np.asarray(self.look.nucleus * cv2.GaussianBlur(drawn, (0, 0), 1.2), np.float32)


def _touching_pairs(population: Population, merging: bool) -> NDArray[np.int64]:
    """For each particle the larger neighbour that will absorb it, or -1; each is in one pair."""
    partner = np.full(len(population), -1, dtype=np.int64)
    if not merging:
        return partner
    radii = population.diameters_nm / 2
    taken = np.zeros(len(population), bool)
    for index in np.argsort(radii):
        step = population.positions_nm - population.positions_nm[index]
        gap = np.sqrt((step**2).sum(axis=1)) / (radii + radii[index])
        gap[(radii < radii[index]) | taken] = np.inf
        gap[index] = np.inf
        nearest = int(np.argmin(gap)) if len(gap) else index
        if not taken[index] and gap[nearest] < 1.1:
            partner[index] = nearest
            taken[[index, nearest]] = True
    return partner
