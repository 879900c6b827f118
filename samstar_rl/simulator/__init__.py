"""Simulated micrographs with exact ground truth: single images to train on, drifting streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from samstar_rl.simulator.drift import DriftState as DriftState
    from samstar_rl.simulator.parameters import PopulationParameters as PopulationParameters
    from samstar_rl.simulator.parameters import SampleParameters as SampleParameters
    from samstar_rl.simulator.presets import PRESETS as PRESETS
    from samstar_rl.simulator.stream import SimulatedStream as SimulatedStream
    from samstar_rl.simulator.training_images import FAMILIES as FAMILIES
    from samstar_rl.simulator.training_images import draw_family_image as draw_family_image
    from samstar_rl.simulator.training_images import draw_training_image as draw_training_image
    from samstar_rl.simulator.training_images import draw_wide_image as draw_wide_image

SIMULATOR_VERSION = 1
"""Raised whenever the same preset and seed no longer give the same frames: caches depend on it."""

# SciPy and OpenCV stand behind some of these: each is imported when asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "drift": ["DriftState"],
        "parameters": ["PopulationParameters", "SampleParameters"],
        "presets": ["PRESETS"],
        "stream": ["SimulatedStream"],
        "training_images": [
            "FAMILIES",
            "draw_family_image",
            "draw_training_image",
            "draw_wide_image",
        ],
    },
)
