"""Tuners that do not look at the frame: static settings, settings by frame or stream, chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.settings import SETTINGS, Settings
from samstar_rl.tuning.tuner import StaticTuner

if TYPE_CHECKING:
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import FrameContext


def default_tuner() -> StaticTuner:
    """SAM's own defaults, every gate off."""
    return StaticTuner(Settings(), "default")


class ScriptedTuner:
    """Settings that were chosen beforehand: for each stream, or for each of its frames.

    Parameters
    ----------
    script : sequence of sequence of Settings
        One sequence a stream; its last settings hold for all further frames.
    name : str
    """

    searches = False

    def __init__(self, script: Sequence[Sequence[Settings]], name: str) -> None:
        self.name = name
        self._script = script
        self._stream = self._frame = -1

    def reset(self) -> None:
        """Go on to the next stream, and from the last to the first."""
        self._stream = (self._stream + 1) % len(self._script)
        self._frame = -1

    def propose(self, context: FrameContext) -> Settings:
        """The settings of the script."""
        self._frame += 1
        scene = self._script[self._stream]
        return scene[min(self._frame, len(scene) - 1)]


class ForeignStaticTuner:
    """The static settings of another task, its lengths in the unit of the task at hand.

    Parameters
    ----------
    foreign : Task
        Whose static settings are used.
    task : Task
        That is at hand.
    """

    searches = False

    def __init__(self, foreign: Task, task: Task) -> None:
        self.name = f"static of {foreign.name}"
        self.foreign = foreign
        self.task = task

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: FrameContext) -> Settings:
        """The settings, whatever is in the frame; only its pixel size matters, for the lengths."""
        frame, static = context.frame, self.foreign.static
        factor = self.foreign.length_unit_px(frame) / self.task.length_unit_px(frame)
        lengths = [name for name, spec in SETTINGS.items() if spec.unit == "length"]
        return static.replace(**{name: factor * getattr(static, name) for name in lengths})


class RandomTuner:
    """Uniform random settings within the task's bounds.

    Parameters
    ----------
    task : Task
    seed : int
    """

    name = "random"
    searches = False

    def __init__(self, task: Task, *, seed: int = 0) -> None:
        self.task = task
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        """Nothing to forget; the random numbers go on."""

    def propose(self, context: FrameContext) -> Settings:
        """Draw settings."""
        return self.task.space.decode(self._rng.uniform(-1.0, 1.0, self.task.space.n))
