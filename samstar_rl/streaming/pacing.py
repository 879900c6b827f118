"""When to begin preparing the next frame, so that it is ready just as the last one is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class JustInTime:
    """Paces the preparation of frames by how long the last ones took.

    Preparing overlaps with segmenting, but begins no earlier than needed: a frame that is prepared
    too soon would be old by its turn, where a newer one might have come.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy_since: float | None = None
        self._segment_s = 0.0
        self._prepare_s = 0.0

    @contextmanager
    def segmenting(self) -> Iterator[None]:
        """While this lasts a frame is segmented."""
        started = time.perf_counter()
        with self._changed:
            self._busy_since = started
        try:
            yield
        finally:
            with self._changed:
                self._busy_since = None
                self._segment_s = time.perf_counter() - started
                self._changed.notify_all()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """While this lasts a frame is prepared."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._prepare_s = time.perf_counter() - started

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
        """When to begin; at once if nothing is segmented."""
        if self._busy_since is None:
            return float("-inf")
        return self._busy_since + self._segment_s - self._prepare_s
