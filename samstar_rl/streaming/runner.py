"""The live loop: acquire, segment and write side by side, until the source ends or is stopped.

    source -> [acquire] -> frames -> [segment] -> outcomes -> [write] -> sinks

Each stage is a thread; segmenting is the caller's own. Where nothing may be dropped, acquiring also
prepares (encodes) the next frame while the last one is decoded. Whatever goes wrong with one frame
is reported and counted; only results that cannot be written end the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from samstar_rl.frames.frame import Frame
from samstar_rl.frames.quality import UnusableFrameError
from samstar_rl.frames.source import Fault, Source
from samstar_rl.results import FrameResult
from samstar_rl.streaming.control import PauseSwitch
from samstar_rl.streaming.counters import Counters, Counts
from samstar_rl.streaming.events import Event
from samstar_rl.streaming.queue import QueueMode, StreamQueue
from samstar_rl.streaming.sinks import Sink

# so many errors one after the other mean that the next frame will not fare better
MAX_FAILURES_IN_A_ROW = 20
# how long a request to stop may go unnoticed while the source is silent
STOP_LATENCY_S = 0.2
JOIN_TIMEOUT_S = 15.0

Prepared = TypeVar("Prepared")


class RunError(RuntimeError):
    """The run had to end: the source broke, or frame after frame failed."""


class WriteError(RunError):
    """The run had to end because results cannot be written; what was written is complete."""


class FrameSegmenter(Protocol[Prepared]):
    """Turns frames into results."""

    def prepare(self, frame: Frame) -> Prepared:
        """Do what needs no knowledge of earlier frames; in another thread than `segment`.

        Raises
        ------
        Exception
            If the frame cannot be treated; it is then counted as failed.
        """

    def segment(self, prepared: Prepared) -> FrameResult:
        """Do the rest, in the order of the frames; raises as `prepare` does."""


@dataclass(frozen=True)
class _Arrival(Generic[Prepared]):
    """A frame with the time at which it came, and what acquiring has made of it already."""

    frame: Frame
    arrived: float
    prepared: Prepared | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class _Outcome:
    """A result on its way to the sinks."""

    result: FrameResult
    arrived: float


class Runner(Generic[Prepared]):
    """Run a source through a segmenter into sinks.

    Parameters
    ----------
    source : Source
    segmenter : FrameSegmenter
    sinks : sequence of Sink
        Closed at the end.
    queue : {"latest", "all"}
        Whether a frame that waits gives way to a newer one.
    max_frames : int, optional
        Stop after so many were received.
    counters : Counters, optional
        To be shared with whoever shows them.
    on_progress : callable, optional
        Called with the counts after each frame, in the writing thread.
    pause : PauseSwitch, optional
        While it says so no frame is segmented: at an instrument the newest one waits and the
        others are dropped; a file's frames all wait.
    """

    def __init__(
        self,
        source: Source,
        segmenter: FrameSegmenter[Prepared],
        sinks: Sequence[Sink],
        *,
        queue: QueueMode,
        max_frames: int | None = None,
        counters: Counters | None = None,
        on_progress: Callable[[Counts], None] | None = None,
        pause: PauseSwitch | None = None,
    ) -> None:
        self.source = source
        self.segmenter = segmenter
        self.sinks = sinks
        self.max_frames = max_frames
        self.on_progress = on_progress
        self.counters = counters or Counters()
        self.pause = pause or PauseSwitch()
        self._frames: StreamQueue[_Arrival[Prepared]] = StreamQueue(queue)
        self._outcomes: StreamQueue[_Outcome | Event] = StreamQueue("all", 4)
        self._stop_requested = False
        self._source_error: Exception | None = None
        self._write_error: Exception | None = None
        self._failures: list[str] = []

    def request_stop(self) -> None:
        """Finish the frame in work and end; safe to call from a signal handler or any thread."""
        self._stop_requested = True  # no lock: the handler may have interrupted its holder

    def report(self, event: Event) -> None:
        """Pass an event to the sinks."""
        self._outcomes.put(event)

    def run(self) -> Counts:
        """Run until the source ends, `request_stop`, or ``max_frames``.

        Returns
        -------
        Counts
            With none in flight.

        Raises
        ------
        WriteError
            If a sink could not write.
        RunError
            If the source broke, or frame after frame failed.
        """
        acquire = threading.Thread(target=self._acquire, name="acquire", daemon=True)
        write = threading.Thread(target=self._write, name="write", daemon=True)
        write.start()
        acquire.start()
        try:
            self._segment_all()
        finally:
            self._stop_source()
            acquire.join(JOIN_TIMEOUT_S)
            self._outcomes.close()
            write.join()
        self._raise_what_ended_the_run()
        return self.counters.counts

    # acquiring

    def _acquire(self) -> None:
        self.source.on_fault = self._on_fault
        try:
            with self.source:
                for frame in self.source:
                    self.counters.receive()
                    self.counters.drop(self._frames.put(self._arrive(frame)))
                    if self._enough():
                        break
        except Exception as error:  # a source that cannot go on; its frames so far are finished
            self._source_error = error
        finally:
            self._frames.close()

    def _arrive(self, frame: Frame) -> _Arrival[Prepared]:
        arrived = time.perf_counter()
        if self._frames.mode == "latest":
            return _Arrival(frame, arrived)  # it may well be dropped: spend nothing on it
        try:
            return _Arrival(frame, arrived, prepared=self.segmenter.prepare(frame))
        except Exception as error:  # whatever it is, it concerns this frame alone
            return _Arrival(frame, arrived, error=error)

    def _on_fault(self, fault: Fault) -> None:
        if fault.cost_a_frame:
            self.counters.receive()
            self._fail(fault.name, fault.reason)
        else:
            self._outcomes.put(Event("source", f"{fault.name}: {fault.reason}"))

    def _enough(self) -> bool:
        received = self.counters.counts.received
        return self.max_frames is not None and received >= self.max_frames

    # segmenting

    def _segment_all(self) -> None:
        while not self._frames.finished:
            self._wait_while_paused()
            if self._must_stop():
                self._stop_source()
            arrival = self._frames.get(STOP_LATENCY_S)
            if arrival is not None:
                self._segment(arrival)

    def _wait_while_paused(self) -> None:
        if not self.pause.paused:
            return
        self.report(Event("run", "paused by the operator"))
        while not self._must_stop() and not self.pause.wait(STOP_LATENCY_S):
            pass
        self.report(Event("run", "goes on"))

    def _must_stop(self) -> bool:
        hopeless = len(self._failures) >= MAX_FAILURES_IN_A_ROW
        return self._stop_requested or self._write_error is not None or hopeless

    def _segment(self, arrival: _Arrival[Prepared]) -> None:
        started = time.perf_counter()
        try:
            result = self._treat(arrival)
        except UnusableFrameError as error:
            self._fail(arrival.frame.id, str(error))
            return
        except Exception as error:  # whatever it is, it concerns this frame alone
            reason = str(error) or type(error).__name__
            self._fail(arrival.frame.id, reason)
            self._failures.append(f"{arrival.frame.id}: {reason}")
            return
        self._failures.clear()
        waited_ms = (started - arrival.arrived) * 1e3
        result = replace(result, milliseconds={**result.milliseconds, "waited": waited_ms})
        self._outcomes.put(_Outcome(result, arrival.arrived))

    def _treat(self, arrival: _Arrival[Prepared]) -> FrameResult:
        if arrival.error is not None:
            raise arrival.error
        prepared = arrival.prepared
        if prepared is None:
            prepared = self.segmenter.prepare(arrival.frame)
        return self.segmenter.segment(prepared)

    def _fail(self, name: str, reason: str) -> None:
        self.counters.fail()
        self._outcomes.put(Event("failed", reason, frame=name))

    def _stop_source(self) -> None:
        self.source.stop()
        self.counters.drop(self._frames.close(discard=True))

    # writing

    def _write(self) -> None:
        while not self._outcomes.finished:
            outcome = self._outcomes.get()
            if outcome is not None:
                self._write_one(outcome)
                if self.on_progress is not None:
                    self.on_progress(self.counters.counts)
        for sink in self.sinks:
            self._guarded(sink.close)

    def _write_one(self, outcome: _Outcome | Event) -> None:
        if isinstance(outcome, Event):
            for sink in self.sinks:
                self._guarded(partial(sink.report, outcome))
            return
        for sink in self.sinks:
            self._guarded(partial(sink.write, outcome.result))
        if self._write_error is None:
            self.counters.finish((time.perf_counter() - outcome.arrived) * 1e3)
        else:
            self.counters.fail()

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write unless writing has failed before: nothing may follow a gap."""
        if self._write_error is None:
            try:
                write()
            except Exception as error:  # OSError above all: the disk is full, the drive is away
                self._write_error = error

    def _raise_what_ended_the_run(self) -> None:
        if self._write_error is not None:
            raise WriteError(
                f"results cannot be written ({self._write_error}); what was written before is "
                "complete: free some space, then go on with --resume"
            ) from self._write_error
        if self._source_error is not None:
            raise RunError(f"the source broke: {self._source_error}") from self._source_error
        if len(self._failures) >= MAX_FAILURES_IN_A_ROW:
            raise RunError(
                f"{MAX_FAILURES_IN_A_ROW} frames in a row failed, the last with: "
                f"{self._failures[-1]}"
            )
