from __future__ import annotations

import threading
import time

import pytest

from samstar_rl.settings import Settings
from samstar_rl.sources.base import MemorySource
from samstar_rl.streaming.runner import Runner
from samstar_rl.streaming.supervision.switches import PauseSwitch, TunerSwitch
from samstar_rl.tuning.wrapper import TunerWrapper


class Named:
    def __init__(self, name: str, *, searches: bool = False) -> None:
        self.name, self.searches, self.n_resets = name, searches, 0

    def reset(self) -> None:
        self.n_resets += 1

    def propose(self, context: object) -> Settings:
        return Settings(points_per_side=len(self.name))


class Collector:
    def __init__(self) -> None:
        self.frames: list[str] = []
        self.messages: list[str] = []

    def write(self, result) -> None:
        self.frames.append(result.frame.id)

    def report(self, event) -> None:
        self.messages.append(event.message)

    def close(self) -> None:
        pass


def wait_until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("queue", ["all", "latest"])
def test_while_paused_nothing_is_segmented_and_counters_add_up(frames, segmenter, queue):
    pause, sink = PauseSwitch(), Collector()
    source = MemorySource(frames(30), interval_s=0.01, live=queue == "latest")
    runner = Runner(source, segmenter(), [sink], queue=queue, pause=pause)
    pause.pause()
    thread = threading.Thread(target=runner.run)
    thread.start()
    wait_until(lambda: sink.messages == ["paused by the operator"])
    wait_until(lambda: runner.counters.counts.received >= (20 if queue == "latest" else 3))
    assert sink.frames == []
    pause.resume()
    thread.join(20)
    counts = runner.counters.counts
    assert sink.messages == ["paused by the operator", "goes on", "ended: no more frames"]
    assert counts.in_flight == 0 and counts.done == len(sink.frames) > 0
    assert counts.dropped == (0 if queue == "all" else 30 - counts.done)


def test_a_paused_run_can_be_stopped(frames, segmenter):
    pause = PauseSwitch()
    pause.pause()
    runner = Runner(MemorySource(frames(9)), segmenter(), [Collector()], queue="all", pause=pause)
    threading.Timer(0.2, runner.request_stop).start()
    counts = runner.run()
    assert counts.done == 0 and counts.in_flight == 0


def test_another_tuner_chooses_from_the_next_frame_on_and_it_is_said():
    one, other = Named("one"), Named("other", searches=True)
    switch = TunerSwitch({"one": one, "other": other})
    switch.reset()
    assert switch.propose(None).points_per_side == 3 and switch.name == "one"
    switch.choose("other")
    assert switch.searches and switch.name == "one"  # of who chose last
    assert switch.propose(None).points_per_side == 5 and switch.name == "other"
    assert switch.take_notes() == ["operator: other chooses from here on"]
    assert other.n_resets == 2 and one.n_resets == 1
    switch.propose(None)
    assert switch.take_notes() == []


def test_a_watched_tuner_of_the_switch_is_watched():
    inner = TunerWrapper(Named("inner"))
    switch = TunerSwitch({"inner": inner})
    inner.note("seen")
    assert switch.take_notes() == ["seen"]


def test_an_unknown_tuner_is_refused():
    with pytest.raises(ValueError, match="expected one of one"):
        TunerSwitch({"one": Named("one")}).choose("two")
    with pytest.raises(ValueError, match="at least one"):
        TunerSwitch({})
