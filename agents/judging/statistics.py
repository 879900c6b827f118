"""Means with honest intervals: few seeds, few streams, frames of a stream that resemble each other.

The unit of chance is a stream and a seed, never a frame: intervals resample seeds and streams
(with all their frames) with replacement, as R. Agarwal et al., "Deep reinforcement learning at the
edge of the statistical precipice", NeurIPS 2021, resample runs and tasks. Their package ``rliable``
is not used: its bootstrap needs ``arch``, which cannot be imported beside pandas 3, and it knows
neither paired differences nor a contender with a single seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError

Cells = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes
    ----------
    value, low, high : float
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def above(self, limit: float = 0.0) -> bool:
        """Whether the whole interval lies above a limit."""
        return self.low > limit


def cells_of(rows: pd.DataFrame, measure: str) -> Cells:
    """Means of a measure over the frames of each stream, (seeds, streams).

    The rows are one tuner's from `Judge.judge`, with a column ``seed``.

    Raises
    ------
    SamstarError
        If a seed lacks a stream.
    """
    table = rows.pivot_table(index="seed", columns="stream", values=measure, aggfunc="mean")
    if table.isna().to_numpy().any():
        raise SamstarError(f"{measure}: not every seed was judged on every stream")
    return table.to_numpy(dtype=float)


def paired_cells(first: pd.DataFrame, second: pd.DataFrame, measure: str) -> Cells:
    """Mean difference, first less second, over the frames of each stream, (seeds, streams).

    Seeds are paired; a tuner with a single seed is compared with each seed of the other.

    Parameters
    ----------
    first, second : DataFrame
        Rows of one tuner each from `Judge.judge`, with a column ``seed``.
    measure : str
        Column.

    Returns
    -------
    (seeds, streams) array

    Raises
    ------
    SamstarError
        If the two were judged on different frames, or with different numbers of seeds above 1.
    """
    _check_frames(first, second, measure)
    ours, theirs = cells_of(first, measure), cells_of(second, measure)
    if len(ours) != len(theirs) and 1 not in (len(ours), len(theirs)):
        raise SamstarError(f"{measure}: {len(ours)} seeds cannot be paired with {len(theirs)}")
    return ours - theirs


def _check_frames(first: pd.DataFrame, second: pd.DataFrame, measure: str) -> None:
    frames = [sorted(rows["frame_index"].unique()) for rows in (first, second)]
    if frames[0] != frames[1]:
        raise SamstarError(f"{measure}: the two tuners were judged on different frames")


def mean_interval(cells: Cells, *, seed: int = 0) -> Estimate:
    """Mean and its bootstrap interval over seeds and streams."""
    return bootstrap(cells, lambda values: values.mean(axis=-1), seed=seed)


def difference_interval(first: pd.DataFrame, second: pd.DataFrame, measure: str) -> Estimate:
    """Mean difference of two tuners, first less second, paired stream by stream.

    Parameters
    ----------
    first, second : DataFrame
        Rows of one tuner each from `Judge.judge`, with a column ``seed``; the seeds of each are
        resampled by themselves, so that they may differ in number.
    measure : str
        Column.

    Returns
    -------
    Estimate

    Raises
    ------
    SamstarError
        If the two were judged on different frames.
    """
    _check_frames(first, second, measure)
    return _of_two(cells_of(first, measure), cells_of(second, measure), np.subtract)


def ratio_interval(ours: Cells, theirs: Cells) -> Estimate:
    """Ratio of the means of (seeds, streams) cells of the same streams, ours over theirs."""
    return _of_two(ours, theirs, np.divide)


def _of_two(ours: Cells, theirs: Cells, combine: Callable[[Cells, Cells], Cells]) -> Estimate:
    """Streams are resampled together, seeds of each by themselves."""
    rng = np.random.default_rng(0)
    n_streams = ours.shape[1]
    columns = rng.integers(n_streams, size=(RESAMPLES, 1, n_streams))
    drawn = []
    for cells in (ours, theirs):
        rows = rng.integers(len(cells), size=(RESAMPLES, len(cells), 1))
        drawn.append(cells[rows, columns].mean(axis=(1, 2)))
    return _estimate(combine(ours.mean(), theirs.mean()), combine(*drawn))


def _estimate(value: Any, resampled: Cells) -> Estimate:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(resampled, (tail, 100 - tail))
    return Estimate(float(value), float(low), float(high))


def bootstrap(cells: Cells, statistic: Callable[[Cells], Cells], *, seed: int = 0) -> Estimate:
    """A statistic of (..., seeds, streams) cells with its percentile interval.

    Seeds and streams are resampled independently with replacement.

    Parameters
    ----------
    cells : (..., seeds, streams) array
    statistic : callable
        Of (..., resamples, seeds * streams) values, over their last axis.
    seed : int

    Returns
    -------
    Estimate
    """
    rng = np.random.default_rng(seed)
    n_seeds, n_streams = cells.shape[-2:]
    rows = rng.integers(n_seeds, size=(RESAMPLES, n_seeds, 1))
    columns = rng.integers(n_streams, size=(RESAMPLES, 1, n_streams))
    drawn = cells[..., rows, columns].reshape(*cells.shape[:-2], RESAMPLES, n_seeds * n_streams)
    whole = cells.reshape(*cells.shape[:-2], 1, n_seeds * n_streams)
    return _estimate(statistic(whole)[0], statistic(drawn))


def is_clearly_above(differences: Cells) -> bool:
    """Whether a mean difference exceeds its standard error; of a single one, whether it exceeds 0.

    The one-standard-error rule of L. Breiman et al., Classification and Regression Trees (1984):
    keep the simpler choice unless the other is better beyond its error.
    """
    if len(differences) < 2:
        return bool(np.all(differences > 0))
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    return bool(np.mean(differences) > error)


def mean_curve(curves: Sequence[Sequence[Sequence[float]]]) -> list[tuple[float, float, float]]:
    """The mean of several curves.

    Parameters
    ----------
    curves : sequence of curves, each a sequence of (evaluations, seconds, score)
        Their n-th points belong together; where one has fewer, the rest of the others is left out.
    """
    return [tuple(np.mean(points, axis=0).tolist()) for points in zip(*curves, strict=False)]
