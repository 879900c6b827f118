"""Frames on which score and ground truth disagree most, as people can see why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samstar_rl.bank.bank import Bank
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.rewards import PhysicsReward
from samstar_rl.segmentation.segmentation import Segmentation, segment
from samstar_rl.settings import Settings
from samstar_rl.tasks.task import Task
from samstar_rl.truth.validity import FrameValidity

COLUMNS = ("ground truth", "foreground as the score estimates it", "best by score", "best by truth")
INCHES = 3.2


def draw_worst(
    validities: Sequence[FrameValidity],
    tasks: Sequence[Task],
    bank: Bank,
    settings: Sequence[Settings],
    *,
    count: int = 4,
) -> Figure:
    """The frames of lowest rank agreement, a row each.

    Parameters
    ----------
    validities : sequence of FrameValidity
        Of the bank's frames, in its order.
    tasks : sequence of Task
        By which each was scored.
    bank : Bank
    settings : sequence of Settings
        Those that were compared.
    count : int
        Frames to draw.
    """
    worst = np.argsort([validity.spearman for validity in validities], kind="stable")[:count]
    size = (INCHES * len(COLUMNS), (INCHES + 0.5) * len(worst))
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(worst), len(COLUMNS), squeeze=False)
    for panels, index in zip(rows, worst.tolist(), strict=True):
        _draw_row(panels, validities[index], tasks[index], bank, settings, index)
    return figure


def _draw_row(
    panels: Sequence[Axes],
    validity: FrameValidity,
    task: Task,
    bank: Bank,
    settings: Sequence[Settings],
    index: int,
) -> None:
    frame, truth, reward = bank.frame(index), bank.truth(index), PhysicsReward(task)
    targets = reward.targets_px(frame)
    foreground = FrameEvidence.of(frame, next(iter(targets.values())).sample).foreground.mask

    def chosen(values: np.ndarray) -> tuple[int, Segmentation]:
        best = int(np.argmax(values))
        proposals = bank.proposals(index, settings[best].prompt)
        return best, segment(proposals, settings[best], **reward.gauge(frame))

    by_score, of_score = chosen(validity.scores)
    by_truth, of_truth = chosen(validity.f1s)
    shown = (
        (Segmentation.from_labels(truth, frame), f"score {validity.truth_score.total:.2f}"),
        (Segmentation.from_masks([foreground], frame), f"{foreground.mean():.0%} of the frame"),
        (of_score, f"score {validity.scores[by_score]:.2f}, F1 {validity.f1s[by_score]:.2f}"),
        (of_truth, f"score {validity.scores[by_truth]:.2f}, F1 {validity.f1s[by_truth]:.2f}"),
    )
    for panel, (segmentation, text), title in zip(panels, shown, COLUMNS, strict=True):
        panel.imshow(draw_outlines(frame, segmentation))
        panel.set_title(f"{title}\n{text}", fontsize=8)
        panel.set_xticks([])
        panel.set_yticks([])
    above = ", ".join(validity.better_than_truth) or "none"
    note = f"{validity.frame_id}: rho {validity.spearman:.2f}\nabove the truth: {above}"
    panels[0].set_xlabel(note, fontsize=8, loc="left")
