"""Keeping a time budget per frame: cheaper prompt settings where the chosen ones will be late."""

from __future__ import annotations

from collections import deque

import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl.settings import PromptSettings, Settings
from samstar_rl.tasks.task import Task
from samstar_rl.tuning.tuner import FrameContext, LiveFrame, TunedFrame, Tuner
from samstar_rl.tuning.wrapper import TunerWrapper

# the pace is the median over this many of the last frames
PACE_WINDOW = 32
# plan for this share of the budget, since frames differ
PLANNED_SHARE = 0.9


class DeadlineTuner(TunerWrapper):
    """Take the densest prompt settings of the task that a budget allows, if the chosen ones do not.

    Encoding a frame takes its time, whatever is chosen; from there on time goes with the number of
    prompts that SAM decodes. Both are measured as frames go by. The first frame is not limited.

    Parameters
    ----------
    inner : Tuner
    task : Task
        Its settings space says which prompt settings there are.
    budget_ms : float
        From the beginning of a frame's encoding to its score.

    Raises
    ------
    SamstarError
        If the budget is not positive, or the tuner searches: its time is set by its evaluations.
    """

    def __init__(self, inner: Tuner, task: Task, budget_ms: float) -> None:
        super().__init__(inner)
        if not 0 < budget_ms < float("inf"):
            raise SamstarError(f"the budget must be a positive number of ms, got {budget_ms}")
        if inner.searches:
            raise SamstarError(
                f"the tuner {inner.name!r} searches on each frame: limit its evaluations instead "
                "of its time"
            )
        self.budget_ms = budget_ms
        self._prompts = sorted(task.space.prompts(), key=lambda prompt: prompt.most_prompts)
        self._pace_ms: deque[float] = deque(maxlen=PACE_WINDOW)
        self._encoding_ms: deque[float] = deque(maxlen=PACE_WINDOW)

    def propose(self, context: FrameContext) -> Settings:
        """Let the inner tuner choose, and shrink its prompts to what the budget allows."""
        settings = self.inner.propose(context)
        expected_ms = self.expected_ms(settings.prompt)
        if expected_ms is None or expected_ms <= self.budget_ms:
            return settings
        cheaper = self._densest_within_budget(settings.prompt)
        if cheaper == settings.prompt:
            self.note(f"deadline: {expected_ms:.0f} ms expected, and nothing is cheaper")
            return settings
        self.note(
            f"deadline: {settings.prompt.most_prompts} prompts would take {expected_ms:.0f} of "
            f"{self.budget_ms:.0f} ms; took {cheaper.most_prompts}"
        )
        return settings.replace(**cheaper.to_dict())

    def observe(self, tuned: TunedFrame) -> None:
        """Measure the pace."""
        super().observe(tuned)
        if isinstance(tuned.source, LiveFrame):
            self._encoding_ms.append(tuned.source.embedding.seconds * 1e3)
        n_prompts = tuned.expense.n_prompts_decoded
        if n_prompts > 0:
            self._pace_ms.append(tuned.seconds * 1e3 / n_prompts)

    def expected_ms(self, prompt: PromptSettings) -> float | None:
        """How long a frame with these prompt settings will take; None before the first frame."""
        if not self._pace_ms:
            return None
        encoding_ms = float(np.median(self._encoding_ms)) if self._encoding_ms else 0.0
        return encoding_ms + float(np.median(self._pace_ms)) * prompt.most_prompts

    def _densest_within_budget(self, chosen: PromptSettings) -> PromptSettings:
        """The last of the task's choices that fits, the cheapest if none does."""
        fitting = self._prompts[:1]
        for prompt in self._prompts:
            expected_ms = self.expected_ms(prompt)
            if expected_ms is not None and expected_ms <= PLANNED_SHARE * self.budget_ms:
                fitting.append(prompt)
        cheaper = fitting[-1]
        return cheaper if cheaper.most_prompts < chosen.most_prompts else chosen
