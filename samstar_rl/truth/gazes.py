"""Whether a score chooses the gaze as truth would: where SAM looks, how closely, how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.rewards import PhysicsReward
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.tasks.task import Task
from samstar_rl.truth.metrics import Truth, f1_at

if TYPE_CHECKING:
    from samstar_rl.frames.frame import LabelledFrame
    from samstar_rl.segmentation.proposals import Proposals
    from samstar_rl.settings import PromptSettings

#: Gazes that are compared: all pairs of a zoom and a number of prompts.
ZOOMS = (1.0, 2.0, 3.0, 4.0)
N_PROMPTS = (16, 32, 64, 128)


@dataclass(frozen=True)
class GazeChoice:
    """What the gaze is worth on one frame, all else being the task's static settings.

    Parameters
    ----------
    scores, f1s : (Z, N) float64 arrays
        At each of `ZOOMS` and `N_PROMPTS`.
    """

    scores: NDArray[np.float64]
    f1s: NDArray[np.float64]

    @property
    def lost_f1(self) -> float:
        """F1 of the gaze that truth would choose, less that of the one that the score chooses.

        Of gazes that score alike the mean counts.
        """
        return float(self.f1s.max() - self.f1s[self.scores == self.scores.max()].mean())


def with_gaze(task: Task) -> Task:
    """The task with zoom and number of prompts among its settings, in place of grid and crops."""
    data = task.to_dict()
    moving = {
        name: bound
        for name, bound in data["settings"].items()
        if name not in ("points_per_side", "crop_n_layers", "n_prompts", "zoom")
    }
    prompts = {"low": N_PROMPTS[0], "high": N_PROMPTS[-1], "scale": "log"}
    data["settings"] = {"n_prompts": prompts, "zoom": {"ladder": list(ZOOMS)}, **moving}
    static = task.static.replace(n_prompts=N_PROMPTS[-1], zoom=1.0, crop_n_layers=0)
    return Task.from_dict(data | {"static": static.to_dict()})


def compare_gazes(
    task: Task, labelled: LabelledFrame, proposals: Callable[[PromptSettings], Proposals]
) -> GazeChoice:
    """Score a frame at each gaze with the task's static settings, and judge it by truth.

    Parameters
    ----------
    task : Task
    labelled : LabelledFrame
    proposals : callable
        Prompt settings to the frame's proposals.

    Returns
    -------
    GazeChoice
    """
    reward, truth = PhysicsReward(task), Truth(labelled.truth)
    gauge = reward.gauge(labelled.frame)
    scores, f1s = [], []
    for zoom, n_prompts in product(ZOOMS, N_PROMPTS):
        settings = task.static.replace(zoom=zoom, n_prompts=n_prompts, crop_n_layers=0)
        found = filter_proposals(proposals(settings.prompt), settings, **gauge)
        scores.append(reward.score(found, labelled.frame).total)
        f1s.append(f1_at(found, truth))
    shape = (len(ZOOMS), len(N_PROMPTS))
    return GazeChoice(np.reshape(scores, shape), np.reshape(f1s, shape))
