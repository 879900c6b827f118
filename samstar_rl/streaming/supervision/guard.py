"""The guard: an unattended policy is believed only while it does better than static settings."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samstar_rl.errors import SamstarError
from samstar_rl.settings import Settings
from samstar_rl.tuning.tuner import FrameContext, FrameEvaluator, FrameSource, TunedFrame, Tuner
from samstar_rl.tuning.wrapper import TunerWrapper

if TYPE_CHECKING:
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.objective import Objective

Distance = Callable[[FrameContext], float]
Retune = Callable[[Sequence[FrameSource]], Settings]


@dataclass(frozen=True)
class GuardRules:
    """When the guard steps in.

    Parameters
    ----------
    check_every : int
        On every such frame policy and static settings are both evaluated and compared.
    margin : float
        By how much the static settings must score higher to count against the policy.
    patience : int
        Checks in a row that the policy must lose before the guard falls back, and win before it
        is believed again.
    max_distance : float
        Above this distance from what the policy was trained on a frame gets the static settings.
    n_recent : int
        Frames that are kept for a re-tune.
    """

    check_every: int = 10
    margin: float = 0.02
    patience: int = 2
    max_distance: float = 4.0
    n_recent: int = 8

    def __post_init__(self) -> None:
        if min(self.check_every, self.patience) < 1 or self.n_recent < 2:
            raise SamstarError(
                "check_every and patience must be at least 1 and n_recent at least 2, got "
                f"{self.check_every}, {self.patience} and {self.n_recent}"
            )


class Guard(TunerWrapper):
    """Believe a policy while it deserves it; otherwise take static settings, and say so.

    Parameters
    ----------
    inner : Tuner
        The policy.
    objective : Objective
        Of the task, whose static settings are the fallback.
    rules : GuardRules
    distance : callable, optional
        How far a frame is from what the policy was trained on: about 1 for an ordinary one.
    retune : callable, optional
        Searches static settings over recent frames. Called in a thread of its own after a
        fallback; what it finds becomes the fallback if it scores higher on frames that the search
        did not see.
    """

    def __init__(
        self,
        inner: Tuner,
        objective: Objective,
        rules: GuardRules | None = None,
        *,
        distance: Distance | None = None,
        retune: Retune | None = None,
    ) -> None:
        super().__init__(inner)
        self.objective = objective
        self.rules = rules or GuardRules()
        self.fallback = objective.task.static
        self.fallen_back = False
        self._distance = distance
        self._retune = retune
        self._fallback_name = "static"
        self._chose_fallback = False
        self._n_frames = 0
        self._streak = 0
        self._recent: deque[FrameSource] = deque(maxlen=self.rules.n_recent)
        self._retune_due = False
        self._retuning: threading.Thread | None = None
        self._retuned: Settings | None = None
        self._retune_error: Exception | None = None

    @property
    def name(self) -> str:
        """Of who chose last."""
        return self._fallback_name if self._chose_fallback else self.inner.name

    def reset(self) -> None:
        """Forget the record; a fallback that was re-tuned stays."""
        super().reset()
        self.fallen_back, self._chose_fallback, self._retune_due = False, False, False
        self._n_frames = self._streak = 0
        self._recent.clear()

    def propose(self, context: FrameContext) -> Settings:
        """Take the policy's settings or the fallback's."""
        self._adopt_retuned()
        if self._retune_due:
            self._start_retune()
        check = self._n_frames % self.rules.check_every == 0
        self._n_frames += 1
        if self.fallen_back and not check:
            return self._choose_fallback()
        settings = self._ask_policy(context)
        if settings is None:
            return self._choose_fallback()
        if check:
            return self._compare(context, settings)
        self._chose_fallback = False
        return settings

    def observe(self, tuned: TunedFrame) -> None:
        """Keep the frame for a re-tune."""
        super().observe(tuned)
        self._recent.append(tuned.source)

    def wait_for_retune(self, timeout_s: float | None = None) -> None:
        """Wait until no search is running."""
        if self._retuning is not None:
            self._retuning.join(timeout_s)

    def _ask_policy(self, context: FrameContext) -> Settings | None:
        """The policy's settings, None where they cannot be believed."""
        try:
            settings = self.inner.propose(context)
            distance = 0.0 if self._distance is None else self._distance(context)
        except Exception as error:  # an unattended run must not end because a policy breaks
            self.note(f"guard: the policy failed ({error}); static settings instead")
            return None
        outside = out_of_bounds(settings, self.objective.task)
        if outside:
            self.note(f"guard: the policy chose {outside}; static settings instead")
            return None
        if not distance <= self.rules.max_distance:  # NaN is far, too
            self.note(
                f"guard: the frame is unlike those of the training (distance {distance:.1f}, at "
                f"most {self.rules.max_distance:g}); static settings instead"
            )
            return None
        return settings

    def _compare(self, context: FrameContext, settings: Settings) -> Settings:
        """Evaluate both on this frame, keep the record, and take the better."""
        policy, static = context.evaluate(settings).total, context.evaluate(self.fallback).total
        lost = not policy >= static - self.rules.margin  # NaN loses, too
        against_current = not lost if self.fallen_back else lost
        self._streak = self._streak + 1 if against_current else 0
        if self._streak >= self.rules.patience:
            self.fallen_back = not self.fallen_back
            self._streak = 0
            scores = f"score {policy:.3f} against {static:.3f} of the static settings"
            if self.fallen_back:
                self.note(f"guard: fell back to the static settings ({scores})")
                self._retune_due = True
                self._start_retune()
            else:
                self._retune_due = False
                self.note(f"guard: the policy is believed again ({scores})")
        if lost:
            return self._choose_fallback()
        self._chose_fallback = False
        return settings

    def _choose_fallback(self) -> Settings:
        self._chose_fallback = True
        return self.fallback

    def _start_retune(self) -> None:
        """Begin a search, or leave it due where there are too few frames so far."""
        busy = self._retuning is not None and self._retuning.is_alive()
        if self._retune is None or busy or len(self._recent) < 2:
            return
        self._retune_due = False
        self._retuning = threading.Thread(
            target=self._search_and_compare, args=(list(self._recent),), daemon=True
        )
        self._retuning.start()
        self.note(f"guard: searching new static settings over the last {len(self._recent)} frames")

    def _search_and_compare(self, frames: list[FrameSource]) -> None:
        """Search on every other frame, judge on the rest."""
        assert self._retune is not None
        try:
            found = self._retune(frames[::2])
            old, new = (self._mean_score(s, frames[1::2]) for s in (self.fallback, found))
        except Exception as error:  # the run goes on as if nobody had searched
            self._retune_error = error
            return
        if new > old:
            self._retuned = found

    def _mean_score(self, settings: Settings, frames: Sequence[FrameSource]) -> float:
        scores = [FrameEvaluator(frame, self.objective)(settings).score.total for frame in frames]
        return math.fsum(scores) / len(scores)

    def _adopt_retuned(self) -> None:
        """Take over, or say, what the search has come to; here and not in its thread."""
        if self._retune_error is not None:
            error, self._retune_error = self._retune_error, None
            self.note(f"guard: the search for new static settings failed ({error})")
        if self._retuned is not None:
            self.fallback, self._retuned = self._retuned, None
            self._fallback_name = "static (re-tuned)"
            self.note("guard: took over re-tuned static settings")


def out_of_bounds(settings: Settings, task: Task) -> str:
    """The first setting that is outside of the task's bounds, in words; empty if none is."""
    space = task.space
    values, base = settings.to_dict(), task.static.to_dict()
    for name, value in values.items():
        if name not in space.names:
            if value != base[name]:
                return f"{name} = {value}, which the task fixes at {base[name]}"
            continue
        low, high = space.limits(name)
        if not low <= float(value) <= high:
            return f"{name} = {value}, which the task bounds to [{low:g}, {high:g}]"
    return ""
