"""The tuner that asks a policy again after each look, until it says that it is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.envs.tuning import MOST_LOOKS, is_over

if TYPE_CHECKING:
    from samstar_rl.envs.observation.schema import Vector
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.tuner import Evaluation, FrameContext


class LookingTuner(PolicyTuner):
    """A policy that was trained in `samstar/Tuning-v1`: one look after the other.

    Each look's masks join those found before; the evaluation of the settings that it returns is
    that of all looks together.
    """

    searches = True

    def propose(self, context: FrameContext) -> Settings:
        """Look at the frame until the policy says that it is enough, or the budget is used up."""
        part, found = self.part(context), None
        looks = 0
        while True:
            action = self.act(self._observe(context, part, found, looks))
            settings = self.builder.decode(action)
            found = context.look(settings)
            looks += 1
            if is_over(float(action[-1]), looks, context.left):
                return settings

    def _observe(
        self, context: FrameContext, part: Vector, found: Evaluation | None, looks: int
    ) -> Vector:
        searched = self.builder.searched(
            context.looks,
            context.left,
            1 - looks / MOST_LOOKS,
            0 if found is None else len(found.segmentation),
        )
        return self.builder.build(part, context.left, found, searched)
