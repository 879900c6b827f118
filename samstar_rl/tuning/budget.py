"""What a frame may cost: a gaze fixed by the user, and a deadline turned into a budget."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl.settings import SETTINGS

if TYPE_CHECKING:
    from samstar_rl.settings import Settings

PRICE = 0.02
"""Score that 1,000 of cost must gain to be worth it."""
BUDGET_RANGE = (60.0, 2000.0)
"""Budgets, in cost, that policies are trained for and told apart; beyond there is no limit."""
DEFAULT_N_PROMPTS = 300
"""Prompts where a zoom is asked for and nothing says how many."""
WINDOW = 32
"""Frames that the pace is taken from."""
RESERVE_QUANTILE = 0.99
"""Share of the last frames that would have been in time with the reserve that is kept."""
FIRST_RESERVE = 0.25
"""Share of the deadline that is kept free before ..."""
LEAST_FRAMES = 8
"""... so many frames were seen."""
FIRST_LOOK = 8.0
"""Prompts that a frame gets where there is no time for any but it is hardly late with them:"""
HARDLY_LATE = 1.1
"""by this factor at most."""
FEW_PROMPTS = 32.0
"""Where there is time for fewer, foregrounds are estimated quickly."""


@dataclass(frozen=True)
class GazeOptions:
    """What a user fixes of the gaze, whatever a tuner chooses.

    Parameters
    ----------
    n_prompts : int, optional
        Prompts of each frame.
    zoom : float, optional
        Magnification of the tiles; with it SAM takes 300 prompts unless something says how many.
    budget_ms : float, optional
        Time for a frame, from its preparation to its score. Prompts are taken in the order of
        their worth until it is used up.

    Raises
    ------
    SamstarError
        If a value is not allowed.
    """

    n_prompts: int | None = None
    zoom: float | None = None
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        SETTINGS["n_prompts"].validated(self.n_prompts)
        if self.zoom is not None:
            SETTINGS["zoom"].validated(self.zoom)
        if self.budget_ms is not None and not 0 < self.budget_ms < float("inf"):
            raise SamstarError(f"budget_ms must be a positive number of ms, got {self.budget_ms}")

    def apply(self, settings: Settings) -> Settings:
        """The settings with what is fixed in place of theirs."""
        n_prompts, zoom = self.n_prompts or settings.n_prompts, self.zoom or settings.zoom
        if n_prompts is None and self.budget_ms is not None:
            # the clock says when to stop
            n_prompts = int(SETTINGS["n_prompts"].high)
        if n_prompts is None and self.zoom is not None:
            n_prompts = DEFAULT_N_PROMPTS
        if (n_prompts, zoom) == (settings.n_prompts, settings.zoom):
            return settings
        return settings.replace(n_prompts=n_prompts, zoom=zoom, crop_n_layers=0)


CALIBRATION_GAZE = GazeOptions(n_prompts=40, zoom=2.0)
"""What the pace is first measured with: it opens tiles as well."""


class DeadlineBudget:
    """Milliseconds that a frame may take, turned into the cost that it may have.

    The time of a frame is taken to be so much for each unit of cost beyond the whole frame's view,
    and a constant for all else (reading, encoding, foreground, score). Both are the medians of the
    last frames; a reserve covers nearly all of the differences between frames.

    Parameters
    ----------
    deadline_ms : float
    view_cost : float
        Cost of a view, that of the whole frame being part of the constant.

    Attributes
    ----------
    hurries : bool
        Whether the deadline is so short that foregrounds are to be estimated quickly.
    """

    def __init__(self, deadline_ms: float, view_cost: float) -> None:
        self.deadline_ms = deadline_ms
        self.view_cost = view_cost
        self.hurries = False
        self._measured: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)

    @property
    def is_calibrated(self) -> bool:
        """Whether a frame was seen."""
        return bool(self._measured)

    def observe(self, cost: float, took_ms: float, looking_ms: float) -> None:
        """Learn from a frame.

        Parameters
        ----------
        cost : float
        took_ms : float
            From its preparation to its score.
        looking_ms : float
            Of these, what tiles and prompts took.
        """
        beyond = max(cost - self.view_cost, 0.0)
        self._measured.append((beyond, took_ms, min(looking_ms, took_ms)))

    def hurry(self) -> bool:
        """Hurry from now on if otherwise there is no time for more than `FEW_PROMPTS`.

        Returns
        -------
        bool
            Whether that is new, and the pace is to be measured again.
        """
        if self.hurries or self.cost_limit() >= self.view_cost + FEW_PROMPTS:
            return False
        self.hurries = True
        self._measured.clear()
        return True

    def cost_limit(self) -> float:
        """The cost that the next frame may have; at least that of the whole frame's view.

        A frame of which nothing is decoded was encoded in vain: the most promising prompts are
        taken if they end within `HARDLY_LATE` times the deadline.
        """
        beyond, took_ms, looking_ms = np.array(self._measured).T
        pace_ms = max(float(np.median(looking_ms / np.maximum(beyond, 1.0))), 1e-3)
        constant_ms = float(np.median(took_ms - looking_ms))
        if len(self._measured) < LEAST_FRAMES:
            reserve_ms = FIRST_RESERVE * self.deadline_ms
        else:
            late_ms = took_ms - constant_ms - pace_ms * beyond
            reserve_ms = max(float(np.quantile(late_ms, RESERVE_QUANTILE)), 0.0)
        left_ms = self.deadline_ms - constant_ms - reserve_ms
        prompts = max(left_ms, 0.0) / pace_ms
        if constant_ms + FIRST_LOOK * pace_ms <= HARDLY_LATE * self.deadline_ms:
            prompts = max(prompts, FIRST_LOOK)
        return self.view_cost + prompts
