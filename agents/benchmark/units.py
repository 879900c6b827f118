"""Units of work of a benchmark, and where in its folder everything lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PLAN = "plan.json"
UNITS = "units"
SHEET, ROWS = "unit.json", "rows.csv"
PARTS = ("train", "test")


@dataclass(frozen=True)
class Unit:
    """One piece of work: a contender on a task with a seed."""

    task: str
    contender: str
    seed: int

    def folder(self, root: Path) -> Path:
        """Where its results lie."""
        return root / UNITS / short_name(self.task) / f"{self.contender}-{self.seed}"

    def is_done(self, root: Path) -> bool:
        """Whether its results are complete: the sheet is written last."""
        return (self.folder(root) / SHEET).is_file()


def short_name(task: str) -> str:
    """What a task's folders are called: its name, or that of its file."""
    return Path(task).stem


def bank_path(root: Path, task: str, part: str) -> Path:
    """Where the bank of ``train`` or ``test`` lies.

    Parameters
    ----------
    root : path
        The benchmark's folder.
    task, part : str

    Returns
    -------
    Path
    """
    return root / "banks" / short_name(task) / part
