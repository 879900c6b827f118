"""Units of work of a benchmark, and where in its folder everything lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PLAN = "plan.json"
PACE = "pace.json"
"""Milliseconds of a frame on this machine, by its cost."""
UNITS, BANKS = "units", "banks"
SHEET, ROWS = "unit.json", "rows.csv"
TRAIN, TEST = PARTS = ("train", "test")
DRIFT, SURVEY, REAL = CONDITIONS = ("drift", "survey", "real")
"""Simulated experiments that drift, simulated automated acquisitions, labelled images."""


@dataclass(frozen=True)
class Unit:
    """One piece of work: a contender on a task under a condition, with a seed."""

    condition: str
    task: str
    contender: str
    seed: int

    def folder(self, root: Path) -> Path:
        """Where its results lie."""
        name = f"{self.contender}-{self.seed}"
        return root / UNITS / self.condition / short_name(self.task) / name

    def is_done(self, root: Path) -> bool:
        """Whether its results are complete: the sheet is written last."""
        return (self.folder(root) / SHEET).is_file()


def short_name(task: str) -> str:
    """What a task's folders are called: its name, or that of its file."""
    return Path(task).stem


def bank_path(root: Path, condition: str, task: str, part: str) -> Path:
    """Where the bank of ``train`` or ``test`` lies.

    Parameters
    ----------
    root : path
        The benchmark's folder.
    condition, task, part : str

    Returns
    -------
    Path
    """
    return root / BANKS / condition / short_name(task) / part
