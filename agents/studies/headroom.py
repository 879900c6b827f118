"""Where choosing the gaze by frame pays: how much better it could be, before any training.

Every gaze (zoom and number of prompts, static filters) is evaluated on every frame at each budget.
One gaze for all frames, the best in hindsight, stands beside one for each frame: by the score, and
by ground truth, which is nobody's to have. F1 at IoU 0.5 judges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl._io import atomic
from samstar_rl.agents.judging.statistics import Estimate, mean_interval
from samstar_rl.agents.reporting.figures import COLOURS, label, new_figure
from samstar_rl.agents.search.gazes import evaluate_gazes, gazes_of
from samstar_rl.errors import SamstarError
from samstar_rl.truth.metrics import Truth
from samstar_rl.tuning.evaluable_frames import BankFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from samstar_rl.bank.bank import Bank
    from samstar_rl.tuning.objective import Objective

FIXED, FIXED_BY_TRUTH = "one gaze by score", "one gaze by truth"
BY_SCORE, BY_TRUTH = "by frame, by score", "by frame, by truth"
WAYS = (FIXED, FIXED_BY_TRUTH, BY_SCORE, BY_TRUTH)
GAINS = ((BY_SCORE, FIXED), (BY_TRUTH, FIXED_BY_TRUTH))
WORTH_CHOOSING = 0.03
"""Below this gain in F1 there is hardly anything to learn."""


@dataclass(frozen=True, eq=False)
class Headroom:
    """What choosing the gaze by frame could gain at one budget.

    Attributes
    ----------
    budget : float
        The cost that each frame may have; infinite for no limit.
    f1, cost : dict of str to Estimate
        Means of each way to choose, `WAYS`, with their intervals over streams.
    gains : dict of str to Estimate
        Paired differences of F1: what the score gains, and what the truth would.
    fixed : str
        The one gaze that is best by the score.
    """

    budget: float
    f1: Mapping[str, Estimate]
    cost: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]
    fixed: str

    def to_dict(self) -> dict[str, Any]:
        """The content as plain types, fit for JSON; no limit is None."""

        def plain(estimates: Mapping[str, Estimate]) -> dict[str, list[float]]:
            return {name: [e.value, e.low, e.high] for name, e in estimates.items()}

        budget = None if math.isinf(self.budget) else self.budget
        return {"budget": budget, "f1": plain(self.f1), "cost": plain(self.cost),
                "gains": plain(self.gains), "fixed": self.fixed}  # fmt: skip


def measure_headroom(
    bank: Bank,
    objective: Objective,
    budgets: Sequence[float],
    *,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Headroom]:
    """Measure what choosing the gaze by frame could gain on the frames of a bank.

    Parameters
    ----------
    bank : Bank
        With truth. Intervals resample its streams; single images are streams of one frame.
    objective : Objective
        Of a task that leaves the gaze free.
    budgets : sequence of float
        Infinite for no limit.
    on_progress : callable
        Called with the share done, in [0, 1].

    Returns
    -------
    list of Headroom
        One for each budget.

    Raises
    ------
    SamstarError
        If a frame has no truth, there are fewer than two streams, or no gaze to choose among.
    """
    if not bank.has_truth:
        raise SamstarError("headroom is judged by ground truth: give frames with labels")
    if len(bank.streams) < 2:
        raise SamstarError(f"intervals need at least 2 streams, got {len(bank.streams)}: give more")
    gazes = gazes_of(objective.task)
    if len(gazes) < 2:
        raise SamstarError(f"task {objective.task.name!r} leaves no gaze free: free n_prompts")
    values = []
    for index in range(len(bank)):
        source, truth = BankFrame(bank, index), Truth(bank.truth(index))
        values.append(evaluate_gazes(source, objective, gazes, budgets, truth))
        on_progress((index + 1) / len(bank))
    # (budgets, frames, gazes)
    reward, f1, cost = (
        np.stack([getattr(one, name) for one in values], axis=1)
        for name in ("reward", "f1", "cost")
    )
    found = []
    for b, budget in enumerate(budgets):
        chosen = {
            FIXED: np.full(len(bank), reward[b].mean(axis=0).argmax()),
            FIXED_BY_TRUTH: np.full(len(bank), f1[b].mean(axis=0).argmax()),
            BY_SCORE: reward[b].argmax(axis=1),
            BY_TRUTH: f1[b].argmax(axis=1),
        }
        frames = np.arange(len(bank))
        f1s = {way: _by_stream(bank, f1[b][frames, chosen[way]]) for way in WAYS}
        costs = {way: _by_stream(bank, cost[b][frames, chosen[way]]) for way in WAYS}
        best = gazes[int(chosen[FIXED][0])]
        found.append(
            Headroom(
                budget,
                {way: mean_interval(cells) for way, cells in f1s.items()},
                {way: mean_interval(cells) for way, cells in costs.items()},
                {f"{a} - {z}": mean_interval(f1s[a] - f1s[z]) for a, z in GAINS},
                f"zoom {best.zoom:g}, {best.n_prompts} prompts",
            )
        )
    return found


def _by_stream(bank: Bank, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([[values[stream.start : stream.stop].mean() for stream in bank.streams]])


def verdict(measured: Sequence[Headroom]) -> list[str]:
    """What the measurement says, a sentence for each budget."""
    sentences = []
    for one in measured:
        gain = one.gains[f"{BY_TRUTH} - {FIXED_BY_TRUTH}"]
        by_score = one.gains[f"{BY_SCORE} - {FIXED}"]
        where = "without limit" if math.isinf(one.budget) else f"at a budget of {one.budget:g}"
        pays = gain.above() and gain.value >= WORTH_CHOOSING
        sentences.append(
            f"{where}: choosing the gaze by frame {'pays' if pays else 'hardly pays'}: "
            f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] in F1 by truth, "
            f"{by_score.value:+.3f} by score, over {one.fixed}"
        )
    return sentences


def write_headroom(
    folder: Path, task: str, sam_sha256: str | None, measured: Mapping[str, Sequence[Headroom]]
) -> list[str]:
    """Write headroom.json and headroom.png.

    Parameters
    ----------
    folder : path
    task : str
        Its name.
    sam_sha256 : str, optional
        The SAM whose proposals were chosen among.
    measured : mapping of str to list of Headroom
        By the kind of frames.

    Returns
    -------
    list of str
        The verdict.
    """
    said = {name: verdict(budgets) for name, budgets in measured.items()}
    content: dict[str, Any] = {"task": task, "sam_sha256": sam_sha256, "verdict": said}
    content["measured"] = {name: [one.to_dict() for one in each] for name, each in measured.items()}
    atomic.write_json(folder / "headroom.json", content)
    atomic.write_figure(folder / "headroom.png", draw_headroom(measured), dpi=110)
    return [f"{name}, {sentence}" for name, each in said.items() for sentence in each]


def draw_headroom(measured: Mapping[str, Sequence[Headroom]]) -> Figure:
    """F1 of each way to choose over the budget, a panel for each kind of frames."""
    figure, axes = new_figure(
        4.6 * len(measured) + 1.6, 4.0, ncols=len(measured), sharey=True, squeeze=False
    )
    for axis, (name, budgets) in zip(axes[0], measured.items(), strict=True):
        finite = [one.budget for one in budgets if not math.isinf(one.budget)]
        unlimited = 2 * max(finite, default=1.0)
        x = [min(one.budget, unlimited) for one in budgets]
        for colour, way in zip(COLOURS, WAYS, strict=False):
            f1s = [one.f1[way] for one in budgets]
            axis.plot(x, [f1.value for f1 in f1s], color=colour, marker="o", linewidth=2, label=way)
            axis.fill_between(
                x, [f1.low for f1 in f1s], [f1.high for f1 in f1s], color=colour, alpha=0.12,
                linewidth=0,
            )  # fmt: skip
        axis.set_xscale("log")
        names = ["none" if math.isinf(one.budget) else f"{one.budget:g}" for one in budgets]
        axis.set_xticks(x, names)
        axis.minorticks_off()
        label(axis, "budget (cost)", "F1 at IoU 0.5" if axis is axes[0][0] else "", name)
    axes[0][-1].legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
