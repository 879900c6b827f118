"""What commands show while they work and when they are done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console()


class StageDisplay:
    """A progress bar for each stage of a longer work, one below the other."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),  # stdout is for results
        )
        self._stages: dict[str, TaskID] = {}

    def __enter__(self) -> StageDisplay:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def stage(self, name: str) -> Callable[[float], None]:
        """What announces how much of one stage is done."""
        return partial(self.announce, name)

    def announce(self, stage: str, share: float) -> None:
        """How much of a stage is done, in [0, 1]."""
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(stage, total=1.0)
        self._progress.update(self._stages[stage], completed=share)
