"""When to begin preparing the next frame, so that it is ready just as the last one is done."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class JustInTime:
    """Paces the preparation of frames by how long the last ones took.

    Preparing overlaps with segmenting, but begins no earlier than needed, and never while a
    prepared frame still waits for its turn: it would be old by then, where a newer one might have
    come. An instrument that acquires on request is asked so much earlier as acquiring takes.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy_since: float | None = None
        self._waiting = False
        self._segment_s = math.inf  # how long the first frame takes is not known
        self._prepare_s = 0.0
        self._acquire_s = 0.0

    @property
    def busy(self) -> bool:
        """Whether a frame is being segmented."""
        return self._busy_since is not None

    @contextmanager
    def acquiring(self) -> Iterator[None]:
        """While this lasts a frame is acquired on request."""
        started = time.perf_counter()
        yield
        self._acquire_s = time.perf_counter() - started

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """While this lasts a frame is prepared; after it, it waits for its turn."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._changed:
                self._prepare_s = time.perf_counter() - started
                self._waiting = True

    @contextmanager
    def segmenting(self) -> Iterator[None]:
        """While this lasts the frame that waited is segmented."""
        started = time.perf_counter()
        with self._changed:
            self._busy_since, self._waiting = started, False
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._busy_since = None
                self._segment_s = time.perf_counter() - started
                self._changed.notify_all()

    def leave_out(self) -> None:
        """The frame that waited is not segmented."""
        with self._changed:
            self._waiting = False
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is time to prepare the next frame, at most so long; whether it is."""
        deadline = time.perf_counter() + timeout_s
        with self._changed:
            while True:
                now, due = time.perf_counter(), self._due()
                if now >= due:
                    return True
                if now >= deadline:
                    return False
                self._changed.wait(min(due, deadline) - now)

    def _due(self) -> float:
        """When to begin; at once if nothing is segmented and nothing waits for it."""
        if self._waiting:
            return math.inf
        if self._busy_since is None:
            return -math.inf
        return self._busy_since + self._segment_s - self._prepare_s - self._acquire_s
