"""Streams of simulated micrographs that drift as experiments do."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.simulator.drift import Drift, DriftState
from samstar_rl.simulator.make_sample import Prepared, prepare
from samstar_rl.simulator.optics import Optics, expose
from samstar_rl.simulator.presets import PRESETS
from samstar_rl.simulator.sample import View
from samstar_rl.simulator.tiling import dense_labels

if TYPE_CHECKING:
    from samstar_rl.simulator.parameters import SampleParameters

FRAME_INTERVAL_S = 1.0
_SMALLEST_SIDE_PX = 64
_FULL_SCALE = 255.0


class SimulatedStream:
    """Frames of one simulated sample, with ground truth: a context manager that iterates.

    The sample persists; the view of it and the particles in it change slowly from frame to frame.
    Iterating anew gives the same frames again.

    Parameters
    ----------
    preset : str
        A key of `PRESETS`.
    seed : int
        Chooses sample, course of the drift and noise; different seeds are different samples.
    size : int or (height, width), default=512
        Shape of the frames in px, at least 64 a side. The field of view in nm is the same at
        every size.
    length : int or None, default=None
        Number of frames; None never ends.
    drift : float, default=1.0
        0 is none (but the noise, frames are equal), 1 an ordinary experiment, 2 a bad one.

    Raises
    ------
    SamstarError
        If a parameter is not as described.

    Examples
    --------
    >>> with SimulatedStream("overlap", seed=1, size=256, length=10) as stream:
    ...     pixel_sizes_nm = [labelled.frame.pixel_size_nm for labelled in stream]
    """

    def __init__(
        self,
        preset: str,
        *,
        seed: int,
        size: int | tuple[int, int] = 512,
        length: int | None = None,
        drift: float = 1.0,
    ) -> None:
        if preset not in PRESETS:
            raise SamstarError(
                f"preset must be one of {', '.join(PRESETS)}, got {preset!r}; choose one"
            )
        if int(seed) != seed or seed < 0:
            raise SamstarError(f"seed must be an integer of 0 or above, got {seed!r}; give e.g. 0")
        height, width = (size, size) if isinstance(size, int | np.integer) else size
        if min(height, width) < _SMALLEST_SIDE_PX:
            raise SamstarError(
                f"size must be at least {_SMALLEST_SIDE_PX} px a side, got {size!r}; "
                "simulate larger frames and shrink them"
            )
        if length is not None and (int(length) != length or length < 0):
            raise SamstarError(
                f"length must be a number of frames or None, got {length!r}; "
                "None is an endless stream"
            )
        if not 0 <= drift < float("inf"):
            raise SamstarError(f"drift must be 0 or above, got {drift!r}; 0 is none, 1 is ordinary")
        self.preset, self.seed, self.length, self.drift = preset, int(seed), length, float(drift)
        self.shape = (int(height), int(width))

    def __enter__(self) -> SimulatedStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget the sample; it is drawn again if the stream is used again."""
        for name in ("_prepared", "_course", "_display"):
            self.__dict__.pop(name, None)

    def __iter__(self) -> Iterator[LabelledFrame]:
        index = 0
        while self.length is None or index < self.length:
            yield self.frame_at(index)
            index += 1

    @property
    def parameters(self) -> SampleParameters:
        """True parameters of the sample at the start; drift does not change them."""
        return self._prepared.parameters

    def state_at(self, index: int) -> DriftState:
        """Where the drift stands at a frame."""
        return self._course.at(index)

    def frame_id(self, index: int) -> str:
        """The id of the frame of this index."""
        return f"{self.preset}-{self.seed}-{index:05d}"

    def frame_at(self, index: int) -> LabelledFrame:
        """The frame of this index, whatever was drawn before."""
        state = self._course.at(index)
        view = self._view(state)
        ideal, labels = self._prepared.sample.look_at(view, state)
        low, high = self._display
        recorded = expose(
            (ideal - low) / (high - low), self._optics(state), self._rng("noise", index)
        )
        frame = Frame(
            image=np.round(np.clip(recorded, 0, 1) * np.float32(_FULL_SCALE)),
            pixel_size_nm=view.pixel_size_nm,
            id=self.frame_id(index),
            time=index * FRAME_INTERVAL_S,
        )
        return LabelledFrame(frame, dense_labels(labels))

    @cached_property
    def _prepared(self) -> Prepared:
        return prepare(PRESETS[self.preset], self._rng("sample"), self.shape)

    @cached_property
    def _course(self) -> Drift:
        return Drift(self._rng("drift"), self.drift)

    @cached_property
    def _display(self) -> tuple[float, float]:
        """Grey values shown as black and white: set once, on the first view, as operators do."""
        start = DriftState()
        ideal, _ = self._prepared.sample.look_at(self._view(start), start)
        low, high = np.percentile(ideal[::3, ::3], [0.5, 99.5])
        margin = 0.12 * max(float(high - low), 0.05)
        return float(low) - margin, float(high) + margin

    def _view(self, state: DriftState) -> View:
        pixel_size_nm = self.parameters.pixel_size_nm
        field_nm = pixel_size_nm * min(self.shape)
        return View(
            centre_x_nm=state.stage_x * field_nm,
            centre_y_nm=state.stage_y * field_nm,
            pixel_size_nm=pixel_size_nm / state.magnification,
            shape=self.shape,
        )

    def _optics(self, state: DriftState) -> Optics:
        optics = self._prepared.optics
        return replace(
            optics,
            blur_px=float(np.hypot(optics.blur_px, state.defocus_px)),
            dose=optics.dose * state.dose,
            tilt=optics.tilt + state.tilt,
        )

    def _rng(self, purpose: str, index: int = 0) -> np.random.Generator:
        names = [zlib.crc32(word.encode()) for word in (self.preset, purpose)]
        return np.random.default_rng([self.seed, *names, index])
