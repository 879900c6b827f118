"""Fit the weights of the term `plausibility` to labelled frames by logistic regression.

What is fitted is whether a mask reaches an IoU of 0.5 with a particle, softened by a few hundredths
of IoU. The masks are those that random settings of a task keep, each once, and, so that the weights
also hold for masks that no SAM made, the true masks and the adversaries' ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samstar_rl.adversaries import ADVERSARIES, true_masks
from samstar_rl.bank import Bank
from samstar_rl.metrics import Truth
from samstar_rl.rewards.evidence import foreground_for
from samstar_rl.rewards.plausibility import EVIDENCE, describe_masks
from samstar_rl.segmentation import Segmentation, segment
from samstar_rl.settings import Settings
from samstar_rl.task import Task
from samstar_rl.validity import draw_settings

#: IoU over which a mask goes from no particle to one.
IOU_WIDTH = 0.05
#: Weight of a frame's true masks, and of each adversary's, beside all masks that SAM made there.
WEIGHT_OF_TRUTH, WEIGHT_OF_ADVERSARY = 0.15, 0.05
RIDGE = 0.01
_STEPS = 30


@dataclass(frozen=True)
class MaskSamples:
    """Masks of one frame.

    Parameters
    ----------
    evidence : (M, E) array
        As `describe_masks` gives it.
    iou : (M,) array
        Best IoU with a particle.
    weight : (M,) array
    """

    evidence: NDArray[np.float64]
    iou: NDArray[np.float64]
    weight: NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """What `WEIGHTS` and `BIAS` of the term are to be.

    Parameters
    ----------
    weights : dict of str to (mean, standard deviation, weight)
    bias : float
    """

    weights: dict[str, tuple[float, float, float]]
    bias: float


def sample_masks(bank: Bank, task: Task, *, n_settings: int, seed: int) -> Iterator[MaskSamples]:
    """The masks of each frame of a labelled bank."""
    settings = draw_settings(task.space, n_settings, seed)
    for index in range(len(bank)):
        yield _sample_frame(bank, index, task, settings, np.random.default_rng([seed, index]))


def fit(samples: Iterable[MaskSamples]) -> Fitted:
    """Fit the weights by Newton's method; every frame counts alike."""
    frames = list(samples)
    evidence = np.concatenate([frame.evidence for frame in frames])
    iou = np.concatenate([frame.iou for frame in frames])
    weight = np.concatenate([frame.weight for frame in frames])
    mean, spread = evidence.mean(axis=0), evidence.std(axis=0) + 1e-6
    design = np.column_stack([(evidence - mean) / spread, np.ones(len(evidence))])
    wanted = 1 / (1 + np.exp(-(iou - 0.5) / IOU_WIDTH))
    found = _logistic_regression(design, wanted, weight / weight.sum())
    columns = zip(EVIDENCE, mean, spread, found, strict=False)
    weights = {name: (float(m), float(s), float(w)) for name, m, s, w in columns}
    return Fitted(weights, float(found[-1]))


def _logistic_regression(
    design: NDArray[np.float64], wanted: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients (E + 1,), the last one, of the constant, without a penalty."""
    penalty = np.append(np.full(design.shape[1] - 1, RIDGE), 1e-6)
    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        likely = 1 / (1 + np.exp(-design @ found))
        slope = design.T @ (weight * (likely - wanted)) + penalty * found
        curvature = (design * (weight * likely * (1 - likely))[:, None]).T @ design
        found -= np.linalg.solve(curvature + np.diag(penalty), slope)
    return found


def _sample_frame(
    bank: Bank, index: int, task: Task, settings: Sequence[Settings], rng: np.random.Generator
) -> MaskSamples:
    frame, labels = bank.frame(index), bank.truth(index)
    unit_px = task.length_unit_px(frame)
    foreground = foreground_for(frame, task.sample.scaled(unit_px))
    truth, masks = Truth(labels), true_masks(labels)
    chosen = (segment(bank.proposals(index, s.prompt), s, length_unit_px=unit_px) for s in settings)
    true = Segmentation.from_labels(labels, frame)
    sources = [(_once_each(chosen), 1.0), ([true], WEIGHT_OF_TRUTH)]
    for make in ADVERSARIES.values():
        found = Segmentation.from_masks(make(masks, rng), frame) if masks else None
        sources += [([found], WEIGHT_OF_ADVERSARY)] if found is not None else []
    evidence, iou, weight = [], [], []
    for segmentations, share in sources:
        rows = [(describe_masks(s, foreground), _best_iou(s, truth)) for s in segmentations]
        count = sum(len(row) for row, _ in rows)
        evidence += [row for row, _ in rows]
        iou += [best for _, best in rows]
        weight.append(np.full(count, share / max(count, 1)))
    return MaskSamples(np.concatenate(evidence), np.concatenate(iou), np.concatenate(weight))


def _once_each(segmentations: Iterable[Segmentation]) -> list[Segmentation]:
    """The masks of many segmentations, each once: a segmentation for each choice of prompts."""
    kept: dict[int, tuple[Segmentation, set[int]]] = {}
    for found in segmentations:
        known = kept.setdefault(id(found.proposals), (found, set()))
        # a mask whose regions were cleaned is another one
        known[1].update(found.kept[found.kept == found.mask_ids].tolist())
    merged = []
    for found, ids in kept.values():
        order = np.array(sorted(ids), dtype=np.intp)
        merged.append(Segmentation(found.frame_id, found.settings, found.proposals, order, order))
    return merged


def _best_iou(segmentation: Segmentation, truth: Truth) -> NDArray[np.float64]:
    ious = truth.ious(segmentation)
    best = np.zeros(len(segmentation))
    np.maximum.at(best, ious.coords[0], ious.data)
    return best
