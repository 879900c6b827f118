"""Simulated micrographs with exact ground truth: single images to train on, drifting streams."""

from samstar_rl.frames.simulator.drift import DriftState
from samstar_rl.frames.simulator.families import FAMILIES
from samstar_rl.frames.simulator.parameters import PopulationParameters, SampleParameters
from samstar_rl.frames.simulator.presets import PRESETS
from samstar_rl.frames.simulator.stream import SimulatedStream
from samstar_rl.frames.simulator.training import (
    draw_family_image,
    draw_training_image,
    draw_wide_image,
)

SIMULATOR_VERSION = 1
"""Raised whenever the same preset and seed no longer give the same frames: caches depend on it."""

__all__ = [
    "FAMILIES",
    "PRESETS",
    "SIMULATOR_VERSION",
    "DriftState",
    "PopulationParameters",
    "SampleParameters",
    "SimulatedStream",
    "draw_family_image",
    "draw_training_image",
    "draw_wide_image",
]
