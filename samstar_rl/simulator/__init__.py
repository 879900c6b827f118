"""Simulated micrographs with exact ground truth: single images to train on, drifting streams."""

from samstar_rl.simulator.drift import DriftState
from samstar_rl.simulator.image_families import FAMILIES
from samstar_rl.simulator.parameters import PopulationParameters, SampleParameters
from samstar_rl.simulator.presets import PRESETS
from samstar_rl.simulator.stream import SimulatedStream
from samstar_rl.simulator.training_images import draw_family_image, draw_training_image

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
]
