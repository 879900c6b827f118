"""Rows of a benchmark: one table for people, build/bench.json for everything else."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from samstar_rl._io import atomic


@dataclass(frozen=True)
class Row:
    """One comparison.

    ``ratio`` is how many times better ours is, or, where there is no peer, our own figure;
    ``required`` is what it must reach (or, with ``at_most``, not exceed); None where nothing is
    asked.
    """

    name: str
    ours: str
    peer: str
    ratio: float
    required: float | None = None
    at_most: bool = False
    note: str = ""
    carried_over: bool = False

    @property
    def passes(self) -> bool | None:
        if self.required is None:
            return None
        return self.ratio <= self.required if self.at_most else self.ratio >= self.required


def write(rows: list[Row], path: Path) -> None:
    """Write the rows; those of earlier runs that were not measured now are carried over."""
    measured = {row.name for row in rows}
    old = [row for row in read(path) if row.name not in measured]
    carried = [Row(**(asdict(row) | {"carried_over": True})) for row in old]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": [asdict(row) for row in rows + carried]}
    atomic.write_json(path, content)


def read(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    known = {field.name for field in fields(Row)}
    rows = json.loads(path.read_text("utf-8"))["rows"]
    return [Row(**row) for row in rows if row.keys() <= known]  # not those of version 0.1


def show(rows: list[Row]) -> None:
    table = Table(title=" · ".join(str(value) for value in machine().values()))
    for heading in ("", "ours", "peer", "ratio", "required", ""):
        table.add_column(heading)
    for row in rows:
        sign = "≤" if row.at_most else "≥"
        mark = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[row.passes]
        note = " ".join(filter(None, [mark, row.note, "(earlier run)" if row.carried_over else ""]))
        required = "" if row.required is None else f"{sign} {row.required:g}"
        table.add_row(row.name, row.ours, row.peer, f"{row.ratio:,.4g}", required, note)
    Console(width=None if os.isatty(1) else 160).print(table)


def markdown(path: Path) -> str:
    """The table of a results file as Markdown, with the machine that it was measured on.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: `make bench` writes it")
    measured_on = json.loads(path.read_text("utf-8"))["machine"]
    lines = ["| | ours | peer | ratio, or our figure | asked for |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in read(path)]
    facts = [f"{value} cores" if key == "cores" else value for key, value in measured_on.items()]
    notes = [f"- {row.name}: {row.note}." for row in read(path) if row.note]
    return "\n".join([*lines, "", f"Measured on: {', '.join(facts)}.", "", *notes])


def _cells(row: Row) -> list[str]:
    sign = "≤" if row.at_most else "≥"
    required = "" if row.required is None else f"{sign} {row.required:g}"
    if row.passes is False:
        required += " (missed)"
    earlier = " (an earlier run)" if row.carried_over else ""
    return [row.name + earlier, row.ours, row.peer, f"{row.ratio:,.4g}", required]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": f"{torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "torch": f"torch {torch.__version__}",
        "python": f"Python {platform.python_version()}",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
