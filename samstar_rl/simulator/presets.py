"""What each preset's samples are made of, in nm: pure data, ranges from which a seed draws."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Population:
    """Particles of one kind.

    Parameters
    ----------
    kinds : tuple of str
        Keys of `SHAPES`; one sample takes `mixed` of them.
    mean_diameter_nm : (low, high)
        Mean of the lognormal distribution of equivalent diameters.
    sigma_log : (low, high)
        Std of ln(diameter).
    coverage : (low, high)
        Share of the area they would cover if none overlapped.
    arrangements : tuple of str
        Keys of `sample.ARRANGEMENTS`; one sample takes one of them.
    mixed : int
        How many kinds a sample takes at most.
    """

    kinds: tuple[str, ...]
    mean_diameter_nm: Range
    sigma_log: Range
    coverage: Range
    arrangements: tuple[str, ...]
    mixed: int = 1


@dataclass(frozen=True)
class ParticlePreset:
    """Particles on a film or substrate.

    Parameters
    ----------
    populations : tuple of Population
        The first is the one the field of view is chosen for.
    field_diameters : (low, high)
        Short side of the field of view, in mean diameters of the first population.
    styles : tuple of str
        Keys of `styles.STYLES`.
    models : tuple of str
        Keys of `shading.MODELS`; empty leaves the choice to the style.
    """

    populations: tuple[Population, ...]
    field_diameters: Range
    styles: tuple[str, ...] = ("bright_field", "dark_field", "secondary")
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class LatticePreset:
    """Columns of atoms at atomic resolution.

    Parameters
    ----------
    constant_nm : (low, high)
        Distance of neighbouring columns.
    spot_fraction : (low, high)
        Diameter of a column's spot over that distance.
    angles_deg : tuple of float
        Angles between the basis vectors that occur.
    field_constants : (low, high)
        Short side of the field of view, in lattice constants.
    vacancies : (low, high)
        Share of columns that are absent.
    """

    constant_nm: Range
    spot_fraction: Range
    angles_deg: tuple[float, ...]
    field_constants: Range
    vacancies: Range


@dataclass(frozen=True)
class TilingPreset:
    """Regions that tile the plane.

    Parameters
    ----------
    mean_diameter_nm : (low, high)
        Mean equivalent diameter of a region.
    irregularity : (low, high)
        0 is a lattice of equal regions, 1 a random tiling.
    wall_fraction : (low, high)
        Width of the boundary over the mean diameter.
    field_diameters : (low, high)
        Short side of the field of view, in mean diameters.
    look : {"grains", "cells"}
        Regions of different grey with thin boundaries, or walls around similar insides.
    """

    mean_diameter_nm: Range
    irregularity: Range
    wall_fraction: Range
    field_diameters: Range
    look: str


Preset = ParticlePreset | LatticePreset | TilingPreset

PRESETS: dict[str, Preset] = {
    "particles": ParticlePreset(
        populations=(
            Population(
                kinds=("disc", "disc", "disc", "ellipse", "polygon", "rectangle", "rod", "blob"),
                mean_diameter_nm=(15.0, 60.0),
                sigma_log=(0.06, 0.3),
                coverage=(0.12, 0.45),
                arrangements=("scattered", "separated", "separated", "aggregated", "packed"),
                mixed=2,
            ),
        ),
        field_diameters=(9.0, 26.0),
    ),
    "overlap": ParticlePreset(
        populations=(
            Population(
                kinds=("disc",),
                mean_diameter_nm=(34.0, 46.0),
                sigma_log=(0.05, 0.12),
                coverage=(0.22, 0.42),
                arrangements=("overlapping",),
            ),
        ),
        field_diameters=(10.0, 17.0),
        styles=("bright_field", "secondary"),
        models=("thickness", "dome", "lit", "edge_bright"),
    ),
    "morphology": ParticlePreset(
        populations=(
            Population(
                kinds=("disc",),
                mean_diameter_nm=(34.0, 46.0),
                sigma_log=(0.06, 0.15),
                coverage=(0.1, 0.18),
                arrangements=("mixed",),
            ),
            Population(
                kinds=("rectangle", "rod", "polygon"),
                mean_diameter_nm=(42.0, 62.0),
                sigma_log=(0.06, 0.15),
                coverage=(0.1, 0.2),
                arrangements=("mixed",),
                mixed=2,
            ),
        ),
        field_diameters=(10.0, 17.0),
    ),
    "size": ParticlePreset(
        populations=(
            Population(
                kinds=("disc",),
                mean_diameter_nm=(8.0, 12.0),
                sigma_log=(0.1, 0.2),
                coverage=(0.03, 0.08),
                arrangements=("mixed",),
            ),
            Population(
                kinds=("ragged", "blob", "disc"),
                mean_diameter_nm=(95.0, 150.0),
                sigma_log=(0.12, 0.3),
                coverage=(0.12, 0.25),
                arrangements=("spread",),
            ),
        ),
        field_diameters=(34.0, 50.0),
    ),
    "core_shell": ParticlePreset(
        populations=(
            Population(
                kinds=("disc",),
                mean_diameter_nm=(50.0, 90.0),
                sigma_log=(0.05, 0.15),
                coverage=(0.15, 0.4),
                arrangements=("separated", "aggregated", "packed"),
            ),
        ),
        field_diameters=(8.0, 15.0),
        styles=("bright_field", "dark_field"),
        models=("core_shell", "core_shell", "hollow"),
    ),
    "lattice": LatticePreset(
        constant_nm=(0.24, 0.56),
        spot_fraction=(0.5, 0.72),
        angles_deg=(90.0, 60.0, 75.0),
        field_constants=(9.0, 14.5),
        vacancies=(0.0, 0.06),
    ),
    "grains": TilingPreset(
        mean_diameter_nm=(60.0, 140.0),
        irregularity=(0.35, 0.8),
        wall_fraction=(0.015, 0.035),
        field_diameters=(5.0, 12.0),
        look="grains",
    ),
    "cells": TilingPreset(
        mean_diameter_nm=(6000.0, 14000.0),
        irregularity=(0.25, 0.6),
        wall_fraction=(0.05, 0.14),
        field_diameters=(5.0, 10.0),
        look="cells",
    ),
}
