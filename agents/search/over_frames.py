"""What one choice of settings comes to over several frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.tuning.tuner import FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.objective import Objective
    from samstar_rl.tuning.tuner import FrameSource


@dataclass(frozen=True, eq=False)
class OverFrames:
    """A choice of settings with its means over frames.

    Attributes
    ----------
    settings : Settings
    reward, score : float
        Means over frames.
    terms : dict of str to float
        Means over frames of every term of the task.
    rewards : (F,) array
        The reward on each frame.
    """

    settings: Settings
    reward: float
    score: float
    terms: Mapping[str, float]
    rewards: NDArray[np.float64]


def evaluate_over(
    frames: Sequence[FrameSource],
    objective: Objective,
    settings: Settings,
    *,
    budget: float = math.inf,
) -> OverFrames:
    """Evaluate one choice of settings on several frames, each by itself.

    Parameters
    ----------
    frames : sequence of FrameSource
        At least one.
    objective : Objective
    settings : Settings
    budget : float
        The cost that each frame may have: the engine stops there.

    Returns
    -------
    OverFrames
    """
    found = [FrameEvaluator(frame, objective, cost_limit=budget)(settings) for frame in frames]
    rewards = np.array([evaluation.reward for evaluation in found])
    scores = [evaluation.score for evaluation in found]
    terms = {name: float(np.mean([one.terms[name] for one in scores])) for name in scores[0].terms}
    score = float(np.mean([one.total for one in scores]))
    return OverFrames(settings, float(rewards.mean()), score, terms, rewards)
