"""The live loop: its throughput beside the bare engine's, its latency when frames come steadily."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmenter import Segmenter
from samstar_rl.simulator import SimulatedStream
from samstar_rl.sources.base import MemorySource, SourceBase
from samstar_rl.streaming.counters import Counters
from samstar_rl.streaming.dashboard import LiveState
from samstar_rl.streaming.feed import Feed
from samstar_rl.streaming.output_folder import OutputFolder
from samstar_rl.streaming.queue import QueueMode
from samstar_rl.streaming.runner import Runner
from samstar_rl.streaming.sinks import FolderSink, JournalSink, Sink, TensorBoardSink
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.objective import Objective
from tests.benchmarks.report import Row

THROUGHPUT_REQUIRED, LATENCY_ALLOWED, LOAD = 0.95, 2.0, 0.8
STREAM_SEED = 650_000


class PacedSource(SourceBase):
    """Frames that come at an instrument's pace, whoever is ready."""

    live = True

    def __init__(self, frames: list[Frame], interval_s: float) -> None:
        super().__init__()
        self.frames = frames
        self.interval_s = interval_s

    def __iter__(self) -> Iterator[Frame]:
        started = time.perf_counter()
        for number, frame in enumerate(self.frames):
            self.wait(max(0.0, started + number * self.interval_s - time.perf_counter()))
            if self.stopped:
                return
            yield frame


def measure(items: list[LabelledFrame], *, n_rounds: int, n_paced: int) -> list[Row]:
    """Bare engine and loop in turn on the same frames; then the loop at a share of that pace."""
    frames = [item.frame for item in items]
    task, engine = load_task("particles"), ProposalEngine(load_sam("tiny"))
    objective = Objective(task)

    def segmenter() -> Segmenter:
        return Segmenter(objective, engine)

    def bare(fresh: list[Frame]) -> tuple[float, float]:
        """Frames a second of the engine, and of the engine with the score of each frame."""
        scored, started = 0.0, time.perf_counter()
        for frame in fresh:
            found = engine.segment(frame, task.static, **objective.physics.gauge(frame))
            begun = time.perf_counter()
            objective.physics.score(found, frame)
            scored += time.perf_counter() - begun
        seconds = time.perf_counter() - started
        return len(fresh) / (seconds - scored), len(fresh) / seconds

    def loop(fresh: list[Frame]) -> float:
        with all_sinks(counters := Counters()) as sinks:
            runner = Runner(MemorySource(fresh), segmenter(), sinks, queue="all", counters=counters)
            started = time.perf_counter()
            runner.run()
            seconds = time.perf_counter() - started
        return counters.counts.done / seconds

    bare(frames)  # the first call allocates
    # what is remembered of a frame must not help the second who meets it
    rates = [
        (*bare(_moved(frames, 2 * number + 1)), loop(_moved(frames, 2 * number + 2)))
        for number in range(n_rounds)
    ]
    engine_rate, bare_rate, ours = (float(np.median(column)) for column in zip(*rates, strict=True))
    spread = ", ".join(f"{c / b:.3f}" for _, b, c in rates)
    rows = [
        Row(
            f"live loop with all sinks / bare engine that scores, {len(frames)} frames",
            f"{ours:.2f} frames/s",
            f"{bare_rate:.2f} frames/s",
            float(np.median([c / b for _, b, c in rates])),
            THROUGHPUT_REQUIRED,
            note=f"median of {n_rounds} rounds: {spread}",
        ),
        Row(
            f"live loop with all sinks / bare engine without any score, {len(frames)} frames",
            f"{ours:.2f} frames/s",
            f"{engine_rate:.2f} frames/s",
            float(np.median([c / a for a, _, c in rates])),
        ),
    ]
    stream = _stream(task.name, len(frames) + n_paced)
    rate = loop(stream[: len(frames)])
    return [
        *rows,
        _latency(segmenter(), stream[len(frames) :], rate, "a drifting stream", LATENCY_ALLOWED),
        # Unrelated samples one after the other: how far latencies spread is theirs, not the loop's.
        _latency(
            segmenter(), _moved(frames, 2 * n_rounds + 1), ours, "unrelated micrographs", None
        ),
    ]


def _stream(preset: str, n: int) -> list[Frame]:
    """Frames of one sample, as an instrument sends them."""
    with SimulatedStream(preset, seed=STREAM_SEED, size=512, length=n) as stream:
        return [stream.frame_at(number).frame for number in range(n)]


def _moved(frames: list[Frame], pixels: int) -> list[Frame]:
    """The frames with their content moved sideways: as costly, and never seen before."""
    moved = [np.roll(frame.image, pixels, axis=1) for frame in frames]
    return [
        Frame(image, frame.pixel_size_nm, frame.id, frame.time)
        for image, frame in zip(moved, frames, strict=True)
    ]


def _latency(
    segmenter: Segmenter, frames: list[Frame], rate: float, kind: str, required: float | None
) -> Row:
    n = len(frames)
    paced = [Frame(f.image, f.pixel_size_nm, f"{k:05d}", f.time) for k, f in enumerate(frames)]
    counters = Counters()
    mode: QueueMode = "latest"
    with all_sinks(counters) as sinks:
        source = PacedSource(paced, 1.0 / (LOAD * rate))
        Runner(source, segmenter, sinks, queue=mode, counters=counters).run()
    median, high = counters.latency_ms(50), counters.latency_ms(99)
    if median is None or high is None:
        raise RuntimeError("no frame was done: there is no latency to report")
    return Row(
        f"live loop at {LOAD:.0%} load, {kind}: 99th percentile / median latency",
        f"{high:.0f} ms",
        f"{median:.0f} ms",
        high / median,
        required,
        at_most=True,
        note=f"{counters.counts.done} of {n} frames done, {counters.counts.dropped} dropped; from "
        "arrival to results on disk",
    )


@contextmanager
def all_sinks(counters: Counters) -> Iterator[list[Sink]]:
    """What `samstar deploy --dashboard --feed` writes to."""
    with (
        tempfile.TemporaryDirectory() as name,
        OutputFolder(Path(name)) as folder,
        Feed(counters) as feed,
    ):
        yield [
            FolderSink(folder.path),
            JournalSink(folder.journal),
            TensorBoardSink(folder.run.tensorboard),
            feed,
            LiveState(load_task("particles"), counters),
        ]
