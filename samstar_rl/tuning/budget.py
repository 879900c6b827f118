"""What a frame may cost: a gaze fixed by the user, and a deadline turned into a budget."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl.settings import SETTINGS, PromptSettings

if TYPE_CHECKING:
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.evaluable_frames import LiveFrame

PRICE = 0.02
"""Score that 1,000 of cost must gain to be worth it."""
BUDGET_RANGE = (60.0, 2000.0)
"""Budgets, in cost, that policies are trained for and told apart; beyond there is no limit."""
DEFAULT_N_PROMPTS = 300
"""Prompts where a zoom is asked for and nothing says how many."""
WINDOW = 32
"""Frames that the pace is taken from."""
RESERVE_QUANTILE = 0.95
"""Share of the last frames that would have been in time with the reserve that is kept."""
FIRST_RESERVE = 0.15
"""Share of the deadline that is kept free before any frame was seen."""
CALIBRATION_PROMPTS = (8, 40)


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


class DeadlineBudget:
    """Milliseconds that a frame may take, turned into the cost that it may have.

    The time of a frame is taken to be a constant (reading, encoding, foreground, score) and so much
    for each unit of cost beyond the whole frame's view. Both are measured on the first frame and
    followed from then on; a reserve covers nearly all of the differences between frames.

    Parameters
    ----------
    deadline_ms : float
    """

    def __init__(self, deadline_ms: float) -> None:
        self.deadline_ms = deadline_ms
        self._measured: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._calibration: list[tuple[float, float]] = []
        self._view_cost = 0.0

    @property
    def is_calibrated(self) -> bool:
        """Whether a frame was seen."""
        return bool(self._calibration)

    def calibrate(self, engine: ProposalEngine, source: LiveFrame, prepared_ms: float) -> None:
        """Measure the pace on a frame that was prepared.

        Parameters
        ----------
        engine : ProposalEngine
        source : LiveFrame
        prepared_ms : float
            What preparing it took.
        """
        self._view_cost = engine.view_cost
        for n_prompts in CALIBRATION_PROMPTS:
            started = time.perf_counter()
            engine.propose(
                source.frame, PromptSettings(n_prompts=n_prompts), embedding=source.embedding
            )
            took_ms = (time.perf_counter() - started) * 1e3
            self._calibration.append((float(n_prompts), prepared_ms + took_ms))

    def observe(self, cost: float, took_ms: float) -> None:
        """Learn what a frame cost and took."""
        self._measured.append((cost - self._view_cost, took_ms))

    def cost_limit(self) -> float:
        """The cost that the next frame may have; at least that of the whole frame's view."""
        points = np.array([*self._calibration, *self._measured])
        beyond, took_ms = points.T
        # least squares, with a slope that is positive however alike the last frames were
        spread = beyond - beyond.mean()
        slope = float(spread @ took_ms / max(float(spread @ spread), 1e-9))
        fallback = np.diff(took_ms[:2]).item() / np.diff(beyond[:2]).item()
        pace_ms = max(slope if slope > 0 else fallback, 1e-3)
        constant_ms = float((took_ms - pace_ms * beyond).mean())
        if self._measured:
            own = np.array(self._measured)
            late_ms = own[:, 1] - constant_ms - pace_ms * own[:, 0]
            reserve_ms = max(float(np.quantile(late_ms, RESERVE_QUANTILE)), 0.0)
        else:
            reserve_ms = FIRST_RESERVE * self.deadline_ms
        left_ms = self.deadline_ms - constant_ms - reserve_ms
        return self._view_cost + max(left_ms, 0.0) / pace_ms
