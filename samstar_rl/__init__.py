"""Segment Anything for micrographs, tuned by a score of physics and learned plausibility."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from samstar_rl.api import segment as segment
    from samstar_rl.api import segment_stack as segment_stack
    from samstar_rl.errors import SamstarError as SamstarError
    from samstar_rl.frames.frame import Frame as Frame
    from samstar_rl.frames.frame import LabelledFrame as LabelledFrame
    from samstar_rl.rewards import PhysicsReward as PhysicsReward
    from samstar_rl.rewards import Score as Score
    from samstar_rl.sam.engine import ProposalEngine as ProposalEngine
    from samstar_rl.sam.load import load_sam as load_sam
    from samstar_rl.sam.mask_generator import MaskGenerator as MaskGenerator
    from samstar_rl.segmentation.segmentation import Segmentation as Segmentation
    from samstar_rl.settings import Settings as Settings
    from samstar_rl.settings import SettingsSpace as SettingsSpace
    from samstar_rl.tasks.task import Task as Task
    from samstar_rl.tasks.task import load_task as load_task

# torch and other heavy libraries stand behind most of these: each is imported when asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "api": ["segment", "segment_stack"],
        "errors": ["SamstarError"],
        "frames.frame": ["Frame", "LabelledFrame"],
        "rewards": ["PhysicsReward", "Score"],
        "sam.engine": ["ProposalEngine"],
        "sam.load": ["load_sam"],
        "sam.mask_generator": ["MaskGenerator"],
        "segmentation.segmentation": ["Segmentation"],
        "settings": ["Settings", "SettingsSpace"],
        "tasks.task": ["Task", "load_task"],
    },
)
