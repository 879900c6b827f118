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


SMALL_PROMPTS, SMALL_ZOOMS = 128, (1.0, 2.0, 3.0)
"""The gaze of the small simulated bank: most prompts at each of these zooms."""


def open_bank(bank: Bank | str | Path | None, task: Task) -> tuple[Task, Bank]:
    """Open the frames of an environment.

    None builds the task's small simulated bank, once, and shows how far that is; the task then has
    fewer prompts and zooms to choose from.
    """
    if bank is None:
        from rich.console import Console
        from rich.progress import Progress

        from samstar_rl.bank.simulated import SMALL, simulated_bank, with_gaze

        task = with_gaze(task, most_prompts=SMALL_PROMPTS, zooms=SMALL_ZOOMS)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            row = progress.add_task(f"{task.name}: SAM's proposals for a small bank", total=1.0)
            built = simulated_bank(
                task, SMALL, on_progress=lambda share: progress.update(row, completed=share)
            )
        return task, built
    if isinstance(bank, str | Path):
        from samstar_rl.bank.bank import Bank

        return task, Bank(bank)
    return task, bank


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
    """Every window of a number of frames that lies within one stream, (W, 2).

    First frame, and the one after the last; a stream that is shorter is one window.
    """
    bounds: list[tuple[int, int]] = []
    for stream in streams:
        size = min(length, len(stream))
        starts = range(stream.start, stream.stop - size + 1)
        bounds.extend((start, start + size) for start in starts)
    return np.asarray(bounds, dtype=np.int64)
