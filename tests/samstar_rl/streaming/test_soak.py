"""A long run: memory stands still, no descriptor is lost, every frame is accounted for.

SAM is replaced by a stub; everything else is what `samstar deploy` runs, sinks included.
SAMSTAR_SOAK_FRAMES sets another length, for a first try.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from samstar_rl.frames.frame import Frame
from samstar_rl.results.result import FrameResult
from samstar_rl.sources.base import Fault, SourceBase
from samstar_rl.streaming.counters import Counters
from samstar_rl.streaming.dashboard import LiveState
from samstar_rl.streaming.events import Event
from samstar_rl.streaming.feed import Feed
from samstar_rl.streaming.output_folder import OutputFolder
from samstar_rl.streaming.runner import Runner
from samstar_rl.streaming.sinks import FolderSink, JournalSink, TensorBoardSink
from samstar_rl.tasks.task import load_task

N_FRAMES = int(os.environ.get("SAMSTAR_SOAK_FRAMES", "8000"))
# one in so many frames is bad, of each kind
BAD_EVERY = 97
GROWTH = 0.02


class LongSource(SourceBase):
    """Small frames, some of which are lost, and some cannot be segmented."""

    def __init__(self, frames: list[Frame], interval_s: float) -> None:
        super().__init__()
        self.frames = frames
        self.interval_s = interval_s

    def __iter__(self) -> Iterator[Frame]:
        for number in range(N_FRAMES):
            self.wait(self.interval_s)
            if self.stopped:
                return
            kind = "bad" if number % BAD_EVERY == 1 else "good"
            frame = self.frames[number % len(self.frames)]
            if number % BAD_EVERY == 2:
                self.on_fault(Fault(f"{number}", "a wrong reply"))
            else:
                yield Frame(frame.image, 2.0, f"{kind}{number:06d}", float(number))


class Sweeper:
    """Takes the files away again, as whoever collects results does, and watches the process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_written = 0
        self.megabytes: list[float] = []
        self.descriptors: list[int] = []

    def write(self, result: FrameResult) -> None:
        for path in self.folder.glob(f"{result.frame.id}.*"):
            path.unlink()
        self.n_written += 1
        if self.n_written % max(1, N_FRAMES // 1000) == 0:
            self.megabytes.append(resident_mb())
            self.descriptors.append(len(os.listdir("/proc/self/fd")))

    def report(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize(("queue", "interval_s"), [("all", 0.0), ("latest", 0.004)])
def test_a_long_run_leaves_nothing_behind(tmp_path, frames, segmenter, queue, interval_s):
    threads = {thread.name for thread in threading.enumerate()}
    before = len(os.listdir("/proc/self/fd"))
    counters = Counters()
    with OutputFolder(tmp_path) as folder, Feed(counters) as feed:
        sweeper = Sweeper(tmp_path)
        state = LiveState(load_task("particles"), counters)
        formats = ("csv",)  # the disk, not the loop, would set the pace with all of them
        sinks = [
            FolderSink(folder.path, picture_every=100, formats=formats), sweeper,
            JournalSink(folder.journal), TensorBoardSink(folder.run.tensorboard), feed, state,
        ]  # fmt: skip
        stub = segmenter(failing=lambda frame_id: frame_id.startswith("bad"))
        stub.treated = Forgetful()
        source = LongSource(frames(20), interval_s)
        counts = Runner(source, stub, sinks, queue=queue, counters=counters).run()
    assert counts.received == N_FRAMES == counts.done + counts.dropped + counts.failed
    assert counts.done == sweeper.n_written > 0
    assert counts.dropped == 0 or queue == "latest"
    n_bad = len(range(1, N_FRAMES, BAD_EVERY)) + len(range(2, N_FRAMES, BAD_EVERY))
    assert counts.failed == n_bad if queue == "all" else counts.failed <= n_bad
    assert len(os.listdir("/proc/self/fd")) <= before
    # a file may be open just when it is looked: what is lost for good raises the median
    n_looks = len(sweeper.descriptors) // 4
    early, late = sweeper.descriptors[n_looks : 2 * n_looks], sweeper.descriptors[-n_looks:]
    assert np.median(late) <= np.median(early)
    assert {thread.name for thread in threading.enumerate()} <= threads
    quarter = len(sweeper.megabytes) // 4
    assert quarter > 1, "too few frames to judge the memory by"
    second = np.mean(sweeper.megabytes[quarter : 2 * quarter])
    last = np.mean(sweeper.megabytes[-quarter:])
    # what earlier tests left behind may be freed meanwhile: only growth is a leak
    assert last / second - 1 <= GROWTH, f"{second:.1f} MiB, at the end {last:.1f} MiB"


class Forgetful(list):
    """The stub's record of frames, which a long run has no use for."""

    def append(self, item: str) -> None:
        pass
