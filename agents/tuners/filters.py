"""Filters chosen on each frame's own masks: a tuner says where SAM looks, the score the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.tuning.wrapper import TunerWrapper

if TYPE_CHECKING:
    from samstar_rl.settings import Settings, SettingsSpace
    from samstar_rl.tuning.tuner import FrameContext, Tuner

FILTERS = ("min_plausibility", "pred_iou_thresh")
"""Settings that are chosen anew, in this order."""
VALUES = 7
"""Values of each that are tried, spread evenly over what the task allows."""

LEAST_GAIN = 0.005
"""Reward that other filters must gain on the inner tuner's: in an empty field anything found gains
a little."""


class ChooseFilters(TunerWrapper):
    """Let another tuner choose, then move its filters to what suits the masks of the frame best.

    SAM decodes what the inner tuner asked for. Filters only choose among those masks, so that a
    choice costs its score and no prompt: with the gaze as it is, first the least plausibility and
    then the predicted IoU are tried, and the choice of the highest reward stays if it gains
    `LEAST_GAIN`. A predicted IoU below the inner tuner's is not tried: on a live frame those masks
    are not there.

    Parameters
    ----------
    inner : Tuner
    space : SettingsSpace
        Of the task: what may move, and how far.
    """

    def __init__(self, inner: Tuner, space: SettingsSpace) -> None:
        super().__init__(inner)
        self.space = space
        self._values = {name: space.spread(name, VALUES) for name in FILTERS if name in space.names}

    def propose(self, context: FrameContext) -> Settings:
        """Ask the inner tuner, and try filters on the masks of its choice."""
        chosen = own = self.inner.propose(context)
        reward = before = context.reward(chosen)
        floor = chosen.pred_iou_thresh
        for name, values in self._values.items():
            # not from what was evaluated, in which a user may have fixed the gaze
            start = chosen
            for value in values:
                if name == "pred_iou_thresh" and value <= floor:
                    continue
                settings = start.replace(**{name: value})
                tried = context.reward(settings)
                if tried > reward:
                    chosen, reward = settings, tried
        return chosen if reward >= before + LEAST_GAIN else own
