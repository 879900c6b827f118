"""A tuner around another one: it sees what is chosen, how that fared, and may leave notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.tuner import FrameContext, TunedFrame, Tuner


class TunerWrapper:
    """Let another tuner choose, and learn what became of its choice.

    By itself it changes nothing. `Guard` is such a wrapper; wrappers can be put around
    one another, as Gymnasium's wrappers are.

    Parameters
    ----------
    inner : Tuner
    """

    def __init__(self, inner: Tuner) -> None:
        self.inner = inner
        self._notes: list[str] = []

    @property
    def name(self) -> str:
        """The name of the tuner that chose last."""
        return self.inner.name

    @property
    def searches(self) -> bool:
        """As of the inner tuner."""
        return self.inner.searches

    def reset(self) -> None:
        """Forget earlier frames."""
        self.inner.reset()

    def propose(self, context: FrameContext) -> Settings:
        """Choose the settings for the context's frame."""
        return self.inner.propose(context)

    def observe(self, tuned: TunedFrame) -> None:
        """Learn what the last choice came to."""
        if isinstance(self.inner, TunerWrapper):
            self.inner.observe(tuned)

    def take_notes(self) -> list[str]:
        """What people should know about the last frame; then forgotten."""
        notes, self._notes = self._notes, []
        if isinstance(self.inner, TunerWrapper):
            notes = self.inner.take_notes() + notes
        return notes

    def note(self, text: str) -> None:
        """Leave a note on the frame in work."""
        self._notes.append(text)
