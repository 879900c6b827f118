"""Kinds of microscopy: how background, contrast, shading and recording go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from samstar_rl.simulator.canvas import Mixing
from samstar_rl.simulator.film import FILMS
from samstar_rl.simulator.optics import Optics
from samstar_rl.simulator.shading import Look
from samstar_rl.simulator.texture import TEXTURES, Field, Shape

_MOST_FILM_TEXTURE = 0.16
# Shares of the keys of `FILMS`, in their order, beneath transmitted and secondary electrons.
_FILMS_ON_GRIDS = [0.34, 0.34, 0.06, 0.02, 0.04, 0.01, 0.08, 0.07, 0.04, 0.0]
_SUBSTRATES = [0.42, 0.02, 0.05, 0.08, 0.03, 0.09, 0.01, 0.12, 0.03, 0.15]
_SOLID_SURFACES = ["smooth", "octaves", "bumps", "ridged", "relief"]


@dataclass(frozen=True)
class Style:
    """One kind of micrograph, drawn at random within what that microscopy allows.

    Parameters
    ----------
    name : str
        A key of `STYLES`.
    mixing : Mixing
        How particles combine with the background.
    looks : tuple of Look
        One or two intensity models that the particles wear.
    tone_spread : float
        Std of the particles' contrast around 1.
    film : str
        A key of `FILMS`.
    film_level, film_strength : float
        Grey of the background and the std of its texture.
    surface : str
        A key of `TEXTURES`: the texture on the particles.
    surface_grain_px : float
        Its grain.
    optics : Optics
        How the image is recorded.
    """

    name: str
    mixing: Mixing
    looks: tuple[Look, ...]
    tone_spread: float
    film: str
    film_level: float
    film_strength: float
    surface: str
    surface_grain_px: float
    optics: Optics


def draw_background(rng: np.random.Generator, style: Style, shape: Shape) -> Field:
    """Draw the empty film or substrate of a style.

    Parameters
    ----------
    rng : numpy.random.Generator
    style : Style
    shape : (int, int)
        Height and width in px.

    Returns
    -------
    (H, W) float32 array
        Grey values, about 0 to 1.
    """
    # Particles that drown in their film are in no published picture, and no one can learn them.
    strength = min(style.film_strength, _MOST_FILM_TEXTURE * abs(style.mixing.contrast))
    return np.float32(style.film_level) + FILMS[style.film](rng, shape, strength)


def draw_surface(rng: np.random.Generator, style: Style, shape: Shape) -> Field | None:
    """Draw the texture on the particles.

    Parameters
    ----------
    rng : numpy.random.Generator
    style : Style
    shape : (int, int)
        Height and width in px.

    Returns
    -------
    (H, W) float32 array, or None
        None where no look has a texture.
    """
    if not any(look.texture for look in style.looks):
        return None
    return TEXTURES[style.surface](rng, shape, style.surface_grain_px)


def bright_field(rng: np.random.Generator) -> Style:
    """BF-TEM: dark on bright by thickness, amorphous film, Fresnel fringes, diffraction tone."""
    models = ["thickness", "dome", "flat", "bevel", "core_shell", "hollow", "gradient"]
    models += ["edge_dark", "diffracting"]
    look = _look(rng, models, [0.25, 0.14, 0.1, 0.14, 0.07, 0.05, 0.05, 0.05, 0.15])
    look = replace(look, texture=_maybe(rng, 0.35, 0.03, 0.3), shadow=0.0)
    contrast = float(np.exp(rng.uniform(np.log(0.3), np.log(3.0))))
    return Style(
        name="bright_field",
        mixing=Mixing("absorb", contrast, 0.0),
        looks=_looks(rng, look, models),
        tone_spread=rng.choice([0.05, 0.2, 0.45]),
        film=str(rng.choice(list(FILMS), p=_FILMS_ON_GRIDS)),
        film_level=rng.uniform(0.55, 0.95),
        film_strength=float(np.exp(rng.uniform(np.log(0.006), np.log(0.06)))),
        surface=str(rng.choice(["smooth", "octaves", "stripes"], p=[0.4, 0.42, 0.18])),
        surface_grain_px=float(np.exp(rng.uniform(np.log(2), np.log(14)))),
        optics=_transmission_optics(rng),
    )


def dark_field(rng: np.random.Generator) -> Style:
    """HAADF-STEM: bright on dark, signal added by thickness and atomic number, low dose."""
    models = ["thickness", "dome", "flat", "bevel", "core_shell", "hollow", "gradient"]
    look = _look(rng, models, [0.34, 0.2, 0.14, 0.12, 0.08, 0.06, 0.06])
    look = replace(look, texture=_maybe(rng, 0.3, 0.03, 0.25), shadow=0.0)
    return Style(
        name="dark_field",
        mixing=Mixing("add", rng.uniform(0.2, 0.9), 0.0),
        looks=_looks(rng, look, models),
        tone_spread=rng.choice([0.05, 0.2, 0.4]),
        film=str(rng.choice(["plain", "carbon", "mottled", "dirty", "holey"])),
        film_level=rng.uniform(0.03, 0.3),
        film_strength=float(np.exp(rng.uniform(np.log(0.004), np.log(0.06)))),
        surface=str(rng.choice(["smooth", "octaves", "stripes"])),
        surface_grain_px=float(np.exp(rng.uniform(np.log(2), np.log(12)))),
        optics=replace(
            _transmission_optics(rng),
            fringe=0.0,
            dose=float(np.exp(rng.uniform(np.log(12), np.log(800)))),
            jitter_px=_maybe(rng, 0.2, 0.1, 0.6),
        ),
    )


def secondary(rng: np.random.Generator) -> Style:
    """SEM: opaque bodies with bright edges or lit from a side, shadows, rough substrates."""
    models = ["edge_bright", "secant", "lit", "dome", "facets", "bevelled", "flat", "edge_dark"]
    models += ["concave"]
    look = _look(rng, models, [0.23, 0.13, 0.2, 0.1, 0.1, 0.1, 0.06, 0.04, 0.04])
    look = replace(
        look,
        texture=_maybe(rng, 0.45, 0.03, 0.3),
        outline=_maybe(rng, 0.35, 0.1, 0.6),
        shadow=_maybe(rng, 0.5, 0.1, 0.6),
    )
    level = rng.uniform(0.05, 0.5)
    return Style(
        name="secondary",
        mixing=Mixing("occlude", rng.uniform(0.2, 0.7), level),
        looks=_looks(rng, look, models),
        tone_spread=rng.choice([0.03, 0.12, 0.3]),
        film=str(rng.choice(list(FILMS), p=_SUBSTRATES)),
        film_level=level + rng.uniform(-0.35, 0.12) * (rng.random() < 0.7),
        film_strength=float(np.exp(rng.uniform(np.log(0.006), np.log(0.1)))),
        surface=str(rng.choice(_SOLID_SURFACES, p=[0.12, 0.15, 0.25, 0.08, 0.4])),
        surface_grain_px=float(np.exp(rng.uniform(np.log(2), np.log(14)))),
        optics=replace(
            _common_optics(rng),
            streaks=_maybe(rng, 0.15, 0.01, 0.06),
            smear_px=_maybe(rng, 0.15, 0.4, 1.2),
            jitter_px=_maybe(rng, 0.1, 0.1, 0.8),
            fringe=_maybe(rng, 0.25, 0.1, 0.8),
        ),
    )


def anything(rng: np.random.Generator) -> Style:
    """Any model on any film with any contrast: what the other styles forgot."""
    base = [bright_field, dark_field, secondary][rng.integers(3)](rng)
    model = ["flat", "thickness", "edge_bright", "edge_dark", "lit", "gradient", "membrane"]
    look = replace(base.looks[0], model=str(rng.choice(model)), outline=rng.normal(0, 0.3))
    sign = -1 if rng.random() < 0.4 else 1
    return replace(
        base,
        name="anything",
        mixing=Mixing("occlude", sign * rng.uniform(0.12, 0.6), rng.uniform(0.3, 0.7)),
        looks=(look,),
        film=str(rng.choice(list(FILMS))),
        film_level=rng.uniform(0.2, 0.8),
        optics=replace(base.optics, inverted=bool(rng.random() < 0.25)),
    )


STYLES: dict[str, Callable[[np.random.Generator], Style]] = {
    "bright_field": bright_field,
    "dark_field": dark_field,
    "secondary": secondary,
    "anything": anything,
}


def draw_style(rng: np.random.Generator) -> Style:
    """Any style, in the proportions that published micrographs have."""
    names = list(STYLES)
    return STYLES[names[rng.choice(len(names), p=[0.37, 0.1, 0.41, 0.12])]](rng)


def _look(rng: np.random.Generator, models: list[str], shares: list[float]) -> Look:
    return Look(
        model=models[rng.choice(len(models), p=shares)],
        rim_width=rng.uniform(0.06, 0.45),
        core_fraction=rng.uniform(0.25, 0.85),
        light_rad=rng.uniform(-np.pi, np.pi),
        relief=rng.uniform(0.25, 1.0),
    )


def _looks(rng: np.random.Generator, look: Look, models: list[str]) -> tuple[Look, ...]:
    """Mostly one model for all particles, sometimes a second: mixed samples."""
    if rng.random() < 0.85:
        return (look,)
    return (look, replace(look, model=str(rng.choice(models)), texture=0.0))


def _transmission_optics(rng: np.random.Generator) -> Optics:
    optics = _common_optics(rng)
    fringe = _maybe(rng, 0.5, 0.2, 1.8)
    return replace(optics, fringe=fringe, fringe_width_px=rng.uniform(1.2, 5.0))


def _common_optics(rng: np.random.Generator) -> Optics:
    return Optics(
        blur_px=rng.uniform(0.35, 1.0) if rng.random() < 0.75 else rng.uniform(1.0, 2.2),
        tilt=_maybe(rng, 0.45, 0.05, 0.6),
        tilt_rad=rng.uniform(-np.pi, np.pi),
        vignette=_maybe(rng, 0.25, -0.3, 0.6),
        dose=float(np.exp(rng.uniform(np.log(40), np.log(40000)))),
        readout=_maybe(rng, 0.5, 0.004, 0.045),
        correlation_px=_maybe(rng, 0.4, 1.0, 2.5),
        gamma=float(np.exp(rng.normal(0, 0.25))),
    )


def _maybe(rng: np.random.Generator, share: float, low: float, high: float) -> float:
    """0, or with the probability `share` a number between the limits."""
    value = rng.uniform(low, high)
    return float(value) if rng.random() < share else 0.0
