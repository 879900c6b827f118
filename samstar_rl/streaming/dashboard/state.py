"""What the page shows, kept by a sink: the newest frame whole, of earlier ones some numbers.

The loop only leaves references and a few numbers here. Pictures are drawn by whoever shows them,
of the newest frame at that moment: a slow browser misses frames and holds up nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from samstar_rl.streaming.events import Event, EventKind
from samstar_rl.streaming.supervision.switches import PauseSwitch, TunerSwitch

if TYPE_CHECKING:
    from samstar_rl.results.result import FrameResult
    from samstar_rl.streaming.counters import Counters, Counts
    from samstar_rl.tasks.task import Task

# curves reach this many frames back
HISTORY = 600
# the pooled size distribution is of this many of the last frames
POOLED_FRAMES = 50
MAX_EVENTS = 200
# without a frame for so long the page says that it waits
SILENT_S = 10.0

Status = Literal["waiting", "running", "paused", "stopped"]


@dataclass(frozen=True)
class Point:
    """A frame's share in the curves.

    Attributes
    ----------
    number : int
        Of the frame within this run, from 1.
    frame : str
        Its id.
    score : float
    terms : dict of str to float
    settings : dict of str to float
        Those that the task lets move.
    shares : dict of str to float
        The same as shares of the ranges that the task allows them.
    waited_ms, prepared_ms, segmented_ms : float
        Idle in queues; inspected and encoded; from there to its score.
    counts : Counts
        When the frame came here.
    """

    number: int
    frame: str
    score: float
    terms: dict[str, float]
    settings: dict[str, float]
    shares: dict[str, float]
    waited_ms: float
    prepared_ms: float
    segmented_ms: float
    counts: Counts


@dataclass(frozen=True)
class Snapshot:
    """All that the page shows, of one moment.

    Attributes
    ----------
    status : Status
    silent_s : float
        Since the last frame, or since the start.
    result : FrameResult or None
        The newest frame.
    points : list of Point
        Those asked for.
    diameters : list of arrays
        Equivalent diameters in px, a frame each, the newest last.
    events : list of Event
        The newest first.
    counts : Counts
    latency_ms : tuple
        Median and 99th percentile, None before the first frame.
    frames_per_s : float
        Over the last frames.
    last_fault : str or None
        What went wrong since the last frame that was done.
    """

    status: Status
    silent_s: float
    result: FrameResult | None
    points: list[Point]
    diameters: list[NDArray[np.float64]]
    events: list[Event]
    counts: Counts
    latency_ms: tuple[float | None, float | None]
    frames_per_s: float
    last_fault: str | None = None


class LiveState:
    """A sink that remembers what the page shows.

    Parameters
    ----------
    task : Task
    counters : Counters
        The runner's.
    pause : PauseSwitch, optional
    tuners : TunerSwitch, optional
        What the operator may choose from.
    """

    def __init__(
        self,
        task: Task,
        counters: Counters,
        *,
        pause: PauseSwitch | None = None,
        tuners: TunerSwitch | None = None,
    ) -> None:
        self.task = task
        self.counters = counters
        self.pause = pause or PauseSwitch()
        self.tuners = tuners
        self._lock = threading.Lock()
        self._result: FrameResult | None = None
        self._points: deque[Point] = deque(maxlen=HISTORY)
        self._diameters: deque[NDArray[np.float64]] = deque(maxlen=POOLED_FRAMES)
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._last_fault: str | None = None
        self._times: deque[float] = deque(maxlen=POOLED_FRAMES)
        self._n_frames = 0
        self._last_s = time.monotonic()
        self._stopped = False

    # as a sink

    def write(self, result: FrameResult) -> None:
        """Remember a frame."""
        point = self._to_point(result)
        # gathered here and not by the page: what is computed on demand belongs to this thread
        diameters = np.asarray(
            result.segmentation.table.equivalent_diameter_area[result.measured], dtype=np.float64
        )
        now = time.monotonic()
        with self._lock:
            self._n_frames = point.number
            self._result = result
            self._last_fault = None
            self._points.append(point)
            self._diameters.append(diameters)
            self._times.append(now)
            self._last_s = now
            for note in result.notes:
                kind: EventKind = "guard" if note.startswith("guard") else "run"
                self._events.append(Event(kind, note, frame=result.frame.id))

    def report(self, event: Event) -> None:
        """Remember an event."""
        with self._lock:
            self._events.append(event)
            if event.trouble:
                self._last_fault = f"{event.frame}: " * bool(event.frame) + event.message

    def close(self) -> None:
        """The run has ended."""
        with self._lock:
            self._stopped = True

    # for the page

    @property
    def n_frames(self) -> int:
        """Frames written so far."""
        return self._n_frames

    def snapshot(self, after: int = 0) -> Snapshot:
        """What there is to show, with the points of frames after this number only."""
        with self._lock:
            return Snapshot(
                status=self._status(),
                silent_s=time.monotonic() - self._last_s,
                result=self._result,
                points=[point for point in self._points if point.number > after],
                diameters=list(self._diameters),
                events=list(self._events)[::-1],
                counts=self.counters.counts,
                latency_ms=(self.counters.latency_ms(50), self.counters.latency_ms(99)),
                frames_per_s=self._frames_per_s(),
                last_fault=self._last_fault,
            )

    def _status(self) -> Status:
        if self._stopped:
            return "stopped"
        if self.pause.paused:
            return "paused"
        if self._result is None or time.monotonic() - self._last_s > SILENT_S:
            return "waiting"
        return "running"

    def _frames_per_s(self) -> float:
        """Falls while no frame comes, and is 0 after the end."""
        if self._stopped or len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return 0.0
        n_intervals, span_s = len(self._times) - 1, self._times[-1] - self._times[0]
        overdue_s = time.monotonic() - self._times[-1] - span_s / n_intervals
        return n_intervals / (span_s + max(0.0, overdue_s))

    def _to_point(self, result: FrameResult) -> Point:
        settings, space = result.settings.to_dict(), self.task.space
        shares = (space.encode(result.settings) + 1.0) / 2.0
        took = result.milliseconds
        return Point(
            number=self._n_frames + 1,
            frame=result.frame.id,
            score=float(result.score.total),
            terms={name: float(value) for name, value in result.score.terms.items()},
            settings={name: float(settings.get(name, "nan")) for name in space.names},
            shares={name: float(share) for name, share in zip(space.names, shares, strict=True)},
            waited_ms=float(took.get("waited", 0.0)),
            prepared_ms=float(took.get("prepared", 0.0)),
            segmented_ms=float(took.get("segmented", 0.0)),
            counts=self.counters.counts,
        )
