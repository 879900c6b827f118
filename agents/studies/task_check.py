"""What a task's score sees in one frame, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.rewards.terms.size import SizeTarget

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.rewards.reward import Score
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.tasks.task import Task


def contributions(task: Task, frame: Frame, found: Segmentation) -> NDArray[np.float64]:
    """What the score would lose without each mask.

    Parameters
    ----------
    task : Task
    frame : Frame
    found : Segmentation
        Of K masks.

    Returns
    -------
    (K,) array
        Negative where the score would gain.
    """
    reward = PhysicsReward(task)
    whole = reward.score(found, frame).total
    everything = np.arange(len(found))
    without = (found.part(np.delete(everything, k)) for k in everything)
    return np.array([whole - reward.score(rest, frame).total for rest in without])


def draw_check(task: Task, frame: Frame, found: Segmentation, score: Score) -> Figure:
    """Draw masks by contribution, foreground, terms, and diameters against the target.

    Parameters
    ----------
    task : Task
    frame : Frame
    found : Segmentation
    score : Score
        Its score by the task.

    Returns
    -------
    Figure
    """
    figure = Figure(figsize=(13, 9), layout="constrained")
    panels = figure.subplots(2, 2)
    _draw_masks(panels[0, 0], figure, frame, found, contributions(task, frame, found))
    _draw_foreground(panels[0, 1], task, frame)
    _draw_terms(panels[1, 0], task, score)
    _draw_diameters(panels[1, 1], task, frame, found)
    name = f"{task.name} (experimental)" if task.experimental else task.name
    figure.suptitle(f"{name} on {frame.id}: score {score.total:.3f}, {len(found)} masks")
    return figure


def _draw_masks(
    panel: Any, figure: Figure, frame: Frame, found: Segmentation, losses: NDArray[np.float64]
) -> None:
    panel.imshow(to_sam_rgb(frame.image))
    limit = max(float(np.abs(losses).max(initial=0.0)), 1e-6)
    colours = np.full(frame.shape, np.nan)
    for k in np.argsort(-found.table.area):
        (x0, y0, x1, y1), window = found.mask_in_box(int(k))
        colours[y0:y1, x0:x1][window] = losses[k]
    shown = panel.imshow(colours, cmap="RdYlGn", vmin=-limit, vmax=limit, alpha=0.5)
    figure.colorbar(shown, ax=panel, shrink=0.8, label="what the score loses without the mask")
    panel.set_title("masks by their contribution")
    panel.set_axis_off()


def _draw_foreground(panel: Any, task: Task, frame: Frame) -> None:
    sample = task.sample.scaled(task.length_unit_px(frame))
    foreground = FrameEvidence.of(frame, sample).foreground
    picture = to_sam_rgb(frame.image).copy()
    outlines, _ = cv2.findContours(
        foreground.mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(picture, outlines, -1, (255, 170, 0), 1)
    panel.imshow(picture)
    panel.set_title(
        f"estimated foreground: {'bright' if foreground.polarity > 0 else 'dark'} particles"
    )
    panel.set_axis_off()


def _draw_terms(panel: Any, task: Task, score: Score) -> None:
    total = sum(target.weight for target in task.terms.values())
    names = [f"{name}\nweight {target.weight / total:.2f}" for name, target in task.terms.items()]
    bars = panel.barh(names, list(score.terms.values()), color="tab:blue")
    panel.bar_label(bars, fmt="%.2f", padding=3)
    panel.axvline(score.total, color="black", linewidth=1, label=f"score {score.total:.3f}")
    panel.set_xlim(0, 1.1)
    panel.invert_yaxis()
    panel.legend(loc="lower right")
    panel.set_title("terms")


def _draw_diameters(panel: Any, task: Task, frame: Frame, found: Segmentation) -> None:
    diameters = found.table.equivalent_diameter_area / task.length_unit_px(frame)
    target = task.terms.get("size")
    expected = np.exp(target.quantiles()) if isinstance(target, SizeTarget) else np.zeros(0)
    everything = np.concatenate([diameters, expected])
    if len(everything):
        edges = np.geomspace(0.9 * everything.min(), 1.1 * everything.max(), 25)
        panel.hist(diameters, bins=edges, weights=_shares(diameters), alpha=0.6, label="masks")
        if len(expected):
            weights = _shares(expected)
            panel.hist(expected, bins=edges, weights=weights, histtype="step", label="target")
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_ylabel("share of all")
        panel.legend()
    panel.set_xlabel(f"equivalent diameter / {task.length_unit}")
    panel.set_title("diameters")


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights by which a histogram shows shares: densities would shrink with wide log bins."""
    return np.full(len(values), 1 / max(len(values), 1))
