"""PhysicsReward: the terms of a task, combined into one score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.rewards.registry import TERMS, WITHOUT_FOREGROUND

if TYPE_CHECKING:
    from samstar_rl.foreground.sample import Sample
    from samstar_rl.frames.frame import Frame
    from samstar_rl.rewards.target import Target
    from samstar_rl.segmentation.filters import Gauge
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.tasks.task import Task

#: A term enters the geometric mean as at least this, so that the score has a slope at no masks.
LEAST_TERM = 0.02


@dataclass(frozen=True)
class Score:
    """How well a segmentation fits its task.

    Parameters
    ----------
    total : float
        Combination of the terms, in [0, 1].
    terms : dict of str to float
        Each term by itself, in [0, 1].
    """

    total: float
    terms: dict[str, float]


class PhysicsReward:
    """The score of a task: physics and learned plausibility, as the task weights them.

    Parameters
    ----------
    task : Task
        Terms, targets, weights and how to combine them.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._weights = {name: target.weight for name, target in task.terms.items()}
        self._targets_px: dict[float, dict[str, Target]] = {}
        self._samples_px: dict[float, Sample] = {}

    def score(
        self, segmentation: Segmentation, frame: Frame, previous: Segmentation | None = None
    ) -> Score:
        """Score a segmentation of a frame.

        Parameters
        ----------
        segmentation : Segmentation
        frame : Frame
        previous : Segmentation, optional
            That of the frame before, in a stream.

        Returns
        -------
        Score
            1 in all terms where the frame's foreground is empty and so is the segmentation.

        Raises
        ------
        SamstarError
            If the task is in nm and the frame has no pixel size.
        """
        targets = self.targets_px(frame)
        if len(segmentation) == 0 and self._is_empty(frame, targets):
            # nothing is there and nothing was found: all is right
            return Score(1.0, dict.fromkeys(targets, 1.0))
        terms = {
            name: TERMS[name](segmentation, frame, target, previous)
            for name, target in targets.items()
        }
        return Score(combine(terms, self._weights, self.task.combination), terms)

    def _is_empty(self, frame: Frame, targets: Mapping[str, Target]) -> bool:
        """Whether the frame has no foreground, in a task that looks at it."""
        samples = [t.sample for name, t in targets.items() if name not in WITHOUT_FOREGROUND]
        return bool(samples) and FrameEvidence.of(frame, samples[0]).foreground.area_px == 0

    def gauge(self, frame: Frame) -> Gauge:
        """What the gates need to know: the length of the task's unit in px, and the evidence.

        For ``segment(proposals, settings, **reward.gauge(frame))``.

        Raises
        ------
        SamstarError
            As `score`.
        """
        unit_px = self.task.length_unit_px(frame)
        evidence = FrameEvidence.of(frame, self._sample_px(unit_px))
        return {"length_unit_px": unit_px, "evidence": evidence}

    def look_at(self, frame: Frame) -> None:
        """Compute what the terms need of a frame, ahead of the first segmentation.

        Most of the time that the first score of a frame takes goes into its foreground. A stream
        has it estimated while the frame before is still in work.

        Raises
        ------
        SamstarError
            As `score`.
        """
        for name, target in self.targets_px(frame).items():
            if name not in WITHOUT_FOREGROUND:
                _ = FrameEvidence.of(frame, target.sample).foreground
                return

    def _sample_px(self, unit_px: float) -> Sample:
        if unit_px not in self._samples_px:
            if len(self._samples_px) > 4096:
                self._samples_px.clear()
            self._samples_px[unit_px] = self.task.sample.scaled(unit_px)
        return self._samples_px[unit_px]

    def targets_px(self, frame: Frame) -> Mapping[str, Target]:
        """The targets with their lengths in px of the frame."""
        unit_px = self.task.length_unit_px(frame)
        if unit_px not in self._targets_px:
            if len(self._targets_px) > 4096:
                self._targets_px.clear()
            targets = {name: target.scaled(unit_px) for name, target in self.task.terms.items()}
            # one object for all, so that the frame finds what is known for it without comparing
            sample = self._sample_px(unit_px)
            for name, target in targets.items():
                if target.sample == sample:
                    targets[name] = target.model_copy(update={"sample": sample})
            self._targets_px[unit_px] = targets
        return self._targets_px[unit_px]


@lru_cache(maxsize=256)
def _shares(weights: tuple[float, ...]) -> NDArray[np.float64]:
    """Weights that add up to 1."""
    shares = np.array(weights, dtype=np.float64)
    return shares / shares.sum()


def combine(terms: Mapping[str, float], weights: Mapping[str, float], combination: str) -> float:
    """Combine terms into one score, their weighted mean.

    Parameters
    ----------
    terms, weights : mapping of str to float
        Value and weight of each term.
    combination : {"geometric", "arithmetic"}
        The geometric mean asks that all terms hold, each entering as at least `LEAST_TERM`.

    Returns
    -------
    float
        In [0, 1].
    """
    values = np.array([terms[name] for name in weights])
    shares = _shares(tuple(weights.values()))
    if combination == "arithmetic":
        return float(shares @ values)
    return float(np.exp(shares @ np.log(np.maximum(values, LEAST_TERM))))
