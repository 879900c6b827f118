"""What a search of a front found: a table, a picture, and the settings file with every point."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from samstar_rl._io import atomic
from samstar_rl.agents.search.pareto import knee
from samstar_rl.agents.search.settings_file import front_toml

if TYPE_CHECKING:
    from samstar_rl.agents.search.pareto import ParetoFront
    from samstar_rl.tasks.task import Task

FRONT_TABLE = "front.csv"
FRONT_PICTURE = "front.png"
_MOST_NUMBERED = 12


def write_front(
    settings_file: Path,
    task: Task,
    front: ParetoFront,
    picked: int | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the settings file with every point, and front.csv and front.png beside it.

    Parameters
    ----------
    settings_file : path
    task : Task
    front : ParetoFront
    picked : int, optional
        The point, counted from 0, that becomes the settings; None for none.
    facts : mapping
        How the front was found.

    Returns
    -------
    dict
        The facts and the points, for a record.
    """
    atomic.write_text(settings_file, front_toml(front, picked, facts))
    atomic.write_text(settings_file.with_name(FRONT_TABLE), front_csv(front, task))
    picture = draw_front(front, picked)
    atomic.write_figure(settings_file.with_name(FRONT_PICTURE), picture, dpi=100)
    points = [
        {"point": number, "score": point.score, "terms": point.terms}
        for number, point in enumerate(front.points, start=1)
    ]
    return {**facts, "points": points}


def draw_front(front: ParetoFront, picked: int | None) -> Figure:
    """Each two of the searched terms against each other: everything tried, the front, the picks."""
    pairs = list(combinations(range(len(front.terms)), 2))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.8 * columns, 4.2 * rows + 0.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for panel, (x, y) in zip(panels, pairs, strict=False):
        _draw_pair(panel, front, picked, x, y)
    for panel in panels[len(pairs) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_pair(panel: Any, front: ParetoFront, picked: int | None, x: int, y: int) -> None:
    values = front.values()
    panel.scatter(*front.evaluated[:, [x, y]].T, s=6, color="0.75", linewidths=0, label="tried")
    if len(front.terms) == 2:  # with more terms a line would join what does not follow
        order = np.argsort(values[:, x])
        panel.plot(values[order, x], values[order, y], color="tab:blue", linewidth=0.8)
    panel.scatter(*values[:, [x, y]].T, s=16, color="tab:blue", label="front")
    marks = {"best score": (0, "s"), "knee": (knee(values), "^")}
    if picked is not None:
        marks["picked"] = (picked, "o")
    for (name, (position, marker)), size in zip(marks.items(), (60, 60, 130), strict=False):
        panel.scatter(
            *values[position, [x, y]],
            s=size, marker=marker, facecolors="none", edgecolors="tab:red", label=name,
        )  # fmt: skip
    for position in np.linspace(0, len(values) - 1, min(len(values), _MOST_NUMBERED)).astype(int):
        panel.annotate(
            str(position + 1), values[position, [x, y]],
            xytext=(4, 3), textcoords="offset points", fontsize=7,
        )  # fmt: skip
    panel.set_xlabel(front.terms[x])
    panel.set_ylabel(front.terms[y])


def front_csv(front: ParetoFront, task: Task) -> str:
    """A row a point: its number, score, every term, and the settings that may move."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    terms, settings = list(task.terms), list(task.space.names)
    writer.writerow(["point", "score", *terms, *settings])
    for number, point in enumerate(front.points, start=1):
        values = [point.score, *(point.terms[name] for name in terms)]
        chosen = point.settings.to_dict()
        writer.writerow(
            [number, *(f"{value:.6f}" for value in values), *(chosen[name] for name in settings)]
        )
    return text.getvalue()
