"""Segment Anything for micrographs, tuned by the physics of the sample."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samstar_rl.api import segment, segment_stack
    from samstar_rl.frames.frame import Frame, LabelledFrame
    from samstar_rl.rewards import PhysicsReward, Score
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam
    from samstar_rl.sam.mask_generator import MaskGenerator
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.settings import Settings, SettingsSpace
    from samstar_rl.task import Task, load_task

__all__ = [
    "Frame",
    "LabelledFrame",
    "MaskGenerator",
    "PhysicsReward",
    "ProposalEngine",
    "Score",
    "Segmentation",
    "Settings",
    "SettingsSpace",
    "Task",
    "load_sam",
    "load_task",
    "segment",
    "segment_stack",
]

# torch stands behind most of these: each is imported when it is asked for
_HOMES = {
    "Frame": "frames.frame",
    "LabelledFrame": "frames.frame",
    "MaskGenerator": "mask_generator",
    "PhysicsReward": "rewards",
    "ProposalEngine": "proposals",
    "Score": "rewards",
    "Segmentation": "segmentation",
    "Settings": "settings",
    "SettingsSpace": "settings",
    "Task": "task",
    "load_sam": "sam",
    "load_task": "task",
    "segment": "api",
    "segment_stack": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
