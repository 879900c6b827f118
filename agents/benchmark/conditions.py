"""The conditions of a benchmark: the same frames, objective, budgets and clock for all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from samstar_rl.agents.judging.judge import Judge
from samstar_rl.agents.reporting.curve_writer import CurveWriter
from samstar_rl.bank.split import split_streams
from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.tuning.objective import Objective

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Tuner


@dataclass(eq=False)
class Conditions:
    """What a contender meets: one task, a bank to learn from, one to be judged on.

    Attributes
    ----------
    task : Task
    bank, test : Bank
    budgets : tuple of float
        The cost that frames may have, rising; infinite for no limit.
    steps : int
        Evaluations that each learner, and the search for a static choice at one budget, may spend.
    n_evaluations : int
        That a search may spend on each test frame.
    folder : Path
        Gets checkpoints and TensorBoard's events of this contender.
    every : int
        The contender is judged on every so many-th test frame, the middle one of each stream among
        them: 1, but for the slowest.
    grid : int
        Points along a side of the stock generator's grid.
    own : int
        Streams at the end of the bank that are like those to be judged on; policies learn from all.
    others : mapping of str to (Task, Bank)
        The other tasks with what there is to learn from, for contenders that never see this one.
    """

    task: Task
    bank: Bank
    test: Bank
    budgets: tuple[float, ...]
    steps: int
    n_evaluations: int
    folder: Path
    every: int = 1
    grid: int = 32
    own: int | None = None
    others: dict[str, tuple[Task, Bank]] = field(default_factory=dict)

    @cached_property
    def objective(self) -> Objective:
        """What all maximise."""
        return Objective(self.task)

    @cached_property
    def frames(self) -> BankFrames:
        """The frames of the bank to learn from."""
        return BankFrames(self.bank, self.task)

    @cached_property
    def judge(self) -> Judge:
        """On the test bank."""
        return Judge(self.test, self.objective, self.streams)

    @property
    def streams(self) -> tuple[range, ...]:
        """Frames of the test bank to be judged on, a range a stream."""
        every = self.every
        return tuple(stream[len(stream) // 2 % every :: every] for stream in self.test.streams)

    @property
    def training(self) -> tuple[range, ...]:
        """Streams to search on that are like those to be judged on."""
        return self._own(split_streams(self.bank.streams)[0]) or self.validation

    @property
    def validation(self) -> tuple[range, ...]:
        """Streams of the same bank on which learning is watched."""
        return self._own(split_streams(self.bank.streams)[1])

    @property
    def training_frames(self) -> list[int]:
        """Indices of the frames to search on."""
        return [index for stream in self.training for index in stream]

    def _own(self, streams: tuple[range, ...]) -> tuple[range, ...]:
        first = 0 if self.own is None else self.bank.streams[-self.own].start
        return tuple(stream for stream in streams if stream.start >= first)


def sam_seconds(bank: Bank) -> float:
    """What SAM took for the frames of a bank."""
    indices = range(len(bank))
    return float(sum(bank.proposals(i, prompt).seconds for i in indices for prompt in bank.prompts))


@dataclass(eq=False)
class Prepared:
    """A contender that may now be judged.

    Attributes
    ----------
    at : callable
        Maps a budget to the tuner that is judged at it.
    curve : list of (evaluations, seconds, score)
        On the validation streams while it learned or searched.
    evaluations : int
        Spent on getting ready; of who gets ready for each budget anew, for one of them.
    seconds : float
        Wall time of getting ready, watching left out.
    learned_from : tuple of Bank
        Whose frames SAM had to see before.
    hyperparameters : dict
        That it was made ready with.
    keep : callable, optional
        Called with the contender's folder after it was judged, to leave more there.
    judge : Judge, optional
        By default that of the conditions.
    """

    at: Callable[[float], Tuner]
    curve: Sequence[tuple[float, float, float]] = ()
    evaluations: int = 0
    seconds: float = 0.0
    learned_from: tuple[Bank, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    keep: Callable[[Path], object] | None = None
    judge: Judge | None = None


class ValidationCurve:
    """Judge on the validation streams while something searches; the clock stands still then.

    Parameters
    ----------
    conditions : Conditions
    budgets : sequence of float
        Judged at each of them; the means count.

    Attributes
    ----------
    best : object
        The candidate with the best reward there so far, as a training keeps its best policy.
    """

    def __init__(self, conditions: Conditions, budgets: Sequence[float]) -> None:
        self.seconds = 0.0
        self.points: list[tuple[int, float, float]] = []
        self._budgets = budgets
        self._judge = Judge(
            conditions.bank, conditions.objective, conditions.validation, against_truth=False
        )
        self._events = CurveWriter(conditions.folder / "tensorboard")
        self._clock = 0.0
        self._best_reward = -math.inf
        self.best: Any = None

    def __enter__(self) -> ValidationCurve:
        self._clock = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._clock
        self._events.close()

    def add(self, evaluations: int, tuner: Tuner, candidate: object) -> None:
        """Add what a candidate comes to as a tuner after so many evaluations.

        Parameters
        ----------
        evaluations : int
            Spent so far.
        tuner : Tuner
            The candidate, as it is judged.
        candidate : object
            The candidate, as it is kept.
        """
        self.seconds += time.perf_counter() - self._clock
        judged = [self._judge.judge(tuner, budget=budget) for budget in self._budgets]
        rows = pd.concat(judged, ignore_index=True)
        values = {name: float(rows[name].mean()) for name in ("score", "reward")}
        self.points.append((evaluations, self.seconds, values["score"]))
        if values["reward"] > self._best_reward:
            self._best_reward, self.best = values["reward"], candidate
        self._events.point(values, evaluations=evaluations, seconds=self.seconds)
        self._clock = time.perf_counter()
