"""How an experiment drifts: smooth functions of the frame's index, exactly 1 or 0 at its start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The sample is drawn wider than the field of view, by this factor; the limits below keep every
# view inside: half of the widest view plus the farthest stage position is below half of it.
SAMPLE_OVER_FIELD = 2.1
_LARGEST_LOG_MAGNIFICATION = 0.3
_LARGEST_STAGE_SHIFT = 0.35


@dataclass(frozen=True)
class DriftState:
    """Where an experiment stands at one frame; the default is its start.

    Parameters
    ----------
    dose : float
        Factor on the electrons per pixel.
    defocus_px : float
        Std of the blur that defocus adds, signed: the focus wanders through its best value.
    magnification : float
        Factor on the magnification; the pixel size is divided by it.
    density : float
        Factor on the number of particles.
    growth : float
        Factor on the diameters.
    coalescence : float
        Share of touching pairs that have merged, 0 to 1.
    contrast : float
        Factor on the contrast of the particles.
    stage_x, stage_y : float
        Shift of the field of view, in units of its short side at the start.
    tilt : float
        Change of the illumination's tilt.
    """

    dose: float = 1.0
    defocus_px: float = 0.0
    magnification: float = 1.0
    density: float = 1.0
    growth: float = 1.0
    coalescence: float = 0.0
    contrast: float = 1.0
    stage_x: float = 0.0
    stage_y: float = 0.0
    tilt: float = 0.0


class Drift:
    """The course of one experiment.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws periods, phases and directions.
    scale : float
        0 is no drift, 1 that of an ordinary experiment, 2 of a bad one.
    """

    def __init__(self, rng: np.random.Generator, scale: float) -> None:
        self._scale = scale
        self._wander = {name: _Wander(rng) for name in _AMPLITUDES}
        self._growth_frames = rng.uniform(80, 300)
        self._growth_log = rng.uniform(0.1, 0.35)
        self._merging_frames = rng.uniform(100, 400)

    def at(self, index: int) -> DriftState:
        """The state at the frame of this index."""
        swing = {
            name: self._scale * amplitude * self._wander[name].at(index)
            for name, amplitude in _AMPLITUDES.items()
        }
        zoom_log = _limited(swing["magnification"], _LARGEST_LOG_MAGNIFICATION)
        grown = 1 - np.exp(-index / self._growth_frames)
        merged = 1 - np.exp(-index / self._merging_frames)
        return DriftState(
            dose=float(np.exp(swing["dose"])),
            defocus_px=swing["defocus_px"],
            magnification=float(np.exp(zoom_log)),
            density=float(np.exp(_limited(swing["density"], 0.7))),
            growth=float(np.exp(_limited(self._scale * self._growth_log * grown, 0.7))),
            coalescence=float(min(self._scale * 0.6, 1.0) * merged),
            contrast=float(np.exp(swing["contrast"])),
            stage_x=_limited(swing["stage_x"], _LARGEST_STAGE_SHIFT),
            stage_y=_limited(swing["stage_y"], _LARGEST_STAGE_SHIFT),
            tilt=swing["tilt"],
        )


# Amplitudes at scale 1: logarithms for factors, else the unit of the state.
_AMPLITUDES = {
    "dose": 0.8,
    "defocus_px": 1.2,
    "magnification": 0.16,
    "density": 0.35,
    "contrast": 0.25,
    "stage_x": 0.22,
    "stage_y": 0.22,
    "tilt": 0.25,
}


class _Wander:
    """Three sines of unrelated periods: 0 at index 0, mostly within -1 and 1, never repeating."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._periods = np.exp(rng.uniform(np.log(50), np.log(400), 3))
        self._phases = rng.uniform(0, 2 * np.pi, 3)
        self._weights = np.array([0.5, 0.35, 0.25]) * rng.uniform(0.7, 1.3, 3)

    def at(self, index: int) -> float:
        angles = 2 * np.pi * index / self._periods + self._phases
        return float(self._weights @ (np.sin(angles) - np.sin(self._phases)))


def _limited(value: float, limit: float) -> float:
    """`value` near 0, never beyond the limit, smooth between."""
    return float(limit * np.tanh(value / limit))
