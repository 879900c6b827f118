"""What both environments do with the frames of a bank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from samstar_rl.envs.observation.builder import ObservationBuilder
from samstar_rl.envs.observation.schema import Vector
from samstar_rl.envs.task_union import TaskUnion
from samstar_rl.errors import SamstarError
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.evaluable_frames import BankFrame

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.frames.frame import Frame
    from samstar_rl.settings import PromptSettings

_SENSED: WeakKeyDictionary[Bank, dict[int, Vector]] = WeakKeyDictionary()


class BankFrames:
    """The frames of a bank, each with the part of the observation that it alone decides.

    What is sensed in a frame is computed once and shared by all environments of the process that
    read the same bank object.

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
        _check_prompts(bank, task)
        self.bank = bank
        n_channels = len(bank.features(0).pooled)
        self.builder = ObservationBuilder(task, n_channels, tuning=tuning, union=union)
        self._sensed = _SENSED.setdefault(bank, {})
        self._parts: dict[int, Vector] = {}
        self._sources: dict[int, BankFrame] = {}
        self._indices: dict[int, int] = {}  # of the frames handed out, by their identity

    def source(self, index: int) -> BankFrame:
        """The frame as what a `FrameEvaluator` takes."""
        if index not in self._sources:
            self._sources[index] = BankFrame(self.bank, index)
            self._indices[id(self._sources[index].frame)] = index
        return self._sources[index]

    def part(self, index: int) -> Vector:
        """The observation's blocks from image to targets (and free)."""
        if index not in self._parts:
            self._parts[index] = self.part_of(index, self.builder)
        return self._parts[index]

    def part_of(self, index: int, builder: ObservationBuilder) -> Vector:
        """The same with the targets of another builder's task."""
        source = self.source(index)
        if index not in self._sensed:
            self._sensed[index] = self.builder.sense(source.frame, source.features)
        return np.concatenate([self._sensed[index], builder.targets(source.frame)])

    def known_part(self, frame: Frame) -> Vector | None:
        """The part of a frame that `source` handed out; None for any other frame."""
        index = self._indices.get(id(frame))
        return None if index is None else self.part(index)


def open_bank(bank: Bank | str | Path | None, task: Task) -> Bank:
    """Open a bank given as such, as a path, or as None for the task's small simulated one."""
    if bank is None:
        from samstar_rl.bank.simulated import simulated_bank

        return simulated_bank(task)
    if isinstance(bank, str | Path):
        from samstar_rl.bank.bank import Bank

        return Bank(bank)
    return bank


def open_task(task: Task | str | Path) -> Task:
    """A task given as such, by name, or as the path of its TOML file."""
    return task if isinstance(task, Task) else load_task(task)


def choose_streams(bank: Bank, streams: Sequence[range] | None) -> tuple[range, ...]:
    """The streams to take of a bank, all of them by default.

    Raises
    ------
    SamstarError
        If one is empty, not contiguous, or reaches beyond the bank.
    """
    chosen = tuple(bank.streams if streams is None else streams)
    for stream in chosen:
        if len(stream) == 0 or stream.step != 1 or stream.start < 0 or stream.stop > len(bank):
            raise SamstarError(
                f"streams must be ranges of consecutive frames among the bank's {len(bank)}, "
                f"got {stream}"
            )
    if not chosen:
        raise SamstarError("streams is empty: give at least one range of frames")
    return chosen


def windows(streams: Sequence[range], length: int) -> NDArray[np.int64]:
    """Every window of a number of frames that lies within one stream.

    Parameters
    ----------
    streams : sequence of range
        Frame indices of each stream.
    length : int
        Frames per window; a stream that is shorter is one window.

    Returns
    -------
    (W, 2) int array
        First frame, and the one after the last.
    """
    bounds: list[tuple[int, int]] = []
    for stream in streams:
        size = min(length, len(stream))
        starts = range(stream.start, stream.stop - size + 1)
        bounds.extend((start, start + size) for start in starts)
    return np.asarray(bounds, dtype=np.int64)


def _check_prompts(bank: Bank, task: Task) -> None:
    held: set[PromptSettings] = set(bank.prompts)
    missing = [prompt for prompt in task.space.prompts() if prompt not in held]
    if missing:
        raise SamstarError(
            f"the bank lacks the prompt settings {missing[0]} (and {len(missing) - 1} more) that "
            f"the task {task.name!r} can choose; it holds {sorted(held, key=str)}: build a bank "
            "for this task, or narrow the task's bounds"
        )
