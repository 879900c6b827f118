"""Masks as runs of pixels: unions are counted by sorting, without painting a frame.

A run is a stretch of set pixels in one row, ``start`` to ``stop`` (half-open) in the frame's flat
index ``y * width + x``. It is kept as one integer, ``start << 32 | stop``, so that sorting runs is
sorting integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int64]

_LOW = (1 << 32) - 1


def window_runs(window: NDArray[np.bool_], x0: int, y0: int, frame_width: int) -> Runs:
    """Encode a window of a frame as runs of pixels along its rows.

    Parameters
    ----------
    window : (h, w) bool array
    x0, y0 : int
        Where its upper left corner lies in the frame, in px.
    frame_width : int
        Width of the frame in px.

    Returns
    -------
    (R,) int64 array
        Runs, rising: the flat index of a run's first pixel in the upper 32 bits, that behind its
        last one in the lower 32.
    """
    height, width = window.shape
    edges = np.zeros((height, width + 2), dtype=np.int8)
    edges[:, 1:-1] = window
    steps = np.diff(edges, axis=1)
    rows, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    origin = (rows + y0) * frame_width + x0
    return (origin + starts) << 32 | (origin + stops)


def merged(runs: Runs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and stops of the stretches that any of the runs covers, rising and apart."""
    if len(runs) == 0:
        return runs, runs
    runs = np.sort(runs)
    starts, reached = runs >> 32, np.maximum.accumulate(runs & _LOW)
    apart = (starts[1:] > reached[:-1]).nonzero()[0]
    return (
        np.concatenate([starts[:1], starts[apart + 1]]),
        np.concatenate([reached[apart], reached[-1:]]),
    )


class PixelCount:
    """How many pixels of a mask come before each place of the frame's flat index.

    Parameters
    ----------
    mask : (H, W) bool array
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        runs = window_runs(mask, 0, 0, mask.shape[1])
        self._starts, stops = merged(runs)
        self._lengths = stops - self._starts
        self._before = np.cumsum(self._lengths) - self._lengths

    def within(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> int:
        """Pixels of the mask in stretches that are apart."""
        if len(self._starts) == 0 or len(starts) == 0:
            return 0
        before = self._up_to(np.concatenate([starts, stops]))
        return int(before[len(starts) :].sum() - before[: len(starts)].sum())

    def _up_to(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        run = np.maximum(self._starts.searchsorted(places, side="right") - 1, 0)
        inside = np.maximum(np.minimum(places - self._starts[run], self._lengths[run]), 0)
        return self._before[run] + inside
