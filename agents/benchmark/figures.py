"""Figures of a benchmark: F1 over the budget, learning curves, a front, pictures of frames."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from samstar_rl.agents.benchmark.contenders import FRONT_FILE
from samstar_rl.agents.benchmark.units import bank_path
from samstar_rl.agents.judging.statistics import Estimate, cells_of, mean_curve, mean_interval
from samstar_rl.agents.reporting.figures import COLOURS, FAINT, INK, label, new_figure
from samstar_rl.bank.bank import Bank
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.segmentation.segmentation import Segmentation

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.claims import Tables
    from samstar_rl.agents.benchmark.run import BenchmarkResults

Curves = dict[str, list[list[list[float]]]]
"""For each contender, for each seed, points of (evaluations, seconds, score)."""

_OUTSIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}

BESIDE = 3
"""Pictures beside each other."""

TRUTH = "truth"
Pictures = dict[str, NDArray[np.uint8]]

NO_LIMIT = 2.0
"""Where 'no limit' stands on an axis of budgets: at the greatest one times this."""
BESIDE_EACH_OTHER = 1.015
"""Distance of contenders at one budget, as a factor."""
DRAWN = ("ppo", "static-search", "genetic", "frozen-start", "rule", "static-filters", "static",
         "sac", "oracle")  # fmt: skip
"""Contenders of the figure of budgets; all are in the table."""
_COLOUR_OF = dict(zip(DRAWN, (*COLOURS, INK), strict=True))


def over_budgets(rows: pd.DataFrame, measure: str) -> dict[float, Estimate]:
    """The mean of one contender's rows at each budget, with its interval over seeds and streams."""
    return {
        float(budget): mean_interval(cells_of(own, measure))
        for budget, own in rows.groupby("budget")
    }


def draw_budgets(
    conditions: Mapping[str, Tables], measure: str, pace: Mapping[str, float] | None = None
) -> Figure:
    """A measure over the budget, a panel for each condition, bars for 95 % intervals.

    Parameters
    ----------
    conditions : mapping of str to dict of str to DataFrame
        Rows by contender under each condition.
    measure : {"f1", "score"}
    pace : mapping, optional
        From `pace.json`: a second axis shows milliseconds.

    Returns
    -------
    Figure
    """
    figure, axes = new_figure(
        4.6 * len(conditions) + 1.4, 4.2, ncols=len(conditions), sharey=True, squeeze=False
    )
    names = {"score": "score", "f1": "F1 at IoU 0.5"}
    for axis, (condition, tables) in zip(axes[0], conditions.items(), strict=True):
        finite = sorted(
            {b for rows in tables.values() for b in rows["budget"].unique() if not math.isinf(b)}
        )
        unlimited = NO_LIMIT * max(finite, default=1.0)
        shown = [name for name in DRAWN if name in tables and measure in tables[name]]
        for position, name in enumerate(shown):
            values = over_budgets(tables[name], measure)
            # beside each other, for the bars to be told apart
            shift = BESIDE_EACH_OTHER ** (position - len(shown) / 2)
            x = [min(budget, unlimited) * shift for budget in values]
            mean, low, high = np.array([(v.value, v.low, v.high) for v in values.values()]).T
            axis.errorbar(x, mean, [mean - low, high - mean], color=_COLOUR_OF[name], label=name,
                          linewidth=1.8, linestyle="--" if name == "oracle" else "-", marker="o",
                          markersize=3, elinewidth=0.8)  # fmt: skip
        if "default" in tables and measure in tables["default"]:
            rows = tables["default"]
            axis.plot(rows["cost"].mean(), rows[measure].mean(), color=FAINT, marker="*",
                      markersize=11, linestyle="none", label="default")  # fmt: skip
        axis.set_xscale("log")
        axis.set_xticks([*finite, unlimited], [*(f"{b:g}" for b in finite), "none"])
        axis.minorticks_off()
        label(axis, "budget (cost)", names[measure] if axis is axes[0][0] else "", condition)
        if pace is not None:
            _add_milliseconds(axis, finite, pace)
    keys = {
        name: line
        for axis in axes[0]
        for line, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    axes[0][-1].legend(keys.values(), keys.keys(), frameon=False, fontsize=9, **_OUTSIDE)
    return figure


def _add_milliseconds(axis: Any, budgets: Sequence[float], pace: Mapping[str, float]) -> None:
    top = axis.twiny()
    top.set_xscale("log")
    top.set_xlim(axis.get_xlim())
    shown = [f"{milliseconds(budget, pace):.0f}" for budget in budgets]
    top.set_xticks(list(budgets), shown)
    top.minorticks_off()
    top.tick_params(colors=FAINT, labelsize=8, length=0)
    for spine in top.spines.values():
        spine.set_visible(False)
    top.set_xlabel("ms of a frame on this machine", color=FAINT, fontsize=8)


def milliseconds(cost: float, pace: Mapping[str, float]) -> float:
    """What a frame of some cost takes on the machine whose pace was measured."""
    return pace["constant_ms"] + pace["ms_per_unit"] * cost


def curves_of(results: BenchmarkResults, condition: str, task: str) -> Curves:
    """The learning curves of a task under a condition.

    Parameters
    ----------
    results : BenchmarkResults
    condition, task : str

    Returns
    -------
    dict of str to list of curves
        By contender, a curve a seed.
    """
    curves: Curves = {}
    for unit, sheet in results.sheets.items():
        if (unit.condition, unit.task) == (condition, task) and sheet["curve"]:
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


def front_of(results: BenchmarkResults, condition: str, task: str) -> dict[str, Any] | None:
    """What NSGA-II tried on one frame of a task.

    Parameters
    ----------
    results : BenchmarkResults
    condition, task : str

    Returns
    -------
    dict or None
        ``frame_id, score, cost, optimal, chosen``; None where it did not take part.
    """
    for unit in results.sheets:
        path = unit.folder(results.root) / FRONT_FILE
        if (unit.condition, unit.task) == (condition, task) and path.is_file():
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return content
    return None


def draw_front(front: Mapping[str, Any]) -> Figure:
    """Score against cost of all that NSGA-II tried on the frame."""
    cost, score = np.asarray(front["cost"]), np.asarray(front["score"])
    optimal, chosen = np.asarray(front["optimal"]), front["chosen"]
    figure, axis = new_figure(6.4, 4.4)
    axis.scatter(cost[~optimal], score[~optimal], s=14, color=FAINT, alpha=0.5, linewidths=0,
                 label="dominated")  # fmt: skip
    axis.scatter(cost[optimal], score[optimal], s=22, color=COLOURS[0], linewidths=0,
                 label="on the front")  # fmt: skip
    axis.scatter(cost[chosen], score[chosen], s=110, marker="*", color=COLOURS[1], zorder=3,
                 label="highest reward")  # fmt: skip
    axis.set_xscale("log")
    label(axis, "cost", "score")
    axis.legend(frameon=False, fontsize=9, **_OUTSIDE)
    return figure


def pictures_of(
    results: BenchmarkResults, condition: str, task: str, contenders: Sequence[str] = ()
) -> list[tuple[int, Pictures]]:
    """The pictures that the first seeds of contenders left, frame by frame.

    Parameters
    ----------
    results : BenchmarkResults
    condition, task : str
    contenders : sequence of str
        In this order; by default all. Who did not take part, or did not meet a frame, is left out.

    Returns
    -------
    list of (frame index, pictures by contender)
        Where there is ground truth, ``truth`` stands last.
    """
    found: dict[int, Pictures] = {}
    units = {
        u.contender: u
        for u in results.sheets
        if (u.condition, u.task, u.seed) == (condition, task, 0)
    }
    for name in contenders or units:
        if name in units:
            for path in sorted(units[name].folder(results.root).glob("frame-*.png")):
                index = int(path.stem.removeprefix("frame-"))
                found.setdefault(index, {})[name] = np.asarray(Image.open(path))
    if not found:
        return []
    test = Bank(bank_path(results.root, condition, task, "test"))
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
