"""Fit the network of the term `plausibility` to masks whose IoU with particles is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from samstar_rl.evidence.plausibility import EVIDENCE, Likeness, LikenessNetwork, reversed_views
from samstar_rl.evidence.polar_views import N_ANGLES
from samstar_rl.fitting.evaluation import MATCH_IOU
from samstar_rl.fitting.plausibility.mask_samples import MaskSamples, as_views

if TYPE_CHECKING:
    from collections.abc import Sequence

#: IoU over which a mask goes from no particle to one.
IOU_WIDTH = 0.03
EPOCHS = 8
BATCH_SIZE = 256
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.05
#: Noise that is added to greys, whose spread is about 1.
_GREY_NOISE = 0.15
#: Share of SAM's masks that the network sees without SAM's own judgement, as masks of others are.
_ANONYMOUS_SHARE = 0.1
_JUDGED_BY_SAM = np.array([EVIDENCE.index(name) for name in ("predicted_iou", "stability_score")])
#: Each k-th frame is kept out of the fit, for calibration.
CALIBRATION_EVERY = 6
_NEWTON_STEPS = 20


@dataclass(frozen=True)
class Fitted:
    """The network after an epoch.

    Parameters
    ----------
    likeness : Likeness
    loss : float
        Mean binary cross-entropy on the frames kept out.
    """

    likeness: Likeness
    loss: float


def fit(
    samples: Sequence[MaskSamples],
    *,
    seed: int,
    begin_from: LikenessNetwork | None = None,
    epochs: int = EPOCHS,
) -> Iterator[Fitted]:
    """Fit the network; yields it, calibrated, after each epoch.

    Masks count as their weights say. Each sixth of the samples is kept out of the fit of the
    weights; on it, scale and offset of the logit are fitted, so that of SAM's masks of probability
    p a share of p match a particle.

    Parameters
    ----------
    samples : sequence of MaskSamples
        Of one frame each.
    seed : int
    begin_from : LikenessNetwork, optional
        Weights to go on from.
    epochs : int

    Yields
    ------
    Fitted
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    kept_out = MaskSamples.joined(samples[CALIBRATION_EVERY - 1 :: CALIBRATION_EVERY] or samples)
    fitted_to = [one for k, one in enumerate(samples) if (k + 1) % CALIBRATION_EVERY]
    data = MaskSamples.joined(fitted_to or samples)
    network = LikenessNetwork()
    if begin_from is None:
        network.mean.copy_(torch.from_numpy(data.figures.mean(axis=0)))
        network.spread.copy_(torch.from_numpy(data.figures.std(axis=0) + 1e-3))
    else:
        network.load_state_dict(begin_from.state_dict())
        network.scale.fill_(1)
        network.offset.fill_(0)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    n_batches = -(-len(data.iou) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=epochs * n_batches, pct_start=0.15
    )
    weight = torch.from_numpy(data.weight / data.weight.mean())
    wanted = 1 / (1 + np.exp(-(data.iou - MATCH_IOU) / IOU_WIDTH))
    wanted = torch.from_numpy(np.asarray(wanted, dtype=np.float32))
    for _ in range(epochs):
        network.train()
        for batch in np.array_split(rng.permutation(len(data.iou)), n_batches):
            # frames that are turned by any angle, half of the time flipped, and noisier
            views = torch.from_numpy(as_views(data.views[batch]))
            views = views.roll(int(rng.integers(N_ANGLES)), -1)
            views[:, 0] += _GREY_NOISE * torch.randn(views.shape[0], *views.shape[2:])
            views = reversed_views(views) if rng.random() < 0.5 else views
            figures = data.figures[batch]
            anonymous = np.flatnonzero(rng.random(len(figures)) < _ANONYMOUS_SHARE)
            figures[anonymous[:, None], _JUDGED_BY_SAM] = 1
            logits = network(views, torch.from_numpy(figures))
            loss = binary_cross_entropy_with_logits(logits, wanted[batch], weight[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        yield _calibrated(network, kept_out)


def logits_of(network: LikenessNetwork, samples: MaskSamples) -> NDArray[np.float64]:
    """The network's logits (M,) of samples, as `Likeness.of` takes them: of both directions."""
    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(samples.iou), 1024):
            views = torch.from_numpy(as_views(samples.views[start : start + 1024]))
            figures = torch.from_numpy(samples.figures[start : start + 1024])
            both = network(views, figures) + network(reversed_views(views), figures)
            found.append(both.double().numpy() / 2)
    return np.concatenate([np.zeros(0), *found])


def _calibrated(network: LikenessNetwork, kept_out: MaskSamples) -> Fitted:
    """A copy of the network with scale and offset that fit the samples kept out."""
    copy = LikenessNetwork()
    copy.load_state_dict(network.state_dict())
    logits, target = logits_of(copy, kept_out), (kept_out.iou >= MATCH_IOU).astype(np.float64)
    # the masks that will be judged are SAM's
    of_sam = kept_out.weight * (kept_out.zoom > 0) if kept_out.zoom.any() else kept_out.weight
    scale, offset = fit_logistic(logits, target, of_sam.astype(np.float64))
    copy.scale.fill_(scale)
    copy.offset.fill_(offset)
    found = np.clip(1 / (1 + np.exp(-(scale * logits + offset))), 1e-7, 1 - 1e-7)
    losses = -(target * np.log(found) + (1 - target) * np.log(1 - found))
    return Fitted(Likeness(copy), float(np.average(losses, weights=kept_out.weight)))


def fit_logistic(
    logits: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float]:
    """Scale and offset of logits that make targets likeliest (J. C. Platt, 1999).

    Parameters
    ----------
    logits : (M,) array
    target : (M,) array
        0 or 1.
    weight : (M,) array

    Returns
    -------
    scale, offset : float
        1 and 0 where the targets are all alike, so that there is nothing to fit.
    """
    if np.ptp(target) == 0:
        return 1.0, 0.0
    inputs = np.stack([logits, np.ones_like(logits)], axis=1)
    found, weight = np.array([1.0, 0.0]), weight / weight.sum()
    for _ in range(_NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ found, -40, 40)))
        slope = inputs.T @ (weight * (probability - target)) + 1e-4 * (found - [1, 0])
        curvature = (inputs.T * (weight * probability * (1 - probability))) @ inputs
        found = found - np.linalg.solve(curvature + 1e-4 * np.eye(2), slope)
    return float(found[0]), float(found[1])
