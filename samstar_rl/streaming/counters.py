"""What became of every frame: received = done + dropped + failed + in flight."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# latencies are summarised over this many of the last frames
LATENCY_WINDOW = 1000


@dataclass(frozen=True)
class Counts:
    """How many frames came and what became of them.

    Attributes
    ----------
    received : int
        Frames that the source gave, and those it could not read.
    done : int
        Segmented, with complete results on disk.
    dropped : int
        Left out for newer ones, or still waiting when the run was stopped.
    failed : int
        Unreadable, unusable (blank, saturated), or an error occurred; each is reported.
    """

    received: int = 0
    done: int = 0
    dropped: int = 0
    failed: int = 0

    @property
    def in_flight(self) -> int:
        """Frames whose fate is not decided yet; 0 when a run has ended."""
        return self.received - self.done - self.dropped - self.failed


class Counters:
    """Counts that several threads keep, and the latencies of the last frames."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._received = self._done = self._dropped = self._failed = 0
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def receive(self) -> None:
        """A frame came."""
        with self._changed:
            self._received += 1
            self._changed.notify_all()

    def finish(self, latency_ms: float) -> None:
        """A frame's results are complete, that long after it came."""
        with self._changed:
            self._done += 1
            self._latencies_ms.append(latency_ms)
            self._changed.notify_all()

    def drop(self, n: int = 1) -> None:
        """Frames were left out."""
        with self._changed:
            self._dropped += n
            self._changed.notify_all()

    def fail(self, n: int = 1) -> None:
        """Frames could not be treated."""
        with self._changed:
            self._failed += n
            self._changed.notify_all()

    @property
    def counts(self) -> Counts:
        """The counts, all of one moment."""
        with self._changed:
            return self._counts()

    def wait_for(self, condition: Callable[[Counts], bool], timeout_s: float) -> bool:
        """Wait until the counts are so, at most so long; whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self._counts()), timeout_s)

    def latency_ms(self, percentile: float) -> float | None:
        """A percentile of the last frames' latencies; None before the first."""
        with self._changed:
            latencies = list(self._latencies_ms)
        return float(np.percentile(latencies, percentile)) if latencies else None

    def _counts(self) -> Counts:
        return Counts(self._received, self._done, self._dropped, self._failed)
