"""Search a front of settings over frames: what `samstar tune --pareto` does."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import typer
from matplotlib.figure import Figure

from samstar_rl._io import atomic
from samstar_rl._io.run_folder import RunFolder
from samstar_rl.agents.search.pareto import (
    ParetoFront,
    PickError,
    check_pick,
    checked_terms,
    knee,
    pick,
    search_pareto,
)
from samstar_rl.scripts._shared.command import make_progress
from samstar_rl.segmenter import Segmenter
from samstar_rl.tasks.task import Task, toml_value
from samstar_rl.tuning.tuner import FrameSource

FRONT_TABLE = "front.csv"
FRONT_PICTURE = "front.png"
_MOST_NUMBERED = 12


@dataclass(frozen=True)
class FrontRequest:
    """What is asked of a front.

    Parameters
    ----------
    terms : tuple of str
        To search over.
    how : str
        How a point is picked, see `samstar_rl.agents.search.pareto.pick`.
    n_evaluations, seed : int
    """

    terms: tuple[str, ...]
    how: str
    n_evaluations: int
    seed: int

    @classmethod
    def read(
        cls, task: Task, terms: str | None, how: str, n_evaluations: int, seed: int
    ) -> FrontRequest:
        """Read what the command line says, before any work.

        Raises
        ------
        SamstarError
            If a term is not the task's, or the way to pick is not understood.
        """
        names = [name.strip() for name in terms.split(",")] if terms else []
        check_pick(how, task)
        return cls(checked_terms(task, names), how, n_evaluations, seed)


def tune_front(
    segmenter: Segmenter,
    sources: Sequence[FrameSource],
    request: FrontRequest,
    run: RunFolder,
    settings_file: str,
) -> None:
    """Search the front, write it, and pick a point.

    Writes front.csv, front.png and the settings file with every point. Where no point reaches the
    floors asked for, all points are in the file, and none is the settings.

    Raises
    ------
    PickError
        If no point reaches the floors.
    """
    front = _search(segmenter, sources, request)
    facts = {
        "task": segmenter.task.name,
        "algorithm": "NSGA-II",
        "terms": list(front.terms),
        "picked_by": request.how,
        "frames": len(sources),
        "evaluations": front.n_evaluations,
        "seed": request.seed,
    }
    path = run.path / settings_file
    try:
        picked = pick(front, request.how)
    except PickError as error:
        _write_front(run, segmenter.task, front, None, facts, settings_file)
        raise PickError(f"{error}; all points are in {path}: use one as static:{path}#1") from error
    _write_front(run, segmenter.task, front, picked, facts, settings_file)
    typer.echo(_summary(front, picked, request.how))
    typer.echo(
        f"use it: samstar segment IMAGES --task {segmenter.task.name} --tuner static:{path}\n"
        f"or another point of the front: --tuner static:{path}#1 (numbers as in {FRONT_TABLE})"
    )


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


def front_toml(front: ParetoFront, picked: int | None, facts: Mapping[str, Any]) -> str:
    """All points as TOML that `--tuner static:FILE` and `static:FILE#NUMBER` read."""
    lines = ["# Written by samstar tune --pareto; read by --tuner static:FILE or static:FILE#7."]
    if picked is not None:
        lines += _table("settings", front.points[picked].settings.to_dict())
        facts = {**facts, "point": picked + 1, "mean_score": front.points[picked].score}
    lines += _table("found", facts)
    for point in front.points:
        lines += ["", "[[points]]", f"score = {toml_value(point.score)}"]
        lines += _table("points.terms", point.terms)
        lines += _table("points.settings", point.settings.to_dict())
    return "\n".join(lines) + "\n"


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


def _table(header: str, values: Mapping[str, Any]) -> list[str]:
    return ["", f"[{header}]", *(f"{name} = {toml_value(value)}" for name, value in values.items())]


def _search(
    segmenter: Segmenter, sources: Sequence[FrameSource], request: FrontRequest
) -> ParetoFront:
    with make_progress() as progress:
        bar = progress.add_task("evaluations", total=request.n_evaluations)
        return search_pareto(
            sources,
            segmenter.objective,
            terms=request.terms,
            n_evaluations=request.n_evaluations,
            seed=request.seed,
            on_round=lambda done: progress.update(bar, completed=done),
        )


def _write_front(
    run: RunFolder,
    task: Task,
    front: ParetoFront,
    picked: int | None,
    facts: dict[str, Any],
    settings_file: str,
) -> None:
    atomic.write_text(run.path / settings_file, front_toml(front, picked, facts))
    atomic.write_text(run.path / FRONT_TABLE, front_csv(front, task))
    with atomic.replacing(run.path / FRONT_PICTURE) as temporary:
        draw_front(front, picked).savefig(temporary, dpi=100)
    points = [
        {"point": number, "score": point.score, "terms": point.terms}
        for number, point in enumerate(front.points, start=1)
    ]
    run.write_results({**facts, "points": points})


def _summary(front: ParetoFront, picked: int, how: str) -> str:
    point = front.points[picked]
    values = ", ".join(f"{name} {point.terms[name]:.3f}" for name in front.terms)
    return (
        f"{len(front.points)} points after {front.n_evaluations} evaluations; picked by {how}: "
        f"point {picked + 1}, {values}, score {point.score:.3f}"
    )
