"""Figures of a benchmark: learning curves, searches, profiles, a front, pictures of frames."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from samstar_rl.agents.benchmark.contenders import CONTENDERS, FRONT_FILE, SEARCH_FILE
from samstar_rl.agents.benchmark.units import bank_path
from samstar_rl.agents.judging.statistics import performance_profile
from samstar_rl.agents.reporting.figures import COLOURS, FAINT, INK, label, new_figure
from samstar_rl.bank.bank import Bank
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.segmentation.segmentation import Segmentation

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.run import BenchmarkResults

Curves = dict[str, list[list[list[float]]]]
"""For each contender, for each seed, points of (evaluations, seconds, score)."""

_OUTSIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}

BESIDE = 3
"""Pictures beside each other."""

TRUTH = "truth"
Pictures = dict[str, NDArray[np.uint8]]

_PROFILED = ("ppo", "sac", "genetic", "frozen-start", "hindsight", "static-search", "static",
             "default")  # fmt: skip


def curves_of(results: BenchmarkResults, task: str) -> Curves:
    """The learning curves of a task."""
    curves: Curves = {}
    for unit, sheet in results.sheets.items():
        if unit.task == task and sheet["curve"]:
            curves.setdefault(unit.contender, []).append(sheet["curve"])
    return curves


def draw_seed_curves(curves: Curves) -> Figure:
    """Learning curves against evaluations and against seconds: each seed thin, the mean thick."""
    figure, axes = new_figure(9.6, 3.8, ncols=2, sharey=True)
    for axis, column, name in zip(axes, (0, 1), ("evaluations", "seconds"), strict=True):
        for colour, (contender, seeds) in zip(COLOURS, curves.items(), strict=False):
            for points in seeds:
                array = np.asarray(points)
                axis.plot(array[:, column], array[:, 2], color=colour, linewidth=0.8, alpha=0.4)
            mean = np.asarray(mean_curve(seeds))
            axis.plot(mean[:, column], mean[:, 2], color=colour, linewidth=2.2, label=contender)
        label(axis, name, "score" if column == 0 else "")
    axes[1].legend(frameon=False, fontsize=9, **_OUTSIDE)
    return figure


def mean_curve(curves: Sequence[Sequence[Sequence[float]]]) -> list[tuple[float, float, float]]:
    """The mean of the seeds' curves.

    Parameters
    ----------
    curves : sequence of curves, each a sequence of (evaluations, seconds, score)
        Their n-th points belong together; where one has fewer, the rest of the others is left out.
    """
    return [tuple(np.mean(points, axis=0).tolist()) for points in zip(*curves, strict=False)]


def draw_profiles(rows: pd.DataFrame) -> Figure:
    """Performance profiles of score and F1."""
    measures = [name for name in ("score", "f1") if name in rows]
    figure, axes = new_figure(9.6, 3.4, ncols=len(measures), sharey=True)
    thresholds = np.linspace(0, 1, 101)
    present = set(rows["tuner"])
    chosen = [name for name in _PROFILED if name in present]
    for axis, measure in zip(np.ravel(axes), measures, strict=True):
        for colour, name in zip(COLOURS, chosen, strict=False):
            profile = performance_profile(rows[rows["tuner"] == name], measure, thresholds)
            axis.plot(thresholds, profile, color=colour, linewidth=1.8, label=name)
        axis.axvline(0.5, color=FAINT, linewidth=0.6)
        names = {"score": "score", "f1": "F1 at IoU 0.5"}
        label(axis, names[measure], "share of frames above" if measure == measures[0] else "")
    np.ravel(axes)[-1].legend(frameon=False, fontsize=9, **_OUTSIDE)
    return figure


def searches_of(results: BenchmarkResults, task: str) -> dict[str, NDArray[np.float64]]:
    """Mean best reward after each evaluation on a frame, for each search of a task."""
    searches = {}
    for unit in results.sheets:
        path = unit.folder(results.root) / SEARCH_FILE
        if unit.task == task and path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            searches[unit.contender] = np.asarray(content["best_reward"])
    return searches


def draw_searches(
    searches: Mapping[str, NDArray[np.float64]], levels: Mapping[str, float]
) -> Figure:
    """What a search has reached after so many evaluations of a frame, beside single answers.

    Parameters
    ----------
    searches : mapping of name to (N,) array
        Mean best reward after each evaluation.
    levels : mapping of name to float
        Mean reward of what answers with one evaluation.
    """
    figure, axis = new_figure(9.6, 3.8)
    for colour, (name, rewards) in zip(COLOURS, searches.items(), strict=False):
        axis.plot(np.arange(1, len(rewards) + 1), rewards, color=colour, linewidth=2, label=name)
    styles = ("-", "--", ":", "-.", (0, (1, 4)))
    for style, (name, level) in zip(styles, levels.items(), strict=False):
        axis.axhline(level, color=INK, linewidth=1.2, linestyle=style, label=f"{name} (1)")
    axis.set_xscale("log")
    label(axis, "evaluations of a frame", "best reward so far")
    axis.legend(frameon=False, fontsize=9, **_OUTSIDE)
    return figure


def levels_of(rows: pd.DataFrame) -> dict[str, float]:
    """Mean reward of what answers with one evaluation, as far as a figure should show it."""
    learners = [name for name, one in CONTENDERS.items() if one.is_learner]
    present = set(rows["tuner"])
    names = [name for name in (*learners, "static", "static-search") if name in present]
    return {name: float(rows.loc[rows["tuner"] == name, "reward"].mean()) for name in names}


def front_of(results: BenchmarkResults, task: str) -> dict[str, Any] | None:
    """What NSGA-II tried on one frame of a task."""
    for unit in results.sheets:
        path = unit.folder(results.root) / FRONT_FILE
        if unit.task == task and path.is_file():
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return content
    return None


def draw_front(front: Mapping[str, Any]) -> Figure:
    """The two terms that contradict each other most, over all that was tried on the frame."""
    values, optimal = np.asarray(front["values"]), np.asarray(front["optimal"])
    first, second = _opposed(values[optimal][:, :-1])  # the last is the cost: a few steps
    figure, axis = new_figure(6.4, 4.4)
    axis.scatter(*values[~optimal][:, [first, second]].T, s=14, color=FAINT, alpha=0.5,
                 linewidths=0, label="dominated")  # fmt: skip
    axis.scatter(*values[optimal][:, [first, second]].T, s=22, color=COLOURS[0], linewidths=0,
                 label="on the front")  # fmt: skip
    axis.scatter(*values[front["chosen"], [first, second]], s=110, marker="*", color=COLOURS[1],
                 zorder=3, label="by the task's weights")  # fmt: skip
    names = front["names"]
    label(axis, names[first], names[second])
    axis.legend(frameon=False, fontsize=9, **_OUTSIDE)
    return figure


def pictures_of(
    results: BenchmarkResults, task: str, contenders: Sequence[str] = ()
) -> list[tuple[int, Pictures]]:
    """The pictures that the first seeds of contenders left, frame by frame.

    Parameters
    ----------
    results : BenchmarkResults
    task : str
    contenders : sequence of str
        In this order; by default all. Who did not take part, or did not meet a frame, is left out.

    Returns
    -------
    list of (frame index, pictures by contender)
        Where there is ground truth, ``truth`` stands last.
    """
    found: dict[int, Pictures] = {}
    units = {u.contender: u for u in results.sheets if u.task == task and u.seed == 0}
    for name in contenders or units:
        if name in units:
            for path in sorted(units[name].folder(results.root).glob("frame-*.png")):
                index = int(path.stem.removeprefix("frame-"))
                found.setdefault(index, {})[name] = np.asarray(Image.open(path))
    if not found:
        return []
    test = Bank(bank_path(results.root, task, "test"))
    for index, pictures in found.items():
        if test.frame_truth_exists(index):
            frame = test.frame(index)
            truth = Segmentation.from_labels(test.truth(index), frame)
            pictures[TRUTH] = draw_outlines(frame, truth, 2)
    return sorted(found.items())


def draw_together(pictures: Mapping[str, NDArray[np.uint8]]) -> Figure:
    """Pictures of one frame, three beside each other, each under its name."""
    n_rows = -(-len(pictures) // BESIDE)
    figure = Figure(figsize=(3.0 * BESIDE, 3.2 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, BESIDE, squeeze=False).flat
    for panel in panels:
        panel.axis("off")
    for panel, (name, picture) in zip(panels, pictures.items(), strict=False):
        panel.imshow(picture)
        panel.set_title(name, fontsize=11)
    return figure


def _opposed(values: NDArray[np.float64]) -> tuple[int, int]:
    """The pair of columns with the most negative correlation; the first two if none varies."""
    moving = np.flatnonzero(np.ptp(values, axis=0) > 1e-9)
    if len(moving) < 2:
        return 0, 1
    correlations = np.corrcoef(values[:, moving].T)
    i, j = np.unravel_index(int(np.argmin(correlations)), correlations.shape)
    return int(moving[min(i, j)]), int(moving[max(i, j)])
