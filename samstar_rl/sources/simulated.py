"""Frames from a simulated stream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from samstar_rl.simulator.stream import SimulatedStream
from samstar_rl.sources.base import SourceBase, SourceError

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame


class SimulatedSource(SourceBase):
    """The frames of a simulated stream, without their truth.

    Parameters
    ----------
    preset : str
    seed, size, length, drift, survey
        As in `SimulatedStream`.
    fps : float
        Frames a second; 0 is as fast as they are taken. A positive rate makes the source live.
    """

    def __init__(
        self,
        preset: str,
        *,
        seed: int = 0,
        size: int = 512,
        length: int | None = None,
        drift: float = 1.0,
        survey: int = 0,
        fps: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= fps < float("inf"):
            raise SourceError(f"fps must be 0 or above, got {fps}; 0 is as fast as possible")
        self.stream = SimulatedStream(
            preset, seed=seed, size=size, length=length, drift=drift, survey=survey
        )
        self.fps = fps
        self.live = fps > 0

    def __iter__(self) -> Iterator[Frame]:
        due = time.monotonic()
        with self.stream as stream:
            for index in count() if stream.length is None else range(stream.length):
                if self.live:
                    due = max(due + 1 / self.fps, time.monotonic() - 1 / self.fps)
                    self.wait(max(0.0, due - time.monotonic()))
                if self.stopped:
                    return
                if not self.skip(stream.frame_id(index)):
                    yield stream.frame_at(index).frame
