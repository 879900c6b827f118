"""What an operator may change while the loop runs: pause it, and let another tuner choose."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from samstar_rl.errors import SamstarError
from samstar_rl.tuning.wrapper import TunerWrapper

if TYPE_CHECKING:
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.tuner import FrameContext, Tuner


class PauseSwitch:
    """Whether frames are to be segmented; any thread may turn it."""

    def __init__(self) -> None:
        self._running = threading.Event()
        self._running.set()
        #: when the last pause ended, on the clock of `time.perf_counter`; -inf before
        self.resumed_at = float("-inf")

    @property
    def paused(self) -> bool:
        """Whether the loop is to wait."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Let the frame in work be the last until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        """Go on."""
        if self.paused:
            self.resumed_at = time.perf_counter()
        self._running.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the loop may go on, at most so long; whether it may."""
        return self._running.wait(timeout_s)


class TunerSwitch(TunerWrapper):
    """One of several tuners chooses; which one may be changed from any thread, between frames.

    Parameters
    ----------
    tuners : mapping of str to Tuner
        By the names that people see; the first one begins.

    Raises
    ------
    SamstarError
        If there is none.
    """

    def __init__(self, tuners: Mapping[str, Tuner]) -> None:
        if not tuners:
            raise SamstarError("a switch needs at least one tuner")
        self.tuners = dict(tuners)
        self.chosen = next(iter(self.tuners))
        self._acting = self.chosen
        super().__init__(self.tuners[self.chosen])

    @property
    def searches(self) -> bool:
        """Whether the tuner of the next frame evaluates many settings."""
        return self.tuners[self.chosen].searches

    def choose(self, name: str) -> None:
        """Let this tuner choose from the next frame on.

        Raises
        ------
        SamstarError
            If there is no such tuner.
        """
        if name not in self.tuners:
            raise SamstarError(f"no tuner {name!r} here: expected one of {', '.join(self.tuners)}")
        self.chosen = name

    def reset(self) -> None:
        """Forget earlier frames, whoever chose."""
        for tuner in self.tuners.values():
            tuner.reset()

    def propose(self, context: FrameContext) -> Settings:
        """Change over where asked to, and let the tuner choose."""
        chosen = self.chosen
        if chosen != self._acting:
            self._acting, self.inner = chosen, self.tuners[chosen]
            self.inner.reset()  # it has not seen the frames before
            self.note(f"operator: {chosen} chooses from here on")
        return self.inner.propose(context)
