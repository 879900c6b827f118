"""What both environments do with the frames of a bank."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from samstar_rl.envs.observation.builder import ObservationBuilder
from samstar_rl.errors import SamstarError
from samstar_rl.tuning.evaluable_frames import BankFrame

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.envs.observation.schema import Vector
    from samstar_rl.envs.task_union import TaskUnion
    from samstar_rl.frames.frame import Frame
    from samstar_rl.tasks.task import Task

#: Pixels of the frames that are kept at hand, with what is known of them: 400 of 512 x 512.
MOST_PX = 400 * 512**2


class BankFrames:
    """The frames of a bank, each with the part of the observation that it alone decides.

    What is sensed in a frame is kept by the frame: all environments of the process that read the
    same bank object share it.

    Parameters
    ----------
    bank : Bank
    task : Task
    tuning : bool
    union : TaskUnion, optional
        As for `ObservationBuilder`.

    Raises
    ------
    SamstarError
        If the bank is empty or lacks prompt settings that the task's actions reach.
    """

    def __init__(
        self, bank: Bank, task: Task, *, tuning: bool = False, union: TaskUnion | None = None
    ) -> None:
        if len(bank) == 0:
            raise SamstarError("the bank holds no frames: build it from a source that has some")
        missing = [
            prompt
            for prompt in task.space.prompts()
            if not any(held.holds(prompt) for held in bank.prompts)
        ]
        if missing:
            raise SamstarError(
                f"the bank lacks the prompt settings {missing[0]} (and {len(missing) - 1} more) "
                f"that the task {task.name!r} can choose; it holds "
                f"{sorted(bank.prompts, key=str)}: build a bank for this task, or narrow the "
                "task's bounds"
            )
        self.bank = bank
        n_channels = len(bank.features(0).pooled)
        self.builder = ObservationBuilder(task, n_channels, tuning=tuning, union=union)
        n_kept = max(1, MOST_PX // bank.frame(0).image.size)
        self._source = lru_cache(maxsize=n_kept)(partial(BankFrame, bank))
        self._parts: dict[int, Vector] = {}
        self._indices: WeakKeyDictionary[Frame, int] = WeakKeyDictionary()  # of those handed out

    def source(self, index: int) -> BankFrame:
        """The frame as what a `FrameEvaluator` takes."""
        source = self._source(index)
        self._indices[source.frame] = index
        return source

    def part(self, index: int) -> Vector:
        """The observation's blocks from image to targets (and free)."""
        if index not in self._parts:
            self._parts[index] = self.part_of(index, self.builder)
        return self._parts[index]

    def part_of(self, index: int, builder: ObservationBuilder) -> Vector:
        """The same with the targets of another builder's task."""
        source = self.source(index)
        known, key = source.frame.known, (ObservationBuilder.sense, self.bank.sam_sha256)
        if key not in known:
            known[key] = self.builder.sense(source.frame, source.features)
        return np.concatenate([known[key], builder.targets(source.frame)])

    def known_part(self, frame: Frame) -> Vector | None:
        """The part of a frame that `source` handed out; None for any other frame."""
        index = self._indices.get(frame)
        return None if index is None else self.part(index)
