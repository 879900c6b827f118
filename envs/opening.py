"""What both environments open and check of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.tasks.task import Task, load_task

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank


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
