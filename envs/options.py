"""What both environments take besides task and bank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samstar_rl.errors import SamstarError
from samstar_rl.tuning.budget import BUDGET_RANGE, PRICE

if TYPE_CHECKING:
    import numpy as np

    from samstar_rl.envs.task_union import TaskUnion

WINDOW_FRAMES = 64


@dataclass(frozen=True)
class StreamOptions:
    """How episodes are drawn and what is paid for.

    Attributes
    ----------
    window : int
        Frames per episode of `samstar/Stream-v1`.
    price : float
        Score that 1,000 of cost must gain to be worth it.
    budget : float or (float, float)
        The cost that each frame may have: one for all episodes, or ends between which each episode
        draws its own, log-uniformly. ``inf`` is no limit.
    union : TaskUnion, optional
        Settings and terms of all tasks that the policy is for.

    Raises
    ------
    SamstarError
        If a value is out of range.
    """

    window: int = WINDOW_FRAMES
    price: float = PRICE
    budget: float | tuple[float, float] = BUDGET_RANGE
    union: TaskUnion | None = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise SamstarError(f"window must be at least 1 frame, got {self.window}")
        if not 0 <= self.price < math.inf:
            raise SamstarError(f"price must be a finite number >= 0, got {self.price}")
        if isinstance(self.budget, tuple | list):
            if len(self.budget) != 2 or not 0 < self.budget[0] <= self.budget[1] < math.inf:
                raise SamstarError(
                    f"budget must be a number above 0 or the two ends of a range, got {self.budget}"
                )
            object.__setattr__(self, "budget", (float(self.budget[0]), float(self.budget[1])))
        else:
            object.__setattr__(self, "budget", checked_budget(self.budget))

    def draw_budget(self, rng: np.random.Generator, options: dict[str, Any] | None) -> float:
        """The budget of an episode.

        Parameters
        ----------
        rng : numpy.random.Generator
        options : dict, optional
            Of the environment's reset: ``budget``, where there, is taken.

        Returns
        -------
        float

        Raises
        ------
        SamstarError
            If that is no number above 0.
        """
        if options is not None and options.get("budget") is not None:
            return checked_budget(options["budget"])
        if isinstance(self.budget, tuple):
            low, high = map(math.log, self.budget)
            return math.exp(float(rng.uniform(low, high)))
        return self.budget


def checked_budget(budget: Any) -> float:
    """A budget as a float above 0, or a `SamstarError`."""
    try:
        number = float(budget)
    except (TypeError, ValueError):
        number = math.nan
    if not number > 0:
        raise SamstarError(
            f"budget must be a number above 0, got {budget!r}; give math.inf for no limit"
        )
    return number
