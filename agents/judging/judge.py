"""Judging tuners on frames: the same streams, the same objective, the same account for all.

Truth enters here and nowhere before: after a tuner has chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.truth.metrics import Truth, agreement
from samstar_rl.tuning.tuner import run_tuner

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tuning.objective import Objective
    from samstar_rl.tuning.tuner import FrameSource, TunedFrame, Tuner

MEASURES = {
    "f1": "F1 at IoU 0.5",
    "mean_ap": "mean AP at IoU 0.5 to 0.95",
    "panoptic_quality": "panoptic quality",
    "count_error": "relative error of the count",
    "mean_diameter_error": "relative error of the mean diameter",
}


class Judge:
    """Judge tuners on the streams of a bank.

    Parameters
    ----------
    bank : Bank
        With truth, if the measures against it are wanted.
    objective : Objective
    streams : sequence of range, optional
        Frames to judge on; by default the bank's streams.
    source : callable, optional
        Maps a frame's index to what turns settings into a segmentation of it; by default to what
        the bank holds.
    against_truth : bool
        Compare with the truth, where the bank holds it. Watching a training must not.
    """

    def __init__(
        self,
        bank: Bank,
        objective: Objective,
        streams: Sequence[range] | None = None,
        *,
        source: Callable[[int], FrameSource] | None = None,
        against_truth: bool = True,
    ) -> None:
        self.bank = bank
        self.objective = objective
        self.streams = tuple(bank.streams if streams is None else streams)
        self.frames = BankFrames(bank, objective.task)
        self._source = source or self.frames.source
        self._against_truth = against_truth
        self._truths: dict[int, Truth] = {}

    @property
    def n_frames(self) -> int:
        """Frames that each tuner is judged on."""
        return sum(len(stream) for stream in self.streams)

    def judge(
        self,
        tuner: Tuner,
        *,
        budget: float = math.inf,
        on_frame: Callable[[int, TunedFrame], None] | None = None,
        **columns: Any,
    ) -> pd.DataFrame:
        """Let a tuner choose for every frame, stream after stream.

        Parameters
        ----------
        tuner : Tuner
        budget : float
            The cost that each frame may have.
        on_frame : callable, optional
            Called with the index in the bank and what came out.
        **columns
            Written into every row, such as the seed.

        Returns
        -------
        DataFrame
            One row a frame: ``tuner, budget, stream, frame_index, frame_id, score, reward, term_*,
            n_masks, n_evaluations, n_prompts, cost, stopped_by, tuner_ms``, the `MEASURES` where
            there is truth, ``setting_*``.
        """
        rows = []
        for number, stream in enumerate(self.streams):
            sources = map(self._source, stream)
            tuned_frames = run_tuner(tuner, sources, self.objective, cost_limit=budget)
            for index, tuned in zip(stream, tuned_frames, strict=True):
                row = {"tuner": tuner.name, "budget": budget, **columns}
                row |= {"stream": number, "frame_index": index}
                rows.append(row | self._row(index, tuned))
                if on_frame is not None:
                    on_frame(index, tuned)
        return pd.DataFrame(rows)

    def _row(self, index: int, tuned: TunedFrame) -> dict[str, Any]:
        evaluation, expense = tuned.evaluation, tuned.expense
        effort = evaluation.segmentation.proposals.effort
        row: dict[str, Any] = {
            "frame_id": tuned.frame.id,
            "score": evaluation.score.total,
            "reward": evaluation.reward,
            **{f"term_{name}": value for name, value in evaluation.score.terms.items()},
            "n_masks": len(evaluation.segmentation),
            "n_evaluations": expense.n_evaluations,
            "n_prompts": expense.n_prompts_decoded,
            "cost": expense.cost,
            "stopped_by": "grid" if effort is None else effort.stopped_by,
            "tuner_ms": 1e3 * tuned.seconds,
        }
        truth = self.truth(index) if self._against_truth else None
        if truth is not None:
            measured = agreement(evaluation.segmentation, truth)
            row |= {name: getattr(measured, name) for name in MEASURES}
        return row | {f"setting_{k}": v for k, v in evaluation.settings.to_dict().items()}

    def truth(self, index: int) -> Truth | None:
        """The truth of a frame, None where the bank holds none."""
        if not self.bank.has_truth:
            return None
        if index not in self._truths:
            self._truths[index] = Truth(self.bank.truth(index))
        return self._truths[index]


def summarise(rows: pd.DataFrame, by: Iterable[str] = ("tuner",)) -> pd.DataFrame:
    """Means over frames for each tuner, in the order in which they were judged."""
    names = ["score", "reward", *MEASURES, "n_masks", "n_evaluations", "n_prompts", "cost"]
    present = [name for name in names if name in rows.columns]
    return rows.groupby(list(by), sort=False)[present].mean().reset_index()
