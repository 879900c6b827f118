"""The specimen under a simulated instrument: micrographs that drift from scan to scan."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.simulator.stream import SimulatedStream

SMALLEST_PX = 64


class Specimen:
    """Micrographs of one simulated sample at any size, from any thread.

    Parameters
    ----------
    preset : str
        Of `SimulatedStream`.
    seed : int

    Attributes
    ----------
    n_scans : int
        How many images were taken: each is dose.
    """

    def __init__(self, preset: str = "particles", *, seed: int = 0) -> None:
        self.preset, self.seed = preset, seed
        self.n_scans = 0
        self._streams: dict[int, SimulatedStream] = {}
        self._lock = threading.Lock()

    def scan(self, size: int) -> NDArray[np.float32]:
        """Take the next image, of ``size`` x ``size`` px."""
        with self._lock:
            index, self.n_scans = self.n_scans, self.n_scans + 1
            image = self._stream(size).frame_at(index).frame.image
            return np.ascontiguousarray(image[:size, :size])

    def pixel_size_nm(self, size: int) -> float:
        """Edge of a pixel in nm in images of that size."""
        with self._lock:
            size_nm = self._stream(size).frame_at(0).frame.pixel_size_nm
        if size_nm is None:
            raise SamstarError(f"the preset {self.preset!r} has no pixel size")
        return size_nm

    def _stream(self, size: int) -> SimulatedStream:
        size = max(size, SMALLEST_PX)
        if size not in self._streams:
            self._streams[size] = SimulatedStream(self.preset, seed=self.seed, size=size)
        return self._streams[size]
