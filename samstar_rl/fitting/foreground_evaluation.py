"""How well foregrounds agree with ground truth: the network's and the final estimate's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.fitting.foreground_samples import FIRST_JUDGING_SEED
from samstar_rl.foreground.estimate import estimate_foreground
from samstar_rl.foreground.network import ForegroundMaps, ForegroundNetwork, map_particles
from samstar_rl.frames.intensity import normalise
from samstar_rl.simulator import SimulatedStream

if TYPE_CHECKING:
    from samstar_rl.fitting.emps import Labelled

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class ForegroundResult:
    """One frame, judged.

    Parameters
    ----------
    network_dice, estimate_dice : float
        Dice of the network's foreground (probability above 0.5) and of the mask of
        `estimate_foreground` with the true one, at full resolution.
    network_count_error, estimate_count_error : float
        Absolute value of ln((found + 1) / (true + 1)), where found is the number of bodies of the
        core map above a half, and `Foreground.n_particles`.
    """

    network_dice: float
    estimate_dice: float
    network_count_error: float
    estimate_count_error: float


def judge(network: ForegroundNetwork, image: NDArray[np.uint8], labels: Labels) -> ForegroundResult:
    """Compare both estimates of an image's foreground with its labels.

    Parameters
    ----------
    network : ForegroundNetwork
    image : (H, W) uint8 array
    labels : (H, W) int32 array
        0 is background.

    Returns
    -------
    ForegroundResult
    """
    grey = image.astype(np.float32)
    maps = map_particles(network, normalise(grey))
    estimate = estimate_foreground(grey, "either")
    true_count = len(np.unique(labels[labels > 0]))
    return ForegroundResult(
        network_dice=dice(foreground_mask(maps, labels.shape), labels > 0),
        estimate_dice=dice(estimate.mask, labels > 0),
        network_count_error=_count_error(count_cores(maps), true_count),
        estimate_count_error=_count_error(estimate.n_particles, true_count),
    )


def foreground_mask(maps: ForegroundMaps, shape: tuple[int, ...]) -> Mask:
    """Where the probability exceeds a half at full resolution (H, W)."""
    height, width = shape
    full = cv2.resize(maps.probability, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full > 0.5)


def count_cores(maps: ForegroundMaps) -> int:
    """Number of bodies of the core map above a half."""
    count, _ = cv2.connectedComponents((maps.core > 0.5).astype(np.uint8), connectivity=4)
    return int(count) - 1


def dice(found: Mask, true: Mask) -> float:
    """2 |A and B| / (|A| + |B|), and 1 of two empty masks."""
    total = np.count_nonzero(found) + np.count_nonzero(true)
    return 2 * np.count_nonzero(found & true) / total if total else 1.0


def judging_frames(preset: str, *, seeds: Iterable[int], size: int) -> Iterator[Labelled]:
    """Draw the first frames of simulated streams that no training saw.

    Parameters
    ----------
    preset : str
    seeds : iterable of int
        Counted from `FIRST_JUDGING_SEED`.
    size : int
        Side in px.

    Returns
    -------
    iterator of (image, labels)
        (size, size) uint8 and (size, size) int32.
    """
    for seed in seeds:
        with SimulatedStream(preset, seed=FIRST_JUDGING_SEED + seed, size=size) as stream:
            labelled = stream.frame_at(0)
        yield labelled.frame.image.astype(np.uint8), labelled.truth.astype(np.int32)


def _count_error(found: int, true: int) -> float:
    return abs(float(np.log((found + 1) / (true + 1))))
