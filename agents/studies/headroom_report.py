"""What a measurement of headroom says: a verdict in plain words, and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from samstar_rl._io import atomic
from samstar_rl.agents.reporting.figures import COLOURS, FAINT, INK, label, new_figure
from samstar_rl.agents.studies.headroom import (
    BY_SCORE,
    BY_TRUTH,
    CROSS_VALIDATED,
    FROZEN,
    HINDSIGHT,
    HINDSIGHT_TRUTH,
    LEVELS_IN_ORDER,
    gain_name,
)

if TYPE_CHECKING:
    from samstar_rl.agents.judging.statistics import Estimate
    from samstar_rl.agents.studies.headroom import (
        Headroom,
    )

NEGLIGIBLE = 0.02
"""A gain in F1 below which adapting is not worth the trouble."""


def verdict(headroom: Headroom) -> list[str]:
    """What was found, in a few plain sentences."""
    sentences = []
    frozen = headroom.gains.get(gain_name(BY_SCORE, FROZEN))
    if frozen is not None:
        sentences.append(
            f"Against settings tuned on the first frames and then frozen, choosing per frame by "
            f"score {_pays(frozen)}."
        )
        hindsight = headroom.gains[gain_name(HINDSIGHT, FROZEN)]
        sentences.append(
            f"One choice made in hindsight for the whole stream {_gains(hindsight)} over the same; "
            "nobody has it at the start."
        )
    by_score = headroom.gains[gain_name(BY_SCORE, HINDSIGHT)]
    where = "the best static choice in hindsight"
    sentences.append(f"Against {where}, choosing per frame by score {_pays(by_score)}.")
    crossed = headroom.gains[gain_name(CROSS_VALIDATED, HINDSIGHT_TRUTH)]
    sentences.append(
        "The best settings "
        + ("do differ" if crossed.above() else "do not demonstrably differ")
        + " from frame to frame: chosen by truth on half of a frame's particles and judged on the "
        f"other half, they {_gains(crossed, plural=True)} over the one best static choice by truth."
    )
    carrier = most_carrying(headroom)
    if carrier is not None:
        name, gain = carrier
        sentences.append(f"Adapted alone by score, {name} gains most: {gain}.")
    return sentences


def most_carrying(headroom: Headroom) -> tuple[str, Estimate] | None:
    """The setting that gains most when it adapts alone by score; None if none demonstrably does."""
    gains = {name: by_score for name, (by_score, _) in headroom.settings.items()}
    gains = {name: gain for name, gain in gains.items() if gain.above()}
    return max(gains.items(), key=lambda item: item[1].value) if gains else None


def _pays(gain: Estimate) -> str:
    if gain.above() and gain.value >= NEGLIGIBLE:
        return f"pays: {_signed(gain)} in F1"
    if gain.above():
        return f"hardly pays: {_signed(gain)} in F1"
    return f"does not pay here: {_signed(gain)} in F1"


def _gains(gain: Estimate, *, plural: bool = False) -> str:
    return f"{'come' if plural else 'comes'} to {_signed(gain)} in F1"


def _signed(gain: Estimate) -> str:
    return f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def write_headroom(
    folder: Path,
    task: str,
    sam_sha256: str | None,
    measured: Headroom,
    by_drift: Mapping[float, Headroom],
) -> list[str]:
    """Write headroom.json and headroom.png.

    Parameters
    ----------
    folder : path
    task : str
        Its name.
    sam_sha256 : str, optional
        The SAM whose proposals were chosen among.
    measured : Headroom
    by_drift : mapping of float to Headroom
        Empty where there is no drift to vary.

    Returns
    -------
    list of str
        The verdict.
    """
    sentences = verdict(measured)
    content: dict[str, Any] = {"task": task, "sam_sha256": sam_sha256, "verdict": sentences}
    content |= measured.to_dict()
    content["by_drift"] = {f"{drift:g}": one.to_dict() for drift, one in by_drift.items()}
    atomic.write_json(folder / "headroom.json", content)
    atomic.write_figure(folder / "headroom.png", draw_headroom(measured, by_drift), dpi=110)
    return sentences


def draw_headroom(headroom: Headroom, by_drift: Mapping[float, Headroom]) -> Figure:
    """Levels of F1, what each setting carries, and how the gain grows with drift.

    Parameters
    ----------
    headroom : Headroom
    by_drift : mapping of float to Headroom
        Empty where there is no drift to vary.
    """
    panels = 3 if len(by_drift) > 1 else 2
    figure, axes = new_figure(4.6 * panels, 4.0, ncols=panels)
    _draw_levels(axes[0], headroom)
    _draw_settings(axes[1], headroom)
    if panels == 3:
        _draw_drift(axes[2], by_drift)
    return figure


def _draw_levels(axis: Any, headroom: Headroom) -> None:
    names = [name for name in LEVELS_IN_ORDER if name in headroom.levels]
    _draw_estimates(axis, {name: [headroom.levels[name]] for name in names})
    label(axis, "F1 at IoU 0.5", "", "Ways to choose the settings")


def _draw_settings(axis: Any, headroom: Headroom) -> None:
    _draw_estimates(axis, {name: list(pair) for name, pair in headroom.settings.items()},
                    ("by score", "by truth"))  # fmt: skip
    axis.axvline(0.0, color=FAINT, linewidth=1.0)
    label(axis, "gain in F1 over hindsight static", "", "One setting adapts, the others stand")


def _draw_estimates(
    axis: Any, estimates: Mapping[str, list[Estimate]], names: tuple[str, ...] = ()
) -> None:
    """Estimates with their intervals, one row a name, from top to bottom."""
    rows = list(estimates)
    for column in range(max((len(row) for row in estimates.values()), default=0)):
        shift = 0.0 if len(names) < 2 else 0.14 * (2 * column - 1)
        values = [estimates[row][column] for row in rows]
        axis.errorbar(
            [e.value for e in values],
            [position + shift for position in range(len(rows))],
            xerr=[[e.value - e.low for e in values], [e.high - e.value for e in values]],
            fmt="o", color=COLOURS[column], markersize=6, linewidth=1.8, capsize=3,
            label=names[column] if names else None,
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), rows, color=INK)
    axis.invert_yaxis()
    if names:
        axis.legend(frameon=False, fontsize=9)


def _draw_drift(axis: Any, by_drift: Mapping[float, Headroom]) -> None:
    pairs = ((BY_SCORE, FROZEN), (BY_SCORE, HINDSIGHT), (BY_TRUTH, HINDSIGHT))
    drifts = sorted(by_drift)
    for colour, (first, second) in zip(COLOURS, pairs, strict=False):
        gains = [by_drift[drift].gains[gain_name(first, second)] for drift in drifts]
        axis.plot(
            drifts, [gain.value for gain in gains], color=colour, marker="o", linewidth=2,
            label=f"{first} over {second}",
        )  # fmt: skip
        axis.fill_between(
            drifts, [gain.low for gain in gains], [gain.high for gain in gains],
            color=colour, alpha=0.12, linewidth=0,
        )  # fmt: skip
    axis.axhline(0.0, color=FAINT, linewidth=1.0)
    label(axis, "drift (1: an ordinary experiment)", "gain in F1", "How the gain grows with drift")
    axis.legend(frameon=False, fontsize=8)
