from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samstar_rl.frames.frame import Frame
from samstar_rl.frames.quality import UnusableFrameError
from samstar_rl.results.result import WRITERS, FrameResult
from samstar_rl.sources.base import Fault, MemorySource
from samstar_rl.sources.instruments.base import InstrumentSource, RefusedError
from samstar_rl.streaming.events import Event
from samstar_rl.streaming.pacing import JustInTime
from samstar_rl.streaming.runner import MAX_FAILURES_IN_A_ROW, RunError, Runner, WriteError
from samstar_rl.streaming.sinks import FolderSink, JournalSink, read_journal
from samstar_rl.streaming.supervision.switches import PauseSwitch


class Collector:
    """A sink in memory."""

    def __init__(self, full_after: int | None = None) -> None:
        self.results: list[FrameResult] = []
        self.events: list[Event] = []
        self.endings: list[str] = []
        self.closed = False
        self.full_after = full_after

    def write(self, result: FrameResult) -> None:
        if self.full_after is not None and len(self.results) >= self.full_after:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.results.append(result)

    def report(self, event: Event) -> None:
        if event.kind == "run":
            self.endings.append(event.message)
        else:
            self.events.append(event)

    def close(self) -> None:
        self.closed = True


def test_every_frame_of_a_file_is_done_in_order(frames, segmenter, tmp_path):
    folder = FolderSink(tmp_path, picture_every=1)
    sinks = [Collector(), folder, JournalSink(tmp_path / "frames.jsonl")]
    counts = Runner(MemorySource(frames(12)), segmenter(), sinks, queue="all").run()
    assert (counts.received, counts.done, counts.in_flight) == (12, 12, 0)
    assert [result.frame.id for result in sinks[0].results] == [f.id for f in frames(12)]
    assert sinks[0].closed
    assert len(list(tmp_path.glob("f0*"))) == 12 * len(WRITERS)
    *lines, last = read_journal(tmp_path / "frames.jsonl")
    assert [line["frame"] for line in lines] == [f.id for f in frames(12)]
    assert sinks[0].endings == [last["message"]] == ["ended: no more frames"]
    assert {"settings", "terms", "score", "milliseconds", "notes"} <= set(lines[0])
    assert lines[0]["milliseconds"]["waited"] >= 0


def test_the_newest_frame_wins_and_drops_are_counted(frames, segmenter):
    sink = Collector()
    source = MemorySource(frames(60), interval_s=0.005)
    counts = Runner(source, segmenter(seconds=0.05), [sink], queue="latest").run()
    assert counts.received == 60 == counts.done + counts.dropped
    assert counts.dropped > 20
    ids = [result.frame.id for result in sink.results]
    assert ids == sorted(ids) and ids[-1] == "f00059"


def test_a_frame_that_fails_is_reported_and_the_next_one_is_done(frames, segmenter):
    sink = Collector()
    stub = segmenter(failing=lambda frame_id: frame_id in ("f00001", "f00003"))
    counts = Runner(MemorySource(frames(5)), stub, [sink], queue="all").run()
    assert (counts.done, counts.failed) == (3, 2)
    assert [event.frame for event in sink.events] == ["f00001", "f00003"]
    assert "cannot be segmented" in sink.events[0].message


def test_unreadable_files_count_as_failed_and_lost_connections_do_not(frames, segmenter):
    sink = Collector()
    items: list[Frame | Fault] = [*frames(2)]
    items[1:1] = [Fault("a.png", "damaged"), Fault("host", "is away", cost_a_frame=False)]
    counts = Runner(MemorySource(items), segmenter(), [sink], queue="all").run()
    assert (counts.received, counts.done, counts.failed) == (3, 2, 1)
    assert {(event.kind, event.frame) for event in sink.events} == {
        ("failed", "a.png"),
        ("source", None),
    }


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.sampled_from(["good", "bad", "blank", "fault"]), max_size=25),
    st.sampled_from(["all", "latest"]),
)
def test_counters_add_up_whatever_comes(result, fates, queue):
    class Fated:
        def prepare(self, frame: Frame) -> Frame:
            if frame.id.startswith("blank"):
                raise UnusableFrameError("blank")
            return frame

        def segment(self, prepared: Frame) -> FrameResult:
            if prepared.id.startswith("bad"):
                raise RuntimeError("no")
            return good

    good, image = result(0), np.zeros((2, 2), np.float32)
    items = [
        Fault(f"fault{i}", "?") if fate == "fault" else Frame(image, id=f"{fate}{i}")
        for i, fate in enumerate(fates)
    ]
    sink = Collector()
    runner = Runner(MemorySource(items), Fated(), [sink], queue=queue)
    try:
        runner.run()
    except RunError:
        only_faults = bool(fates) and set(fates) == {"fault"}
        assert only_faults or fates.count("bad") >= MAX_FAILURES_IN_A_ROW
    counts = runner.counters.counts
    assert counts.in_flight == 0
    assert counts.received <= len(fates)
    assert (len(sink.results), len(sink.events)) == (counts.done, counts.failed)


def test_a_full_disk_ends_the_run_and_loses_nothing_written(frames, segmenter, tmp_path):
    class FullDisk(FolderSink):
        n = 0

        def write(self, result: FrameResult) -> None:
            FullDisk.n += 1
            if FullDisk.n > 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(result)

    journal = JournalSink(tmp_path / "frames.jsonl")
    runner = Runner(
        MemorySource(frames(50)), segmenter(), [FullDisk(tmp_path), journal], queue="all"
    )
    with pytest.raises(WriteError, match=r"No space left.*--resume"):
        runner.run()
    counts = runner.counters.counts
    assert counts.done == 3 and counts.in_flight == 0
    *lines, last = read_journal(tmp_path / "frames.jsonl")
    assert len(lines) == 3 and "No space left" in last["message"]
    assert len(list(tmp_path.glob("f*.json"))) == 3
    assert not list(tmp_path.glob(".*"))


def test_a_source_that_breaks_ends_the_run_after_its_frames(frames, segmenter):
    def broken() -> Iterator[Frame]:
        yield from frames(3)
        raise OSError("the cable was pulled")

    sink = Collector()
    with pytest.raises(RunError, match="cable"):
        Runner(MemorySource(broken()), segmenter(), [sink], queue="all").run()
    assert len(sink.results) == 3


def test_when_nothing_works_the_run_ends_with_the_reason(frames, segmenter):
    stub = segmenter(failing=lambda frame_id: True)
    runner = Runner(MemorySource(frames(100)), stub, [Collector()], queue="all")
    with pytest.raises(RunError, match="cannot be segmented"):
        runner.run()
    counts = runner.counters.counts
    assert counts.failed >= MAX_FAILURES_IN_A_ROW and counts.in_flight == 0
    assert counts.received < 100


def test_a_request_to_stop_finishes_the_frame_in_work(frames, segmenter):
    sink = Collector()
    runner = Runner(MemorySource(frames(100)), segmenter(seconds=0.05), [sink], queue="all")
    threading.Timer(0.3, runner.request_stop).start()
    counts = runner.run()
    assert 0 < counts.done < 100
    assert counts.in_flight == 0 and len(sink.results) == counts.done


def test_a_silent_source_does_not_delay_the_stop(frames, segmenter):
    runner = Runner(MemorySource(frames(2), interval_s=60.0), segmenter(), [], queue="latest")
    threading.Timer(0.1, runner.request_stop).start()
    started = time.monotonic()
    runner.run()
    assert time.monotonic() - started < 5


def test_no_more_than_asked_for_are_taken(frames, segmenter):
    counts = Runner(MemorySource(frames(9)), segmenter(), [], queue="all", max_frames=4).run()
    assert counts.received == counts.done == 4


@pytest.mark.parametrize("queue", ["all", "latest"])
def test_as_many_as_asked_for_are_done_whatever_is_dropped_or_fails(frames, segmenter, queue):
    stub = segmenter(seconds=0.02, failing=lambda frame_id: frame_id in ("f00001", "f00002"))
    sink = Collector()
    source = MemorySource(frames(300), interval_s=0.005, live=queue == "latest")
    counts = Runner(source, stub, [sink], queue=queue, max_frames=5).run()
    assert counts.done == len(sink.results) == 5 and counts.in_flight == 0
    assert sink.endings == ["ended: 5 frames are done"]
    if queue == "latest":
        assert counts.dropped > 0 and counts.received < 300
    else:
        assert (counts.received, counts.failed) == (7, 2)


class Acquiring(InstrumentSource):
    """Takes an image at each request, and counts them; it may hang or refuse."""

    def __init__(self, image, *, seconds: float = 0.0, refuses_after: int | None = None) -> None:
        super().__init__("acquiring")
        self.image, self.seconds, self.refuses_after = image, seconds, refuses_after
        self.n_scans = 0

    def acquire(self):
        self.n_scans += 1
        if self.refuses_after is not None and self.n_scans > self.refuses_after:
            raise RefusedError("the column valves are closed")
        time.sleep(self.seconds)
        return self.image


@pytest.mark.parametrize("queue", ["all", "latest"])
def test_an_instrument_scans_once_a_segmented_frame(frames, segmenter, queue):
    source = Acquiring(frames(1)[0].image)
    counts = Runner(source, segmenter(seconds=0.03), [], queue=queue, max_frames=20).run()
    assert counts.done == 20 and counts.dropped == 0
    assert source.n_scans <= 1.1 * counts.done


def test_an_instrument_is_not_asked_while_the_run_is_paused(frames, segmenter):
    pause, source = PauseSwitch(), Acquiring(frames(1)[0].image)
    runner = Runner(source, segmenter(seconds=0.01), [], queue="latest", pause=pause)
    thread = threading.Thread(target=runner.run)
    thread.start()
    while source.n_scans < 3:
        time.sleep(0.005)
    pause.pause()
    time.sleep(0.3)
    n_scans = source.n_scans
    time.sleep(0.3)
    assert source.n_scans == n_scans
    runner.request_stop()
    thread.join(10)
    assert not thread.is_alive()


def test_a_refusal_ends_the_run_with_its_reason(frames, segmenter):
    source, sink = Acquiring(frames(1)[0].image, refuses_after=0), Collector()
    with pytest.raises(RunError, match="the column valves are closed"):
        Runner(source, segmenter(), [sink], queue="latest").run()
    assert source.n_scans == 1
    assert "the column valves are closed" in sink.endings[0]


def test_the_frame_that_is_segmented_is_new(frames, segmenter):
    """Segmenting takes 0.4 s and frames come every 0.02 s: none is older than a few of these."""

    class Dated(segmenter):
        ages: ClassVar[list[float]] = []

        def segment(self, prepared: Frame) -> FrameResult:
            self.ages.append(time.perf_counter() - born[prepared.id])
            return super().segment(prepared)

    born: dict[str, float] = {}

    def come() -> Iterator[Frame]:
        for frame in frames(150):
            time.sleep(0.02)
            born[frame.id] = time.perf_counter()
            yield frame

    source = MemorySource(come(), live=True)
    Runner(source, Dated(seconds=0.4), [Collector()], queue="latest").run()
    assert len(Dated.ages) >= 4
    # preparing one while another lies ready makes it 0.4 s
    assert np.median(Dated.ages) < 0.2


def test_an_instrument_that_gives_nothing_but_faults_ends_the_run(segmenter):
    class Away(InstrumentSource):
        def acquire(self):
            raise ConnectionRefusedError("refused: check the port")

    sink = Collector()
    runner = Runner(Away("away"), segmenter(), [sink], queue="latest", patience_s=0.5)
    with pytest.raises(RunError, match=r"nothing but faults, the last: away.*check the port"):
        runner.run()
    assert "check the port" in runner.last_fault


def test_files_of_which_none_can_be_read_end_the_run_as_a_failure(segmenter):
    source = MemorySource([Fault("a.png", "damaged")])
    with pytest.raises(RunError, match=r"nothing but faults, the last: a.png: damaged"):
        Runner(source, segmenter(), [Collector()], queue="all").run()


def test_remarks_are_no_faults(frames, segmenter):
    remark = Fault("host", "is connected", cost_a_frame=False, trouble=False)
    runner = Runner(MemorySource([remark, *frames(1)]), segmenter(), [], queue="all")
    assert runner.run().done == 1 and runner.last_fault is None
    assert Runner(MemorySource([remark]), segmenter(), [], queue="all").run().done == 0


def test_a_request_that_hangs_does_not_delay_the_stop(frames, segmenter):
    source = Acquiring(frames(1)[0].image, seconds=30.0)
    runner = Runner(source, segmenter(), [], queue="latest")
    threading.Timer(0.3, runner.request_stop).start()
    started = time.monotonic()
    assert runner.run().in_flight == 0
    assert time.monotonic() - started < 2.3
    assert not runner.in_work


def test_no_thread_and_no_descriptor_is_left(frames, segmenter, tmp_path):
    before = {thread.name for thread in threading.enumerate()}
    for n in range(3):
        sinks = [JournalSink(tmp_path / f"{n}.jsonl")]
        Runner(MemorySource(frames(3)), segmenter(), sinks, queue="all").run()
    assert {thread.name for thread in threading.enumerate()} <= before


def test_a_clock_that_jumps_back_costs_no_frame(frames, segmenter, tmp_path, monkeypatch):
    clock = iter([1000.0, 1001.0, 400.0, 401.0, 401.0, 1002.0])
    jumping = SimpleNamespace(time=lambda: next(clock), monotonic=time.monotonic)
    monkeypatch.setattr("samstar_rl.sources.instruments.base.time", jumping)
    sinks = [FolderSink(tmp_path, picture_every=0), JournalSink(tmp_path / "frames.jsonl")]
    source = Acquiring(frames(1)[0].image)
    counts = Runner(source, segmenter(), sinks, queue="all", max_frames=6).run()
    assert counts.done == 6 and counts.in_flight == 0
    lines = [line for line in read_journal(tmp_path / "frames.jsonl") if "score" in line]
    names = [line["frame"] for line in lines]
    assert len(set(names)) == 6 and names == sorted(names)
    assert [line["time"] for line in lines] == [1000.0, 1001.0, 400.0, 401.0, 401.0, 1002.0]
    assert all(line["milliseconds"]["waited"] >= 0 for line in lines)
    assert len(list(tmp_path.glob("*.labels.tif"))) == 6


def test_a_record_is_plain_json(result, tmp_path):
    record = json.loads(json.dumps(result(1).to_record(), allow_nan=False))
    assert record["n_particles"] == 3 and record["pixel_size_nm"] == 2.0


class Slow:
    """Takes its time for preparing and for segmenting, and so does its sink."""

    def __init__(self, make, seconds: float) -> None:
        self.make, self.seconds = make, seconds
        self.written: list[str] = []

    def prepare(self, frame: Frame) -> Frame:
        time.sleep(self.seconds)
        return frame

    def segment(self, prepared: Frame) -> FrameResult:
        time.sleep(self.seconds)
        return replace(self.make, frame=prepared)

    def write(self, result: FrameResult) -> None:
        time.sleep(self.seconds)
        self.written.append(result.frame.id)

    def report(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass


def test_acquiring_preparing_segmenting_and_writing_overlap(frames, result):
    slow, n, seconds = Slow(result(0), 0.05), 15, 0.05
    started = time.monotonic()
    Runner(MemorySource(frames(n), interval_s=seconds), slow, [slow], queue="all").run()
    assert time.monotonic() - started < 0.6 * 4 * n * seconds
    assert slow.written == [frame.id for frame in frames(n)]


def test_at_an_instrument_preparing_and_segmenting_overlap_too(frames, result):
    slow, seconds = Slow(result(0), 0.05), 0.05
    started = time.monotonic()
    source = MemorySource(frames(150), interval_s=0.01, live=True)
    counts = Runner(source, slow, [slow], queue="latest").run()
    one_after_the_other = (time.monotonic() - started) / (2 * seconds)
    assert counts.done > 1.3 * one_after_the_other
    assert counts.dropped > 0 and counts.in_flight == 0
    assert slow.written == sorted(slow.written) and slow.written[-1] == "f00149"


def test_a_result_that_cannot_be_written_as_it_is_costs_itself_alone(frames, segmenter, tmp_path):
    class Picky(Collector):
        def write(self, result: FrameResult) -> None:
            if result.frame.id == "f00002":
                raise ValueError("Out of range float values are not JSON compliant")
            super().write(result)

    sink, last = Picky(), Collector()
    counts = Runner(MemorySource(frames(5)), segmenter(), [sink, last], queue="all").run()
    assert (counts.done, counts.failed) == (4, 1)
    assert [event.frame for event in last.events] == ["f00002"] and "JSON" in last.events[0].message
    assert "f00002" not in [result.frame.id for result in last.results]


def test_whoever_still_can_is_told_why_the_run_ended_and_closed(frames, segmenter):
    full, page = Collector(full_after=2), Collector()
    runner = Runner(MemorySource(frames(9)), segmenter(), [full, page], queue="all")
    with pytest.raises(WriteError):
        runner.run()
    assert len(page.endings) == 1 and "No space left" in page.endings[0]
    assert full.closed and page.closed
    assert len(page.results) == 2  # nothing follows the gap


def test_a_console_that_has_gone_does_not_end_the_run(frames, segmenter):
    def broken_pipe(counts: object) -> None:
        raise BrokenPipeError

    runner = Runner(MemorySource(frames(12)), segmenter(), [Collector()], queue="all")
    runner.on_progress = broken_pipe
    assert runner.run().done == 12


def test_after_a_pause_no_frame_from_before_it_is_segmented(frames, segmenter):
    pause, sink = PauseSwitch(), Collector()
    source = MemorySource(frames(100), interval_s=0.01, live=True)
    runner = Runner(source, segmenter(seconds=0.03), [sink], queue="latest", pause=pause)
    thread = threading.Thread(target=runner.run)
    thread.start()
    while not sink.results:
        time.sleep(0.005)
    pause.pause()
    while "paused by the operator" not in sink.endings:
        time.sleep(0.005)
    n_before, n_received = len(sink.results), runner.counters.counts.received
    while runner.counters.counts.received < n_received + 20:
        time.sleep(0.005)
    newest = runner.counters.counts.received - 2
    pause.resume()
    thread.join(20)
    assert int(sink.results[n_before].frame.id[1:]) >= newest
    assert runner.counters.counts.in_flight == 0


def test_the_next_frame_is_prepared_just_in_time():
    pace = JustInTime()
    assert pace.wait(0)  # nothing is segmented
    with pace.preparing():
        time.sleep(0.05)
    with pace.segmenting():
        time.sleep(0.2)
    with pace.segmenting():
        started = time.perf_counter()
        assert not pace.wait(0.05)
        assert pace.wait(10)
        assert time.perf_counter() - started >= 0.1
