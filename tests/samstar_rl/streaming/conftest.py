from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from samstar_rl.frames.frame import Frame
from samstar_rl.results.result import FrameResult
from samstar_rl.rewards import Score
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings

YY, XX = np.mgrid[:40, :50]


def draw_frame(number: int, *, n_particles: int = 3) -> Frame:
    image = np.random.default_rng(number).normal(100, 3, YY.shape)
    for k in range(n_particles):
        image += 60 * ((XX - 8 - 15 * k) ** 2 + (YY - 15) ** 2 < 30)
    return Frame(image.astype(np.float32), 2.0, f"f{number:05d}", float(number))


class StubSegmenter:
    """Stands in for SAM: a threshold. Fails and dawdles where told to."""

    def __init__(
        self, *, seconds: float = 0.0, failing: Callable[[str], bool] | None = None
    ) -> None:
        self.seconds = seconds
        self.failing = failing or (lambda frame_id: False)
        self.treated: list[str] = []

    def prepare(self, frame: Frame) -> Frame:
        return frame

    def segment(self, prepared: Frame) -> FrameResult:
        time.sleep(self.seconds)
        if self.failing(prepared.id):
            raise RuntimeError(f"{prepared.id} cannot be segmented")
        self.treated.append(prepared.id)
        return make_result(prepared)


def make_result(frame: Frame) -> FrameResult:
    from scipy import ndimage

    labels, _ = ndimage.label(frame.image > 130)
    return FrameResult(
        frame=frame,
        segmentation=Segmentation.from_labels(labels, frame),
        settings=Settings(),
        score=Score(0.5, {"coverage": 0.4, "overlap": 0.6}),
        n_evaluations=1,
        n_prompts_decoded=64,
        milliseconds={"total": 1.0},
        task="particles",
        tuner="static",
    )


@pytest.fixture
def frames() -> Callable[[int], list[Frame]]:
    return lambda n: [draw_frame(number) for number in range(n)]


@pytest.fixture
def segmenter() -> type[StubSegmenter]:
    return StubSegmenter


@pytest.fixture
def result() -> Callable[[int], FrameResult]:
    return lambda number: make_result(draw_frame(number))
