"""What stands between acquisition and segmentation: wait for room, or let the newest frame win."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Literal, TypeVar

from samstar_rl.errors import SamstarError

T = TypeVar("T")

QueueMode = Literal["latest", "all"]


class StreamQueue(Generic[T]):
    """A queue between threads.

    Parameters
    ----------
    mode : {"latest", "all"}
        "latest" holds one item, and a newer one takes its place; the older is dropped. "all" holds
        ``size`` items, and whoever puts more waits.
    size : int
        For "all".
    """

    def __init__(self, mode: QueueMode, size: int = 2) -> None:
        if mode not in ("latest", "all"):
            raise SamstarError(f"mode must be latest or all, got {mode!r}")
        self.mode = mode
        self.size = 1 if mode == "latest" else size
        self._items: deque[T] = deque()
        self._closed = False
        self._n_takers = 0
        self._changed = threading.Condition()

    def put(self, item: T) -> int:
        """Add an item; return how many were dropped for it, itself if the queue is closed."""
        with self._changed:
            while self.mode == "all" and len(self._items) >= self.size and not self._closed:
                self._changed.wait()
            if self._closed:
                return 1
            n_dropped = len(self._items) - self.size + 1 if self.mode == "latest" else 0
            for _ in range(n_dropped):
                self._items.popleft()
            self._items.append(item)
            self._changed.notify_all()
            return n_dropped

    def get(self, timeout_s: float | None = None) -> T | None:
        """Take the oldest item; None if none came in time, or none will (then `finished`)."""
        with self._changed:
            self._n_takers += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            self._n_takers -= 1
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def wait_for_taker(self, timeout_s: float) -> bool:
        """Wait until somebody waits for an item that is not there; whether somebody does."""
        with self._changed:
            return self._changed.wait_for(lambda: self._n_takers > len(self._items), timeout_s)

    def close(self, *, discard: bool = False) -> int:
        """Take nothing more; return how many items were dropped that were held."""
        with self._changed:
            self._closed = True
            n_dropped = len(self._items) if discard else 0
            if discard:
                self._items.clear()
            self._changed.notify_all()
            return n_dropped

    @property
    def finished(self) -> bool:
        """Whether the queue is closed and empty."""
        with self._changed:
            return self._closed and not self._items
