"""What became of every frame: received = done + dropped + failed + in flight."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
        self._counts = Counts()
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def receive(self) -> None:
        """A frame came."""
        self._change(received=1)

    def finish(self, latency_ms: float) -> None:
        """A frame's results are complete, that long after it came."""
        self._change(done=1, latencies_ms=[latency_ms])

    def drop(self, n: int = 1) -> None:
        """Frames were left out."""
        self._change(dropped=n)

    def fail(self) -> None:
        """A frame could not be treated."""
        self._change(failed=1)

    @property
    def counts(self) -> Counts:
        """The counts, all of one moment."""
        return self._counts

    def wait_for(self, condition: Callable[[Counts], bool], timeout_s: float) -> bool:
        """Wait until the counts are so, at most so long; whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self._counts), timeout_s)

    def latency_ms(self, percentile: float) -> float | None:
        """A percentile of the last frames' latencies; None before the first."""
        with self._changed:
            latencies = list(self._latencies_ms)
        return float(np.percentile(latencies, percentile)) if latencies else None

    def _change(self, *, latencies_ms: Sequence[float] = (), **by: int) -> None:
        with self._changed:
            changed = {name: getattr(self._counts, name) + n for name, n in by.items()}
            self._counts = replace(self._counts, **changed)
            self._latencies_ms.extend(latencies_ms)
            self._changed.notify_all()
