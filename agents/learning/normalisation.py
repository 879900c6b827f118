"""Normalisation of observations, fitted on the frames of the training bank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.agents.policies.network import Normalisation
from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.envs.observation.schema import ObservationSchema, Vector

_SENSED = ("image", "foreground", "embedding", "gaze", "targets", "free")
_LEAST_STD = 1e-4


def fit_normalisation(
    schema: ObservationSchema,
    frame_parts: Iterable[Vector],
    *,
    embedding_gain: float = 1.0,
    targets_gain: float = 1.0,
    without: Sequence[str] = (),
) -> Normalisation:
    """Statistics of what is sensed in the frames; the other blocks are scaled by their ranges.

    Mean and variance run over the frames (Welford 1962), so that a bank of any size fits. A number
    that is the same in all frames gets the scale 0: the policy never reacts to it.

    Parameters
    ----------
    schema : ObservationSchema
    frame_parts : iterable of (d,) arrays
        `ObservationBuilder.frame_part` of each training frame.
    embedding_gain : float
        Weight of the pooled embedding, whose many numbers would drown the others.
    targets_gain : float
        Weight of what the task expects.
    without : sequence of str
        Blocks that get the scale 0: the policy never sees them.

    Returns
    -------
    Normalisation

    Raises
    ------
    SamstarError
        If there are no frames, or ``without`` names a block that does not exist.
    """
    _check_blocks(schema, without)
    low, high = schema.limits()
    mean = ((low + high) / 2).astype(np.float64)
    scale = 2.0 / np.maximum(high - low, 1e-6).astype(np.float64)
    sensed = slice(0, max(block.stop for block in schema.blocks if block.name in _SENSED))
    frame_mean, std = _running(frame_parts)
    mean[sensed] = frame_mean
    scale[sensed] = np.where(std > _LEAST_STD, 1.0 / np.maximum(std, _LEAST_STD), 0.0)
    scale[schema["embedding"].slice] *= embedding_gain
    scale[schema["targets"].slice] *= targets_gain
    for name in without:
        scale[schema[name].slice] = 0.0
    return Normalisation(mean.astype(np.float32), scale.astype(np.float32))


def _check_blocks(schema: ObservationSchema, names: Sequence[str]) -> None:
    known = [block.name for block in schema.blocks]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SamstarError(
            f"the observation has no block {unknown[0]!r} to leave out: expected some of "
            + ", ".join(known)
        )


def _running(vectors: Iterable[Vector]) -> tuple[np.ndarray, np.ndarray]:
    count, mean, squares = 0, np.zeros(0), np.zeros(0)
    for vector in vectors:
        if count == 0:
            mean, squares = np.zeros(len(vector)), np.zeros(len(vector))
        count += 1
        step = vector - mean
        mean = mean + step / count
        squares = squares + step * (vector - mean)
    if count == 0:
        raise SamstarError("there are no frames to fit the normalisation on: give a bank with some")
    return mean, np.sqrt(squares / count)
