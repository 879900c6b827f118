"""Wrappers for training: targets that vary, a last frame that is hidden at random.

A policy that always meets the same targets learns them by heart and never reads them. In training
each episode therefore varies them: the same task as another operator might have written it, in the
reward and in the observation alike. One that always knows the last frame is lost without it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from pydantic import ValidationError

from samstar_rl.envs.observation.schema import LAST_FRAME, Vector
from samstar_rl.errors import SamstarError
from samstar_rl.foreground.sample import LENGTH

if TYPE_CHECKING:
    from samstar_rl.rewards.target import Target
    from samstar_rl.tasks.task import Task

VARIATION = 0.25
"""Targets vary within this share of their values, up or down."""

HIDDEN = 0.25
"""Probability with which the last frame is hidden at each step of a training."""

# how strictly a term judges is the task's to say: only what it asks for varies
_KEPT = ("sample", "tolerance", "softness", "uncertainty", "count_tolerance", "area_tolerance")
# pairs whose lower end is what a sample demands: it varies, the upper end is a limit of the measure
_RANGES = ("circularity", "solidity", "eccentricity", "aspect_ratio")
_NARROWEST = 0.98
_ABOVE_ONE = ("geometric_std",)


class HideLastFrame(gymnasium.ObservationWrapper[Vector, Vector, Vector]):
    """Hide what an observation tells of the last frame, at random.

    Parameters
    ----------
    env : Env
        `StreamEnv`, or one that wraps it; its random numbers decide.
    probability : float
        With which the last frame is hidden at each step.

    Raises
    ------
    SamstarError
        If the probability is outside of [0, 1].
    """

    def __init__(self, env: gymnasium.Env[Vector, Vector], probability: float = HIDDEN) -> None:
        if not 0 <= probability <= 1:
            raise SamstarError(f"probability must lie in [0, 1], got {probability}")
        super().__init__(env)
        self.probability = probability
        schema = self.unwrapped.schema  # type: ignore[attr-defined]
        self._has_last = schema["has_last"].start
        self._blocks = [schema[name].slice for name in LAST_FRAME]

    def observation(self, observation: Vector) -> Vector:
        """The observation, or the same without the last frame."""
        known = observation[self._has_last] > 0
        if known and self.unwrapped.np_random.random() < self.probability:
            for block in self._blocks:
                observation[block] = 0.0
        return observation


class VaryTargets(gymnasium.Wrapper[Vector, Vector, Vector, Vector]):
    """Vary the task's targets in each episode, see `vary_targets`.

    Parameters
    ----------
    env : Env
        `StreamEnv`, or one that wraps it; its random numbers decide.
    variation : float
        Share by which targets vary, in [0, 1).

    Raises
    ------
    SamstarError
        If the variation is out of range.
    """

    def __init__(self, env: gymnasium.Env[Vector, Vector], variation: float = VARIATION) -> None:
        if not 0 <= variation < 1:
            raise SamstarError(f"variation is a share in [0, 1), got {variation}")
        super().__init__(env)
        self.variation = variation

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Vector, dict[str, Any]]:
        """Begin an episode with other targets."""
        _, info = self.env.reset(seed=seed, options=options)
        stream: Any = self.unwrapped
        varied = vary_targets(stream.task, self.unwrapped.np_random, self.variation)
        return stream.ask_for(varied), info


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

    Returns
    -------
    Task

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
        changed = {**dict(target), field: _times(field, value, factor)}
        with contextlib.suppress(ValidationError):  # not allowed: as it was
            target = type(target).model_validate(changed)
    return target


def _times(field: str, value: Any, factor: float) -> Any:
    if field in _RANGES:
        return min(value[0] * factor, _NARROWEST * value[1]), value[1]
    if isinstance(value, tuple):
        return tuple(entry * factor for entry in value)
    if field in _ABOVE_ONE:
        return 1.0 + (value - 1.0) * factor
    return value * factor


def _factor(rng: np.random.Generator, reach: float) -> float:
    return float(np.exp(rng.uniform(-reach, reach)))
