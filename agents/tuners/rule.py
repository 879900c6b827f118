"""A gaze by rule: what a physicist would set who knows about how large the particles are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.sam.prompt_order import LONG_SIDE_PX
from samstar_rl.settings import SETTINGS, ZOOMS

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import FrameContext

WIDTH_PX = 24.0
"""How wide SAM should see a particle, in px of its picture."""


class RuleTuner:
    """Magnify until a particle is 24 px wide in SAM's picture, and spend what the frame may cost.

    The diameter is the one that the task expects, or else the median of the foreground's bodies. A
    magnification whose tiles the budget does not pay for is not chosen. Filters are the static
    ones. Nothing is learned or searched.

    Parameters
    ----------
    task : Task
    view_cost : float
        Cost of encoding a view.
    """

    name = "rule"
    searches = False

    def __init__(self, task: Task, view_cost: float) -> None:
        self.task = task
        self.view_cost = view_cost
        bound = task.settings.get("zoom")
        self._zooms = (task.static.zoom,) if bound is None else bound.ladder or ZOOMS
        free = "n_prompts" in task.space.names
        most = task.space.limits("n_prompts")[1] if free else SETTINGS["n_prompts"].high
        self._n_prompts = int(most)

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: FrameContext) -> Settings:
        """Zoom by the particles' diameter, as many prompts as may be."""
        frame = context.frame
        wanted = WIDTH_PX * max(frame.image.shape) / (LONG_SIDE_PX * self._diameter_px(frame))
        paid = [z for z in self._zooms if self._cost_of_views(z) < context.budget]
        wanted = max(wanted, self._zooms[0])
        nearest = min(paid or self._zooms[:1], key=lambda zoom: abs(math.log(zoom / wanted)))
        return self.task.static.replace(zoom=nearest, n_prompts=self._n_prompts, crop_n_layers=0)

    def _cost_of_views(self, zoom: float) -> float:
        return self.view_cost * (1 + (math.ceil(zoom) ** 2 if zoom > 1 else 0))

    def _diameter_px(self, frame: Frame) -> float:
        unit_px = self.task.length_unit_px(frame)
        size = self.task.terms.get("size")
        expected: float | None = getattr(size, "median_diameter", None)
        if expected is not None:
            return expected * unit_px
        foreground = FrameEvidence.of(frame, self.task.sample.scaled(unit_px)).foreground
        areas = foreground.body_areas_px[1:]
        areas = areas[areas > 0]
        # without bodies there is nothing to come closer to
        return float(np.sqrt(4 / np.pi * np.median(areas))) if len(areas) else math.inf
