"""Whether a task's score stands in for ground truth on many frames, in numbers and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from samstar_rl._io import atomic
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.simulator import SimulatedStream
from samstar_rl.simulator.seeds import first_seed
from samstar_rl.truth.gazes import compare_gazes
from samstar_rl.truth.validity import validate_frame, validity_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from samstar_rl.bank.bank import Bank
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.truth.validity import FrameValidity

COLUMNS = ("ground truth", "foreground as the score estimates it", "best by score", "best by truth")
INCHES = 3.2
WORST = 4
"""Frames that are drawn."""
STREAM_FRAMES = (0, 40, 120)
"""Frames of simulated streams: which ones, counted from the start, so that the drift shows."""


def simulated_places(
    task: Task, n_frames: int, *, size_px: int, seed: int
) -> list[tuple[SimulatedStream, int]]:
    """Simulated frames to test a task's score on.

    Parameters
    ----------
    task : Task
        Whose name is the simulator's preset.
    n_frames : int
    size_px : int
        Side of a frame.
    seed : int

    Returns
    -------
    list of (SimulatedStream, int)
        The stream of each frame, and the frame's place in it.
    """
    places, first = [], first_seed("validity", seed)
    for index in range(n_frames):
        number, place = divmod(index, len(STREAM_FRAMES))
        stream = SimulatedStream(task.name, seed=first + number, size=size_px)
        places.append((stream, STREAM_FRAMES[place]))
    return places


def draw_from(places: Sequence[tuple[SimulatedStream, int]]) -> Iterator[LabelledFrame]:
    """The frames at places of simulated streams."""
    for stream, place in places:
        with stream:
            yield stream.frame_at(place)


def validate_bank(
    tasks: Sequence[Task],
    bank: Bank,
    settings: Sequence[Settings],
    *,
    seed: int,
    gaze: bool = False,
    on_progress: Callable[[float], None],
) -> list[FrameValidity]:
    """Compare score and truth on all frames of a bank, each by its own task.

    Parameters
    ----------
    tasks : sequence of Task
        One a frame; they differ in their targets alone: all frames see the same settings.
    bank : Bank
        With truth.
    settings : sequence of Settings
    seed : int
    gaze : bool
        Whether to ask what the gaze alone is worth; the bank must be of tasks `with_gaze`.
    on_progress : callable
        Called with the share that is done, in [0, 1].

    Returns
    -------
    list of FrameValidity
    """
    validities = []
    for index, task in enumerate(tasks):
        labelled = LabelledFrame(bank.frame(index), bank.truth(index))
        proposals = partial(bank.proposals, index)
        validity = validate_frame(task, labelled, proposals, settings, seed + index)
        if gaze:
            validity = replace(validity, gaze=compare_gazes(task, labelled, proposals))
        validities.append(validity)
        on_progress((index + 1) / len(tasks))
    return validities


def write_validity(
    folder: Path,
    validities: Sequence[FrameValidity],
    tasks: Sequence[Task],
    bank: Bank,
    settings: Sequence[Settings],
) -> dict[str, Any]:
    """Write validity.json, validity.png and worst.png.

    Parameters
    ----------
    folder : path
    validities : sequence of FrameValidity
        Of the bank's frames, in its order.
    tasks : sequence of Task
        By which each was scored.
    bank : Bank
    settings : sequence of Settings
        Those that were compared.

    Returns
    -------
    dict
        The figures, as in validity.json.
    """
    figures = {"task": tasks[0].name, "sam_sha256": bank.sam_sha256, **validity_figures(validities)}
    atomic.write_json(folder / "validity.json", figures)
    atomic.write_figure(folder / "validity.png", draw_validity(validities), dpi=90)
    worst = draw_worst(validities, tasks, bank, settings)
    atomic.write_figure(folder / "worst.png", worst, dpi=90, bbox_inches="tight")
    return figures


def draw_validity(validities: Sequence[FrameValidity]) -> Figure:
    """Score against F1, a panel a frame, the worst first; crosses are adversaries' scores."""
    ordered = sorted(validities, key=lambda validity: validity.spearman)
    columns = min(6, len(ordered))
    rows = -(-len(ordered) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.6 * rows + 0.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for panel, validity in zip(panels, ordered, strict=False):
        panel.scatter(validity.f1s, validity.scores, s=6, alpha=0.5, linewidths=0)
        panel.axhline(validity.truth_score.total, color="tab:green", linewidth=1)
        for score in validity.adversary_scores.values():
            panel.axhline(score.total, color="tab:red", linewidth=0.4, alpha=0.6)
        title = f"{validity.frame_id}\nrho {validity.spearman:.2f}, regret {validity.regret:.2f}"
        panel.set_title(title, fontsize=8)
    for panel in panels[len(ordered) :]:
        panel.set_visible(False)
    figure.supxlabel("F1 at IoU 0.5")
    figure.supylabel("score (green: truth, red: adversaries)")
    return figure


def draw_worst(
    validities: Sequence[FrameValidity],
    tasks: Sequence[Task],
    bank: Bank,
    settings: Sequence[Settings],
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

    Returns
    -------
    Figure
    """
    worst = np.argsort([validity.spearman for validity in validities], kind="stable")[:WORST]
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
    sample = next(iter(targets.values())).sample
    foreground = FrameEvidence.of(frame, sample).foreground.mask

    def chosen(values: np.ndarray) -> tuple[int, Segmentation]:
        best = int(np.argmax(values))
        proposals = bank.proposals(index, settings[best].prompt)
        return best, filter_proposals(proposals, settings[best], **reward.gauge(frame))

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
