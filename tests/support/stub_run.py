"""A live run without SAM, to be killed.

Thresholds stand in for the SAM; folder, sinks and loop are those of `samstar deploy`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from samstar_rl.frames.frame import Frame
from samstar_rl.results.result import FrameResult
from samstar_rl.rewards import Score
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.sources.base import SourceBase
from samstar_rl.streaming.output_folder import OutputFolder
from samstar_rl.streaming.runner import Runner
from samstar_rl.streaming.sinks import FolderSink, JournalSink

FORMATS = ("labels", "csv", "coco", "parquet")
SECONDS_A_FRAME = 0.01


class Frames(SourceBase):
    """A fixed sequence, of which what is done already is skipped."""

    def __init__(self, n_frames: int) -> None:
        super().__init__()
        self.n_frames = n_frames

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self.n_frames):
            frame_id = f"f{number:05d}"
            if self.stopped:
                return
            if not self.skip(frame_id):
                image = np.random.default_rng(number).normal(100, 3, (48, 64))
                image[10:20, 10:25] += 60
                yield Frame(image, 2.0, frame_id, float(number))


class Threshold:
    """Stands in for SAM."""

    def prepare(self, frame: Frame) -> Frame:
        return frame

    def segment(self, prepared: Frame) -> FrameResult:
        time.sleep(SECONDS_A_FRAME)
        labels, _ = ndimage.label(prepared.image > 130)
        segmentation, score = Segmentation.from_labels(labels, prepared), Score(0.5, {"size": 0.5})
        return FrameResult(
            prepared, segmentation, Settings(), score, 1, 0, {"total": 1.0}, "particles", "stub"
        )


def main(out: Path, n_frames: int) -> None:
    source = Frames(n_frames)
    with OutputFolder(out, resume=True) as folder:
        source.skip = folder.is_done
        sinks = [
            FolderSink(folder.path, picture_every=5, formats=FORMATS), JournalSink(folder.journal),
        ]  # fmt: skip
        Runner(source, Threshold(), sinks, queue="all").run()
