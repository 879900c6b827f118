"""Streams of simulated micrographs that drift or move on as experiments do."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.simulator.drift import Drift, DriftState
from samstar_rl.simulator.make_sample import Prepared, SampleType, prepare, prepare_field
from samstar_rl.simulator.optics import expose
from samstar_rl.simulator.presets import PRESETS, ParticlePreset
from samstar_rl.simulator.sample import View
from samstar_rl.simulator.survey import FIELD_DIAMETERS, SAMPLE_OVER_FIELD, Survey, SurveyField
from samstar_rl.simulator.tiling import dense_labels

if TYPE_CHECKING:
    from samstar_rl.simulator.parameters import SampleParameters

FRAME_INTERVAL_S = 1.0
_SMALLEST_SIDE_PX = 64
_FULL_SCALE = 255.0


class SimulatedStream:
    """Frames of one simulated sample, with ground truth: a context manager that iterates.

    The sample persists; the view of it and the particles in it change slowly from frame to frame.
    A survey, in contrast, moves to another field every 4 to 12 frames, at another magnification
    (log-uniform within a factor of 4 either way); 15 % of the fields are empty. Iterating anew
    gives the same frames again.

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
        0 is none (but the noise, frames are equal), 1 an ordinary experiment, 2 a bad one. In a
        survey, dose, focus, contrast and illumination drift.
    survey : int, default=0
        0 stays with one sample; a number is a survey of so many sample types in turn. It needs a
        preset of particles.

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
        survey: int = 0,
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
        if int(survey) != survey or survey < 0:
            raise SamstarError(
                f"survey must be a number of sample types or 0, got {survey!r}; "
                "0 stays with one sample"
            )
        if survey and not isinstance(PRESETS[preset], ParticlePreset):
            particles = [name for name, one in PRESETS.items() if isinstance(one, ParticlePreset)]
            raise SamstarError(
                f"a survey needs a preset of particles ({', '.join(particles)}), got {preset!r}"
            )
        self.preset, self.seed, self.length, self.drift = preset, int(seed), length, float(drift)
        self.shape, self.survey = (int(height), int(width)), int(survey)
        self._course = Drift(self._rng("drift"), self.drift)
        self._fields = Survey(self._rng(f"survey of {self.survey}"), self.survey)
        self._seen: _Seen | None = None

    def __enter__(self) -> SimulatedStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget the sample; it is drawn again if the stream is used again."""
        self._seen = None

    def __iter__(self) -> Iterator[LabelledFrame]:
        index = 0
        while self.length is None or index < self.length:
            yield self.frame_at(index)
            index += 1

    @property
    def parameters(self) -> SampleParameters:
        """True parameters of the sample at the start; drift does not change them.

        Of a survey those of its first field, particles on it or not.
        """
        return self._seen_at(0).prepared.parameters

    def field_at(self, index: int) -> SurveyField | None:
        """The field of a survey that a frame shows; None where there is but one."""
        return self._fields.at(index) if self.survey else None

    def state_at(self, index: int) -> DriftState:
        """Where the drift stands at a frame."""
        state = self._course.at(index)
        field = self.field_at(index)
        if field is None:
            return state
        return DriftState(
            dose=state.dose,
            defocus_px=state.defocus_px,
            contrast=state.contrast,
            tilt=state.tilt,
            density=0.0 if field.empty else 1.0,
        )

    def frame_id(self, index: int) -> str:
        """The id of the frame of this index."""
        survey = f"-survey{self.survey}" if self.survey else ""
        return f"{self.preset}{survey}-{self.seed}-{index:05d}"

    def frame_at(self, index: int) -> LabelledFrame:
        """The frame of this index, whatever was drawn before."""
        state = self.state_at(index)
        seen = self._seen_at(index)
        view = self._view(seen.prepared, state)
        ideal, labels = seen.prepared.sample.look_at(view, state)
        low, high = seen.display
        optics = seen.prepared.optics
        optics = replace(
            optics,
            blur_px=float(np.hypot(optics.blur_px, state.defocus_px)),
            dose=optics.dose * state.dose,
            tilt=optics.tilt + state.tilt,
        )
        recorded = expose((ideal - low) / (high - low), optics, self._rng("noise", index))
        frame = Frame(
            image=np.round(np.clip(recorded, 0, 1) * np.float32(_FULL_SCALE)),
            pixel_size_nm=view.pixel_size_nm,
            id=self.frame_id(index),
            time=index * FRAME_INTERVAL_S,
        )
        return LabelledFrame(frame, dense_labels(labels))

    def _seen_at(self, index: int) -> _Seen:
        """The sample, or the field of a survey, that a frame shows; the last one is kept."""
        field = self.field_at(index)
        if self._seen is None or self._seen.field != field:
            prepared = self._prepare(field)
            self._seen = _Seen(field, prepared, self._display(prepared))
        return self._seen

    def _prepare(self, field: SurveyField | None) -> Prepared:
        preset = PRESETS[self.preset]
        if field is None:
            return prepare(preset, self._rng("sample"), self.shape)
        assert isinstance(preset, ParticlePreset)
        kind = SampleType.draw(
            preset, self._rng(f"type of {self.survey}", field.sample), FIELD_DIAMETERS
        )
        return prepare_field(
            kind,
            self._rng(f"field of {self.survey}", field.number),
            self.shape,
            magnification=field.magnification,
            over_field=SAMPLE_OVER_FIELD,
        )

    def _display(self, prepared: Prepared) -> tuple[float, float]:
        """Grey values shown as black and white: set once, on the first view, as operators do.

        A survey sets them for each field, on its particles though it be empty: stretching the film
        to full contrast would give the emptiness away.
        """
        start = DriftState()
        ideal, _ = prepared.sample.look_at(self._view(prepared, start), start)
        low, high = np.percentile(ideal[::3, ::3], [0.5, 99.5])
        margin = 0.12 * max(float(high - low), 0.05)
        return float(low) - margin, float(high) + margin

    def _view(self, prepared: Prepared, state: DriftState) -> View:
        pixel_size_nm = prepared.parameters.pixel_size_nm
        field_nm = pixel_size_nm * min(self.shape)
        return View(
            centre_x_nm=state.stage_x * field_nm,
            centre_y_nm=state.stage_y * field_nm,
            pixel_size_nm=pixel_size_nm / state.magnification,
            shape=self.shape,
        )

    def _rng(self, purpose: str, index: int = 0) -> np.random.Generator:
        names = [zlib.crc32(word.encode()) for word in (self.preset, purpose)]
        return np.random.default_rng([self.seed, *names, index])


@dataclass(frozen=True)
class _Seen:
    """What lies under the microscope, and the grey values shown as black and white."""

    field: SurveyField | None
    prepared: Prepared
    display: tuple[float, float]
