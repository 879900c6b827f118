"""How old a frame is when its segmentation begins, where frames come faster than that goes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from samstar_rl.frames.frame import Frame
from samstar_rl.results.result import FrameResult
from samstar_rl.rewards import Score
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.sources.base import SourceBase
from samstar_rl.streaming.runner import Runner
from tests.benchmarks.report import Row

# the age that is wanted where segmenting takes 2 s
SEGMENTING_S, PREPARING_S, AGE_BAR_S = 2.0, 0.15, 0.35
RATES = (3.0, 8.0, 24.0)


class SteadySource(SourceBase):
    """Frames at a rate, whoever is ready; remembers when each came."""

    live = True

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.came: dict[str, float] = {}

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        while not self.stopped:
            self.wait(1 / self.rate)
            number += 1
            frame = Frame(np.zeros((8, 8), np.float32), id=f"{number:06d}")
            self.came[frame.id] = time.perf_counter()
            yield frame


class SleepingSegmenter:
    """Takes its time as a segmenter does, and notes how old each frame is when it begins."""

    def __init__(self, source: SteadySource, jitter: float) -> None:
        self.source = source
        self.ages_s: list[float] = []
        self._rng = np.random.default_rng(0)
        self._jitter = jitter

    def prepare(self, frame: Frame) -> Frame:
        time.sleep(PREPARING_S)
        return frame

    def segment(self, prepared: Frame) -> FrameResult:
        self.ages_s.append(time.perf_counter() - self.source.came[prepared.id])
        time.sleep(SEGMENTING_S * self._rng.uniform(1 - self._jitter, 1 + self._jitter))
        labels = np.zeros(prepared.shape, np.int32)
        return FrameResult(
            frame=prepared,
            segmentation=Segmentation.from_labels(labels, prepared),
            settings=Settings(),
            score=Score(0.0, {}),
            n_evaluations=1,
            n_prompts_decoded=0,
            milliseconds={},
            task="none",
            tuner="none",
        )


def measure(*, n_frames: int) -> list[Row]:
    """Median age at each rate, with segmentations of one duration and of various ones."""
    rows = []
    for jitter in (0.0, 0.3):
        for rate in RATES:
            source = SteadySource(rate)
            segmenter = SleepingSegmenter(source, jitter)
            Runner(source, segmenter, [], queue="latest", max_frames=n_frames).run()
            # nothing is known of the first one's duration
            ages_s = np.asarray(segmenter.ages_s[1:])
            various = f", durations within {jitter:.0%}" if jitter else ""
            rows.append(
                Row(
                    f"age of a frame as its segmentation of {SEGMENTING_S:g} s begins, "
                    f"{rate:g} frames/s{various}",
                    f"{np.median(ages_s):.2f} s",
                    f"{SEGMENTING_S:g} s",
                    float(np.median(ages_s)),
                    None if jitter else AGE_BAR_S,
                    at_most=True,
                    note=f"{len(ages_s)} frames, the oldest {ages_s.max():.2f} s; preparing takes "
                    f"{PREPARING_S:g} s",
                )
            )
    return rows
