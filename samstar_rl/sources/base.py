"""The one shape of everything that frames come from, and what all sources share.

A source is a context manager that iterates frames, can be stopped from another thread, and reports
what it could not read instead of dying of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame


class SourceError(SamstarError):
    """A source's name, or one of its options, is not understood, or the source does not exist."""


@dataclass(frozen=True)
class Fault:
    """Something that should have become a frame and did not, or a change of the connection.

    Parameters
    ----------
    name : str
        Of the file or the request.
    reason : str
        What was expected and what came.
    cost_a_frame : bool
        Whether a frame was lost by it; a connection that is lost or back costs none.
    trouble : bool
        Whether something is wrong. A connection that is back, or a remark on what comes, is not.
    """

    name: str
    reason: str
    cost_a_frame: bool = True
    trouble: bool = True


class Source(Protocol):
    """A context manager that iterates frames.

    Attributes
    ----------
    live : bool
        Frames come at an instrument's pace whether or not anybody is ready: the newest one counts.
        Otherwise (files, folders) frames wait, and none may be left out.
    on_request : bool
        Each frame is acquired when the iterator is asked for it, which is dose on the specimen: it
        is not asked for a frame that nobody is ready for.
    on_fault : callable
        Called with each `Fault`, in the thread that iterates. By default nothing is done.
    skip : callable
        Asked of a frame's id whether it was treated before and is to be left out.
    owners : dict of str to str
        Ids that frames of earlier runs have, and the file that each came from.
    is_result : callable
        Asked of a file whether it is a result of a run, which is never taken for input.
    """

    live: bool
    on_request: bool
    on_fault: Callable[[Fault], None]
    skip: Callable[[str], bool]
    owners: dict[str, str]
    is_result: Callable[[Path], bool]

    def __enter__(self) -> Self:
        """Connect."""

    def __exit__(self, *exception: object) -> None:
        """Disconnect; as `stop`, and waits until nothing is in use any more."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the source ends or is stopped."""

    def stop(self) -> None:
        """End the iteration soon; may be called from any thread."""


class SourceBase:
    """What sources share: being stopped, waiting so that it can be interrupted, ignoring faults."""

    live = False
    on_request = False

    def __init__(self) -> None:
        self.on_fault: Callable[[Fault], None] = lambda fault: None
        self.skip: Callable[[str], bool] = lambda frame_id: False
        self.owners: dict[str, str] = {}
        self.is_result: Callable[[Path], bool] = lambda path: False
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self._stopped.clear()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the iteration soon; may be called from any thread."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond `stop`."""
        self._stopped.wait(seconds)


class MemorySource(SourceBase):
    """Frames that are in memory already: the double of every other source in tests.

    Parameters
    ----------
    frames : iterable of Frame or Fault
    interval_s : float
        Pause before each frame.
    live : bool
        As in `Source`.
    """

    def __init__(
        self, frames: Iterable[Frame | Fault], *, interval_s: float = 0.0, live: bool = False
    ) -> None:
        super().__init__()
        self.frames = frames
        self.interval_s = interval_s
        self.live = live

    def __iter__(self) -> Iterator[Frame]:
        for item in self.frames:
            if self.interval_s:
                self.wait(self.interval_s)
            if self.stopped:
                return
            if isinstance(item, Fault):
                self.on_fault(item)
            elif not self.skip(item.id):
                yield item
