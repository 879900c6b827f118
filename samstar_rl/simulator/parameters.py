"""What an operator could know of a simulated sample before the experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.simulator.shapes import Outline, aspect_of

Range = tuple[float, float]


@dataclass(frozen=True)
class PopulationParameters:
    """Size distribution of one kind of particle.

    Parameters
    ----------
    mean_diameter_nm : float
        Mean equivalent diameter.
    sigma_log : float
        Std of ln(diameter) of the lognormal distribution.
    share : float
        Share of all particles, by number.
    """

    mean_diameter_nm: float
    sigma_log: float
    share: float


@dataclass(frozen=True)
class SampleParameters:
    """True parameters of a sample at the start of the experiment; drift does not change them.

    Parameters
    ----------
    mean_diameter_nm : float
        Mean equivalent diameter of all labelled instances.
    sigma_log : float
        Std of ln(diameter), of all labelled instances.
    std_diameter_nm : float
        Std of the diameter.
    size_range_nm : (low, high)
        1st and 99th percentile of the diameter.
    areal_coverage : float
        Expected share of the area that instances cover.
    number_density_per_um2 : float
        Expected number of instances per square micrometre.
    circularity_range : (low, high)
        5th and 95th percentile of 4 pi area / perimeter^2 of the outlines.
    aspect_range : (low, high)
        5th and 95th percentile of long over short axis, 1 and above.
    polarity : {"bright", "dark"}
        Whether instances are brighter or darker than what lies between them.
    pixel_size_nm : float
        Edge of one pixel at the start.
    lattice_constant_nm : float or None
        Distance of neighbouring columns, where the sample is a lattice.
    lattice_angle_deg : float or None
        Angle between its basis vectors.
    populations : tuple of PopulationParameters
        The kinds of particles that make up the sample, nanoparticles before aggregates.
    """

    mean_diameter_nm: float
    sigma_log: float
    std_diameter_nm: float
    size_range_nm: Range
    areal_coverage: float
    number_density_per_um2: float
    circularity_range: Range
    aspect_range: Range
    polarity: str
    pixel_size_nm: float
    lattice_constant_nm: float | None = None
    lattice_angle_deg: float | None = None
    populations: tuple[PopulationParameters, ...] = ()


def _circularity_of(points: NDArray[np.float64]) -> float:
    """4 pi area / perimeter^2 of a polygon: 1 for a disc.

    The perimeter is that of the slightly smoothed outline a segmentation would follow: wiggles
    finer than a thirtieth of the outline are not counted.
    """
    closed = np.concatenate([points, points[:1]])
    if len(points) > 90:  # fractal outlines only; smooth ones have fewer vertices
        closed = np.concatenate([closed[:-1:3], closed[:1]])
    perimeter = np.sqrt((np.diff(closed, axis=0) ** 2).sum(axis=1)).sum()
    area = abs(cv2.contourArea(points.astype(np.float32)))
    return float(min(4 * np.pi * area / perimeter**2, 1.0))


def shape_ranges(outlines: Sequence[Outline]) -> tuple[Range, Range]:
    """5th and 95th percentiles of circularity and aspect."""
    circularities = [_circularity_of(outline.points) for outline in outlines]
    aspects = [aspect_of(outline.points) for outline in outlines]
    return _percentiles(circularities, 5, 95), _percentiles(aspects, 5, 95)


def size_statistics(diameters_nm: NDArray[np.float64]) -> tuple[float, float, float, Range]:
    """Mean, std of ln, std and the 1st to 99th percentile."""
    return (
        float(diameters_nm.mean()),
        float(np.log(diameters_nm).std()),
        float(diameters_nm.std()),
        _percentiles(diameters_nm, 1, 99),
    )


def _percentiles(values: Sequence[float] | NDArray[np.float64], low: float, high: float) -> Range:
    bottom, top = np.percentile(np.asarray(values), [low, high])
    return float(bottom), float(top)
