"""Diameters as a distribution beside what the task expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.rewards.terms.size import SizeTarget

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.tasks.task import Task

BINS_PER_DECADE = 16
LEVELS = (np.arange(128) + 0.5) / 128

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """Share of the particles in bins of equal width of log(diameter).

    Attributes
    ----------
    left, right : (B,) arrays
        Diameters.
    share : (B,) array
        In percent.
    """

    left: Column
    right: Column
    share: Column


@dataclass(frozen=True)
class Expected:
    """What the task says of the sizes, in nm or px.

    Attributes
    ----------
    diameter, share : arrays
        The target's distribution, in percent of the particles a bin; empty where there is none.
    limits : tuple
        The least and the greatest diameter, None where the task leaves it open.
    """

    diameter: Column
    share: Column
    limits: tuple[float | None, float | None]


def histogram(diameters: Sequence[Column]) -> Histogram:
    """Bin the diameters of some frames; the bins lie on a fixed grid, so that pictures compare."""
    values = np.concatenate([np.zeros(0), *diameters])
    values = values[values > 0]
    if len(values) == 0:
        return Histogram(np.zeros(0), np.zeros(0), np.zeros(0))
    bins = np.floor(np.log10(values) * BINS_PER_DECADE).astype(int)
    present = np.arange(bins.min(), bins.max() + 1)
    counts = np.bincount(bins - bins.min(), minlength=len(present))
    return Histogram(
        left=10.0 ** (present / BINS_PER_DECADE),
        right=10.0 ** ((present + 1) / BINS_PER_DECADE),
        share=100.0 * counts / len(values),
    )


def expected(task: Task, frame: Frame) -> Expected:
    """The task's target for the sizes in a frame, in nm where its pixel size is known."""
    unit = task.length_unit_px(frame) * (frame.pixel_size_nm or 1.0)
    sample = task.sample.scaled(unit)
    target = task.terms.get("size")
    if not isinstance(target, SizeTarget):
        return Expected(np.zeros(0), np.zeros(0), (sample.min_diameter, sample.max_diameter))
    quantiles = target.scaled(unit).quantiles()
    half_bin = np.log(10.0) / BINS_PER_DECADE / 2
    at = np.linspace(quantiles[0] - 4 * half_bin, quantiles[-1] + 4 * half_bin, 200)
    share = _below(at + half_bin, quantiles) - _below(at - half_bin, quantiles)
    return Expected(np.exp(at), 100.0 * share, (sample.min_diameter, sample.max_diameter))


def _below(at: Column, quantiles: Column) -> Column:
    """Share of a distribution below some values of ln(diameter)."""
    return np.interp(at, quantiles, LEVELS, left=0.0, right=1.0)
