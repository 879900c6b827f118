"""From a frame to its result in the live loop, and tuners that learn how their choices fared."""

from __future__ import annotations

from collections.abc import Sequence

from samstar_rl.frames.frame import Frame
from samstar_rl.frames.quality import UnusableFrameError, inspect_frame
from samstar_rl.results.result import FrameResult
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.settings import Settings
from samstar_rl.tuning.tuner import (
    Evaluation,
    FrameContext,
    LiveFrame,
    Objective,
    TunedFrame,
    Tuner,
    tune_frame,
)


class WatchedTuner:
    """A tuner around another one: sees what is chosen, how it fared, and may leave notes.

    By itself it changes nothing. `Guard` and `DeadlineTuner` are such tuners, and can be put around
    one another.

    Parameters
    ----------
    inner : Tuner
    """

    def __init__(self, inner: Tuner) -> None:
        self.inner = inner
        self._notes: list[str] = []

    @property
    def name(self) -> str:
        """Of who chose last."""
        return self.inner.name

    @property
    def searches(self) -> bool:
        """Whether the inner tuner evaluates many settings on each frame."""
        return self.inner.searches

    def reset(self) -> None:
        """Forget earlier frames."""
        self.inner.reset()

    def propose(self, context: FrameContext) -> Settings:
        """Choose the settings for the context's frame."""
        return self.inner.propose(context)

    def observe(self, tuned: TunedFrame) -> None:
        """Learn what the last choice came to."""
        if isinstance(self.inner, WatchedTuner):
            self.inner.observe(tuned)

    def take_notes(self) -> list[str]:
        """What people should know about the last frame; then forgotten."""
        notes, self._notes = self._notes, []
        if isinstance(self.inner, WatchedTuner):
            notes = self.inner.take_notes() + notes
        return notes

    def note(self, text: str) -> None:
        """Leave a note on the frame in work."""
        self._notes.append(text)


class PreparedFrame(LiveFrame):
    """A frame that was inspected and encoded ahead of its turn.

    Parameters
    ----------
    engine : ProposalEngine
    frame : Frame
    searches : bool
        As for `LiveFrame`.
    findings : sequence of str
        What people should know about the frame's quality.
    """

    def __init__(
        self, engine: ProposalEngine, frame: Frame, *, searches: bool, findings: Sequence[str]
    ) -> None:
        super().__init__(engine, frame, searches=searches)
        self.findings = findings
        _ = self.embedding  # computed here, ahead of time


class LiveSegmenter:
    """Segment the frames of a stream, each knowing what the last one came to.

    Parameters
    ----------
    engine : ProposalEngine
    objective : Objective
    tuner : WatchedTuner
    """

    def __init__(self, engine: ProposalEngine, objective: Objective, tuner: WatchedTuner) -> None:
        self.engine = engine
        self.objective = objective
        self.tuner = tuner
        self._last: Evaluation | None = None
        tuner.reset()

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Inspect and encode a frame, and estimate its foreground.

        Raises
        ------
        UnusableFrameError
            If segmenting the frame would be fiction.
        """
        quality = inspect_frame(frame)
        if not quality.usable:
            raise UnusableFrameError("; ".join(quality.findings))
        searches = self.tuner.searches
        prepared = PreparedFrame(self.engine, frame, searches=searches, findings=quality.findings)
        self.objective.physics.look_at(frame)
        return prepared

    def segment(self, prepared: PreparedFrame) -> FrameResult:
        """Let the tuner choose, segment, score."""
        prepared.searches = self.tuner.searches  # another tuner may have been chosen meanwhile
        tuned = tune_frame(self.tuner, prepared, self.objective, self._last)
        self.tuner.observe(tuned)
        self._last = tuned.evaluation
        notes = [*prepared.findings, *self.tuner.take_notes()]
        if len(tuned.evaluation.segmentation) == 0:
            notes.append("no particle was found")
        return FrameResult.of(
            tuned, task=self.objective.task.name, tuner=self.tuner.name, notes=notes
        )
