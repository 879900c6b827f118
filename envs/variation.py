"""Varied targets: the same task as another operator might have written it.

A policy that always meets the same targets learns them by heart and never reads them. In training
each episode therefore varies them at random, in the reward and in the observation alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import ValidationError

from samstar_rl.errors import SamstarError
from samstar_rl.foreground.sample import LENGTH
from samstar_rl.rewards.target import Target
from samstar_rl.tasks.task import Task

VARIATION = 0.25
"""Targets vary within this share of their values, up or down."""

# how strictly a term judges is the task's to say: only what it asks for varies
_KEPT = ("sample", "tolerance", "softness", "uncertainty", "count_tolerance", "area_tolerance")
# pairs whose lower end is what a sample demands: it varies, the upper end is a limit of the measure
_RANGES = ("circularity", "solidity", "eccentricity", "aspect_ratio")
_NARROWEST = 0.98
_ABOVE_ONE = ("geometric_std",)


def vary_targets(task: Task, rng: np.random.Generator, variation: float = VARIATION) -> Task:
    """Vary a task's targets and weights at random.

    Lengths are all multiplied by one factor, weights and other targets by one each, drawn
    log-uniformly from 1 / (1 + variation) to 1 + variation. A geometric standard deviation varies
    in its distance from 1, of a range of shapes only the lower end does. What would not be allowed
    stays as it is, and so does ``sample``: its limits say what a particle is.

    Parameters
    ----------
    task : Task
    rng : numpy Generator
    variation : float
        0 returns the task itself.

    Raises
    ------
    SamstarError
        If the variation is negative.
    """
    if variation < 0:
        raise SamstarError(f"variation must be at least 0, got {variation}")
    if variation == 0:
        return task
    reach = float(np.log1p(variation))
    length_factor = _factor(rng, reach)
    terms = {name: _vary(t, rng, reach, length_factor) for name, t in task.terms.items()}
    return task.model_copy(update={"terms": terms})


def _vary(target: Target, rng: np.random.Generator, reach: float, length_factor: float) -> Target:
    for field, value in target:
        if field in _KEPT or not isinstance(value, float | tuple):
            continue
        is_length = target.dimension_of(field) == LENGTH
        factor = length_factor if is_length else _factor(rng, reach)
        target = _with(target, field, _times(field, value, factor))
    return target


def _times(field: str, value: Any, factor: float) -> Any:
    if field in _RANGES:
        return min(value[0] * factor, _NARROWEST * value[1]), value[1]
    if isinstance(value, tuple):
        return tuple(entry * factor for entry in value)
    if field in _ABOVE_ONE:
        return 1.0 + (value - 1.0) * factor
    return value * factor


def _with(target: Target, field: str, value: Any) -> Target:
    """The target with a field changed, or as it was where that is not allowed."""
    try:
        return type(target).model_validate({**dict(target), field: value})
    except ValidationError:
        return target


def _factor(rng: np.random.Generator, reach: float) -> float:
    return float(np.exp(rng.uniform(-reach, reach)))
