"""What other samples teach about one that was never seen: their static settings, and a policy."""

from __future__ import annotations

from samstar_rl.agents.arena import Arena, Ready
from samstar_rl.settings import SETTINGS, Settings
from samstar_rl.task import Task
from samstar_rl.tuner import FrameContext


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


def prepare_others_static(arena: Arena, seed: int) -> Ready:
    """The static settings of another task: who meets a new sample has no others.

    The seed says of which of the other tasks.
    """
    foreign, _ = list(arena.others.values())[seed]
    return Ready(ForeignStaticTuner(foreign, arena.task))
