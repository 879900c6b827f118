"""How a comparison of tuners is shown: the table, the curves, what a policy moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from samstar_rl.agents.tuners.filters import FILTERS

if TYPE_CHECKING:
    import pandas as pd

    from samstar_rl.tasks.task import Task

INK, FAINT, GRID, ACCENT = "#1c2430", "#6b7685", "#e3e7ec", "#0b6bcb"

# after Okabe and Ito (2008): colours that colour-blind people can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6b7685", "#8a6d3b")

HEADINGS = {
    "tuner": "tuner",
    "score": "score",
    "f1": "F1 at IoU 0.5",
    "n_evaluations": "evaluations per frame",
    "n_prompts": "prompts decoded per frame",
    "cost": "cost",
    "live_ms": "ms of a live frame",
}
FORMATS: dict[str, str | Callable[[Any], str]] = {
    "score": ".3f",
    "f1": ".3f",
    "n_evaluations": ",.0f",
    "n_prompts": ",.0f",
    "cost": ",.0f",
    "live_ms": ",.0f",
}


def new_figure(width: float = 9.6, height: float = 3.8, **subplots: Any) -> tuple[Figure, Any]:
    """Make a figure in the report's style, without any global state of matplotlib.

    Parameters
    ----------
    width, height : float
        In inches.
    **subplots
        What `matplotlib.figure.Figure.subplots` takes.

    Returns
    -------
    (Figure, Axes or array of Axes)
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(**subplots)
    for axis in np.ravel(axes):
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(GRID)
        axis.tick_params(colors=FAINT, labelsize=9)
        axis.grid(color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def label(axis: Any, x: str, y: str, title: str = "") -> None:
    """Name the axes.

    Parameters
    ----------
    axis : Axes
    x, y : str
    title : str
        On the left above the panel.
    """
    axis.set_xlabel(x, color=FAINT, fontsize=10)
    axis.set_ylabel(y, color=FAINT, fontsize=10)
    if title:
        axis.set_title(title, color=INK, fontsize=11, loc="left", fontweight="bold")


def settings_moved(rows: pd.DataFrame, task: Task) -> pd.DataFrame:
    """What a tuner did with each free setting, from its rows of `Judge.judge`.

    ``setting, static, mean, lowest, highest, moves``; the last is the standard deviation over
    frames as a share of the setting's range.
    """
    settings = [
        {name: row[f"setting_{name}"] for name in task.space.names} for _, row in rows.iterrows()
    ]
    codes = np.array([task.space.encode(task.static.replace(**chosen)) for chosen in settings])
    import pandas as pd

    return pd.DataFrame(
        {
            "setting": name,
            "static": float(getattr(task.static, name)),
            "mean": float(np.mean([chosen[name] for chosen in settings])),
            "lowest": float(min(chosen[name] for chosen in settings)),
            "highest": float(max(chosen[name] for chosen in settings)),
            "moves": float(codes[:, i].std() / 2),
        }
        for i, name in enumerate(task.space.names)
    )


def is_constant(moved: pd.DataFrame) -> bool:
    """Whether a tuner's settings stay within 1 % of their ranges: a static choice in disguise.

    But for those that `ChooseFilters` moves for every policy.
    """
    own = moved.loc[~moved["setting"].isin(FILTERS), "moves"]
    return bool((own < 0.01).all())
