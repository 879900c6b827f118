"""The live loop: acquire, prepare, segment and write side by side, until the source ends.

    source -> [acquire] -> frames -> [prepare] -> ready -> [segment] -> outcomes -> [write] -> sinks

Each stage is a thread; segmenting is the caller's own. While a frame is decoded the next one is
prepared (encoded), the one after it acquired, and the one before it written. Whatever goes wrong
with one frame is reported and counted; only results that cannot be written end the run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

from samstar_rl.errors import SamstarError
from samstar_rl.frames.quality import UnusableFrameError
from samstar_rl.streaming.counters import Counters, Counts
from samstar_rl.streaming.events import Event
from samstar_rl.streaming.pacing import JustInTime
from samstar_rl.streaming.queue import QueueMode, StreamQueue
from samstar_rl.streaming.supervision.switches import PauseSwitch

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.results.result import FrameResult
    from samstar_rl.sources.base import Fault, Source
    from samstar_rl.streaming.sinks import Sink

# so many errors one after the other mean that the next frame will not fare better
MAX_FAILURES_IN_A_ROW = 20
# how long a request to stop may go unnoticed while the source is silent
STOP_LATENCY_S = 0.2
# preparing a frame is seen to its end; a source that still hangs after `stop` is left behind
PREPARE_JOIN_S, ACQUIRE_JOIN_S = 15.0, 1.0
# a source that has given nothing but faults for so long is taken for misconfigured
PATIENCE_S = 30.0

Prepared = TypeVar("Prepared")


class RunError(SamstarError):
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
class _Arrival:
    """A frame, its number among all that came, and the time at which it came."""

    frame: Frame
    number: int
    arrived: float


@dataclass(frozen=True)
class _Ready(Generic[Prepared]):
    """A frame that was taken from the queue, and what preparing has made of it."""

    arrival: _Arrival
    taken: float
    seconds: float
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
        Stop when so many are done. Of a source that waits no more are taken than that needs.
    counters : Counters, optional
        To be shared with whoever shows them.
    pause : PauseSwitch, optional
        While it says so no frame is segmented: at an instrument the newest one waits and the
        others are dropped; a file's frames all wait.
    patience_s : float
        End the run when a live source has given nothing but faults for so long, no frame at all;
        0 waits for ever.
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
        pause: PauseSwitch | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.source = source
        self.segmenter = segmenter
        self.sinks = sinks
        self.max_frames = max_frames
        #: called with the counts after each frame, in the writing thread
        self.on_progress: Callable[[Counts], None] | None = None
        self.counters = counters or Counters()
        self.pause = pause or PauseSwitch()
        self.patience_s = patience_s
        #: what went wrong last, until a frame is done
        self.last_fault: str | None = None
        self._frames: StreamQueue[_Arrival] = StreamQueue(queue)
        self._ready: StreamQueue[_Ready[Prepared]] = StreamQueue("all", 1)
        self._outcomes: StreamQueue[_Outcome | Event] = StreamQueue("all", 4)
        self._pace = JustInTime()
        self._n_arrived = 0
        self._n_results = 0
        self._n_faults = 0
        self._n_skipped = 0
        self._troubled_since: float | None = None
        self._left_source = False
        self._stop_requested = False
        self._source_error: Exception | None = None
        self._write_error: Exception | None = None
        self._failures: list[str] = []
        self._failed_writes: list[str] = []

    def request_stop(self) -> None:
        """Finish the frame in work and end; safe to call from a signal handler or any thread."""
        self._stop_requested = True  # no lock: the handler may have interrupted its holder

    @property
    def in_work(self) -> bool:
        """Whether a frame is being segmented, which a request to stop waits for."""
        return self._pace.busy

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
            If the source broke or gave nothing but faults, or frame after frame failed.
        """
        write, prepare, acquire = (
            threading.Thread(target=stage, name=name, daemon=True)
            for name, stage in (
                ("write", self._write), ("prepare", self._prepare), ("acquire", self._acquire),
            )
        )  # fmt: skip
        for thread in (write, prepare, acquire):
            thread.start()
        try:
            self._segment_all()
        finally:
            self._stop_source()
            acquire.join(ACQUIRE_JOIN_S)
            self._left_source = True
            prepare.join(PREPARE_JOIN_S)
            self._outcomes.close()
            write.join()
        error = self._what_ended_the_run()
        if error is not None:
            raise error from (self._write_error or self._source_error)
        return self.counters.counts

    # acquiring

    def _acquire(self) -> None:
        self.source.on_fault = self._on_fault
        skip = self.source.skip

        def skip_and_count(frame_id: str) -> bool:
            skipped = skip(frame_id)
            self._n_skipped += skipped
            return skipped

        self.source.skip = skip_and_count
        try:
            with self.source:
                frames = iter(self.source)
                while self._wait_until_wanted():
                    with self._pace.acquiring() if self.source.on_request else nullcontext():
                        frame = next(frames, None)
                    if frame is None or self._left_source:
                        break
                    self.counters.receive()
                    self._n_arrived += 1
                    arrival = _Arrival(frame, self._n_arrived, time.perf_counter())
                    self.counters.drop(self._frames.put(arrival))
        except Exception as error:  # a source that cannot go on; its frames so far are finished
            self._source_error = error
        finally:
            self._frames.close()

    def _wait_until_wanted(self) -> bool:
        """Wait until the source may be asked for a frame; False if it no longer will be."""
        while not self._must_stop():
            # those that push do not ask whether another frame can be among the ``max_frames``
            waits = self.source.on_request or self._frames.mode == "all"
            if waits and not self._leaves_room(self.counters.counts):
                self.counters.wait_for(self._leaves_room, STOP_LATENCY_S)
            elif not self.source.on_request or self._frames.wait_for_taker(STOP_LATENCY_S):
                return True
        return False

    def _leaves_room(self, counts: Counts) -> bool:
        return self.max_frames is None or counts.done + counts.in_flight < self.max_frames

    def _on_fault(self, fault: Fault) -> None:
        if self._left_source:
            return
        if fault.trouble:
            self._n_faults += 1
            self._troubled_since = self._troubled_since or time.monotonic()
            self.last_fault = f"{fault.name}: {fault.reason}"
        else:
            self._troubled_since = None
        if fault.cost_a_frame:
            self.counters.receive()
            self._fail(fault.name, fault.reason)
        else:
            words = f"{fault.name}: {fault.reason}"
            self._outcomes.put(Event("source", words, trouble=fault.trouble))

    def _is_enough(self) -> bool:
        return self.max_frames is not None and self.counters.counts.done >= self.max_frames

    def _is_out_of_patience(self) -> bool:
        """Whether an instrument has given nothing but faults for too long."""
        since = self._troubled_since
        return (
            self.source.live
            and self._n_arrived == 0
            and since is not None
            and 0 < self.patience_s < time.monotonic() - since
        )

    # preparing

    def _prepare(self) -> None:
        try:
            while not self._frames.finished:
                # at an instrument the later the fresher; otherwise the order is fixed anyway
                in_time = self._frames.mode == "all" or self._pace.wait(STOP_LATENCY_S)
                if not in_time or not (self.pause.wait(STOP_LATENCY_S) or self._must_stop()):
                    continue
                arrival = self._frames.get(STOP_LATENCY_S)
                if arrival is None:
                    continue
                taken, prepared, failure = time.perf_counter(), None, None
                try:
                    with self._pace.preparing():
                        prepared = self.segmenter.prepare(arrival.frame)
                except Exception as error:  # whatever it is, it concerns this frame alone
                    failure = error
                seconds = time.perf_counter() - taken
                self.counters.drop(
                    self._ready.put(_Ready(arrival, taken, seconds, prepared, failure))
                )
        finally:
            self._ready.close()

    # segmenting

    def _segment_all(self) -> None:
        while not self._ready.finished:
            if self.pause.paused:
                self.report(Event("run", "paused by the operator"))
                while not self._must_stop() and not self.pause.wait(STOP_LATENCY_S):
                    pass
                if not self.pause.paused:
                    self.report(Event("run", "goes on"))
            if self._must_stop():
                self._stop_source()
            if self._n_results == self.max_frames and not self._must_stop():
                self.counters.wait_for(lambda _: self._is_enough(), STOP_LATENCY_S)
                continue
            ready = self._ready.get(STOP_LATENCY_S)
            if ready is None:
                continue
            if self._is_stale(ready):
                self._pace.leave_out()
                self.counters.drop()
            elif ready.error is not None:
                self._pace.leave_out()
                self._give_up(ready.arrival.frame, ready.error)
            else:
                with self._pace.segmenting():
                    self._segment(ready)

    def _is_stale(self, ready: _Ready[Prepared]) -> bool:
        """Whether a frame was prepared before a pause, and newer ones have come since."""
        if self._frames.mode == "all" or ready.taken > self.pause.resumed_at:
            return False
        return ready.arrival.number < self._n_arrived

    def _must_stop(self) -> bool:
        longest = max(len(self._failures), len(self._failed_writes))
        hopeless = longest >= MAX_FAILURES_IN_A_ROW or self._is_out_of_patience()
        ended = self._stop_requested or self._write_error is not None
        return ended or hopeless or self._is_enough()

    def _segment(self, ready: _Ready[Prepared]) -> None:
        arrival = ready.arrival
        waited_s = max(0.0, time.perf_counter() - arrival.arrived - ready.seconds)
        try:
            result = self.segmenter.segment(cast(Prepared, ready.prepared))
        except Exception as error:  # whatever it is, it concerns this frame alone
            self._give_up(arrival.frame, error)
            return
        self._failures.clear()
        self._n_results += 1
        milliseconds = {"waited": waited_s * 1e3, **result.milliseconds}
        result = replace(result, milliseconds=milliseconds)
        self._outcomes.put(_Outcome(result, arrival.arrived))

    def _give_up(self, frame: Frame, error: Exception) -> None:
        """Report a frame that cannot be treated; one that is of no use says nothing of the next."""
        reason = str(error) or type(error).__name__
        self._fail(frame.id, reason)
        if not isinstance(error, UnusableFrameError):
            self._failures.append(f"{frame.id}: {reason}")

    def _fail(self, name: str, reason: str) -> None:
        self.last_fault = f"{name}: {reason}"
        self.counters.fail()
        self._outcomes.put(Event("failed", reason, frame=name, trouble=True))

    def _stop_source(self) -> None:
        self.source.stop()
        self.counters.drop(self._frames.close(discard=True) + self._ready.close(discard=True))

    # writing

    def _write(self) -> None:
        while not self._outcomes.finished:
            outcome = self._outcomes.get()
            if isinstance(outcome, Event):
                self._tell(outcome)
            elif outcome is not None:
                self._write_result(outcome)
            if self.on_progress is not None:
                with suppress(Exception):  # a console that has gone must not end the run
                    self.on_progress(self.counters.counts)
        self._tell(Event("run", self._ending()))
        for sink in self.sinks:
            self._guarded(sink.close)

    def _write_result(self, outcome: _Outcome) -> None:
        """Nothing may follow a gap: after an error of the disk no result is written."""
        for sink in self.sinks:
            if self._write_error is not None:
                break
            try:
                sink.write(outcome.result)
            except OSError as error:  # the disk is full, the drive is away
                self._write_error = error
            except Exception as error:  # whatever it is, it concerns this frame alone
                frame_id = outcome.result.frame.id
                reason = f"its results cannot be written: {str(error) or type(error).__name__}"
                self._failed_writes.append(f"{frame_id}: {reason}")
                self._n_results -= 1
                self.counters.fail()
                self._tell(Event("failed", reason, frame=frame_id, trouble=True))
                return
        if self._write_error is None:
            self._failed_writes.clear()
            self.last_fault = None
            self.counters.finish((time.perf_counter() - outcome.arrived) * 1e3)
        else:
            self.counters.fail()

    def _tell(self, event: Event) -> None:
        """Whoever can still be told is told, also of what ended the run."""
        for sink in self.sinks:
            self._guarded(partial(sink.report, event))

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except OSError as error:
            self._write_error = self._write_error or error
        except Exception:  # an event that a sink cannot show is no reason to end a run
            logging.getLogger(__name__).exception("a sink broke")

    def _ending(self) -> str:
        """Why the run ends, for people."""
        error = self._what_ended_the_run()
        if error is not None:
            return f"ended: {error}"
        if self._stop_requested:
            return "stopped by the operator"
        if self._is_enough():
            return f"ended: {self.max_frames} frames are done"
        return "ended: no more frames"

    def _what_ended_the_run(self) -> RunError | None:
        if self._write_error is not None:
            return WriteError(
                f"results cannot be written ({self._write_error}); what was written before is "
                "complete: free some space, then go on with --resume"
            )
        if self._source_error is not None:
            return RunError(f"the source broke: {self._source_error}")
        delivered = self._n_arrived + self._n_skipped
        if self._n_faults and not delivered and not self._stop_requested:
            return RunError(f"the source gave nothing but faults, the last: {self.last_fault}")
        failures = max(self._failures, self._failed_writes, key=len)
        if len(failures) >= MAX_FAILURES_IN_A_ROW:
            return RunError(
                f"{MAX_FAILURES_IN_A_ROW} frames in a row failed, the last with: {failures[-1]}"
            )
        return None
