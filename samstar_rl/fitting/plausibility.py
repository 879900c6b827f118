"""Fit the network of the term `plausibility` to labelled frames.

What is fitted is whether a mask reaches an IoU of 0.5 with a particle, softened by a few hundredths
of IoU. The masks are those that random settings of a task keep, each once, and, so that it
also holds for masks that no SAM made, the true masks and the adversaries' ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import BatchSampler, RandomSampler, TensorDataset

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.evidence.likeness import Likeness, standardise
from samstar_rl.segmentation.filters import segment
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.truth.adversaries import ADVERSARIES, true_masks
from samstar_rl.truth.metrics import Truth
from samstar_rl.truth.validity import draw_settings

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task

Evidence = NDArray[np.float64]

#: IoU over which a mask goes from no particle to one.
IOU_WIDTH = 0.05
#: Weight of a frame's true masks, and of each adversary's, beside all masks that SAM made there.
WEIGHT_OF_TRUTH, WEIGHT_OF_ADVERSARY = 0.15, 0.05
HIDDEN = 96
EPOCHS = 40
BATCH_SIZE = 2048
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 0.01


@dataclass(frozen=True)
class MaskSamples:
    """Masks of one frame.

    Parameters
    ----------
    evidence : (M, E) array
        As `FrameEvidence.description` gives it.
    iou : (M,) array
        Best IoU with a particle.
    weight : (M,) array
    """

    evidence: NDArray[np.float64]
    iou: NDArray[np.float64]
    weight: NDArray[np.float64]


def sample_masks(
    bank: Bank, task: Task, *, n_settings: int, seed: int, every: int = 1
) -> Iterator[MaskSamples]:
    """Describe the masks of a labelled bank's frames, and how well each matches a particle.

    Parameters
    ----------
    bank : Bank
        With truth.
    task : Task
    n_settings : int
        Settings drawn for each frame.
    seed : int
    every : int
        Takes every so many-th frame.

    Returns
    -------
    iterator of MaskSamples
        One a frame.
    """
    drawn = draw_settings(task.space, n_settings, seed)
    settings = [choice for choice in drawn if choice.prompt in bank.prompts]
    for index in range(0, len(bank), every):
        yield _sample_frame(bank, index, task, settings, np.random.default_rng([seed, index]))


def fit(samples: Iterable[MaskSamples], *, seed: int) -> Iterator[Likeness]:
    """Fit the network; yields it after each epoch. Every frame counts alike."""
    torch.manual_seed(seed)
    frames = list(samples)
    evidence = np.concatenate([frame.evidence for frame in frames])
    iou = np.concatenate([frame.iou for frame in frames])
    weight = np.concatenate([frame.weight for frame in frames])
    mean, spread = evidence.mean(axis=0), evidence.std(axis=0) + 1e-6
    deviation = standardise(evidence, mean, spread)
    wanted = 1 / (1 + np.exp(-(iou - 0.5) / IOU_WIDTH))
    data = TensorDataset(*map(_tensor, (deviation, wanted, weight / weight.mean())))
    network = nn.Sequential(nn.Linear(len(mean), HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = BatchSampler(RandomSampler(data), BATCH_SIZE, drop_last=False)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.01, EPOCHS * len(batches))
    for _ in range(EPOCHS):
        for batch in batches:
            inputs, targets, weights = data[batch]
            optimiser.zero_grad()
            logits = network(inputs)[:, 0]
            binary_cross_entropy_with_logits(logits, targets, weights).backward()
            optimiser.step()
            schedule.step()
        yield _likeness_of(network, mean, spread)


def _likeness_of(network: nn.Sequential, mean: Evidence, spread: Evidence) -> Likeness:
    hidden, bias, out, out_bias = (p.detach().numpy().copy() for p in network.parameters())
    return Likeness(mean, spread, hidden.T, bias, out[0], out_bias)


def _tensor(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _sample_frame(
    bank: Bank, index: int, task: Task, settings: Sequence[Settings], rng: np.random.Generator
) -> MaskSamples:
    frame, labels = bank.frame(index), bank.truth(index)
    unit_px = task.length_unit_px(frame)
    known = FrameEvidence.of(frame, task.sample.scaled(unit_px))
    truth, masks = Truth(labels), true_masks(labels)
    chosen = (segment(bank.proposals(index, s.prompt), s, length_unit_px=unit_px) for s in settings)
    true = Segmentation.from_labels(labels, frame)
    sources = [(_once_each(chosen), 1.0), ([true], WEIGHT_OF_TRUTH)]
    for make in ADVERSARIES.values():
        found = Segmentation.from_masks(make(masks, rng), frame) if masks else None
        sources += [([found], WEIGHT_OF_ADVERSARY)] if found is not None else []
    evidence, iou, weight = [], [], []
    for segmentations, share in sources:
        rows = [(known.description(s.table), _best_iou(s, truth)) for s in segmentations]
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
