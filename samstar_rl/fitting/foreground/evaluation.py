"""How well foregrounds agree with ground truth: the network's and the final estimate's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.fitting.evaluation import innermost_pixel
from samstar_rl.fitting.foreground.samples import FIRST_JUDGING_SEED, rim_map
from samstar_rl.foreground.estimate import estimate_foreground
from samstar_rl.foreground.network import ForegroundNetwork, map_particles
from samstar_rl.foreground.scales import find_bodies, map_at_scales
from samstar_rl.frames.intensity import normalise
from samstar_rl.simulator import SimulatedStream, draw_family_image

if TYPE_CHECKING:
    from samstar_rl.fitting.emps import Labelled

TOUCHING_FAMILIES = ("agglomerates", "powder", "aggregates", "dense", "packed_rods", "chains")
SMALLEST_JUDGED_PX = 30
LARGEST_RELATIVE_ERROR = 0.25


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
    height, width = labels.shape
    full = cv2.resize(maps.probability, (width, height), interpolation=cv2.INTER_LINEAR)
    count, _ = cv2.connectedComponents((maps.core > 0.5).astype(np.uint8), connectivity=4)
    return ForegroundResult(
        network_dice=dice(np.asarray(full > 0.5), labels > 0),
        estimate_dice=dice(estimate.mask, labels > 0),
        network_count_error=_count_error(int(count) - 1, true_count),
        estimate_count_error=_count_error(estimate.n_particles, true_count),
    )


@dataclass(frozen=True)
class BodyResult:
    """How well the diameters of one frame's particles are estimated.

    Parameters
    ----------
    within_quarter, touching_within_quarter : float
        Share of instances whose diameter, as mapped at their innermost pixel, is right within 25 %:
        of all that are whole, and of those that touch another; NaN where there are none.
    typical_error : float
        Relative error of the median diameter; 1 where no body was found.
    count_error : float
        As in `ForegroundResult`, of the bodies at all scales.
    """

    within_quarter: float
    touching_within_quarter: float
    typical_error: float
    count_error: float


def judge_bodies(
    network: ForegroundNetwork, image: NDArray[np.uint8], labels: Labels
) -> BodyResult:
    """Compare estimated diameters with those of labelled instances.

    Parameters
    ----------
    network : ForegroundNetwork
    image : (H, W) uint8 array
    labels : (H, W) int32 array
        Instances of at least 30 px^2 are judged.

    Returns
    -------
    BodyResult
    """
    maps = map_at_scales(network, normalise(image.astype(np.float32)))
    bodies = find_bodies(maps, labels.shape)
    areas = np.bincount(labels.ravel()).astype(np.float64)
    true_px = np.sqrt(4 / np.pi * areas)
    judged = areas >= SMALLEST_JUDGED_PX
    judged[0] = False
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    whole = judged.copy()
    whole[cut] = False
    touching = np.zeros(len(areas), bool)
    touching[labels[rim_map(labels) > 0]] = True
    assert maps.diameter_px is not None
    scale = np.sqrt(labels.size / maps.diameter_px.size)
    found_px = np.full(len(areas), np.inf)
    for instance in np.flatnonzero(whole):
        x, y = innermost_pixel(labels == instance)
        row = (2 * y + 1) * maps.diameter_px.shape[0] // (2 * labels.shape[0])
        column = (2 * x + 1) * maps.diameter_px.shape[1] // (2 * labels.shape[1])
        found_px[instance] = maps.diameter_px[row, column] * scale
    right = np.abs(found_px / np.maximum(true_px, 1e-6) - 1) <= LARGEST_RELATIVE_ERROR
    usual = float(np.median(true_px[judged])) if judged.any() else np.nan
    typical = bodies.typical_diameter_px
    return BodyResult(
        within_quarter=_share(right[whole]),
        touching_within_quarter=_share(right[whole & touching]),
        typical_error=1.0 if typical is None else abs(typical / usual - 1),
        count_error=_count_error(len(bodies.diameters_px), int(judged.sum())),
    )


def touching_frames(*, seeds: Iterable[int], size: int) -> Iterator[Labelled]:
    """Single images of families whose particles touch, of seeds that no training saw."""
    for seed in seeds:
        rng = np.random.default_rng([7, FIRST_JUDGING_SEED, seed])
        family = TOUCHING_FAMILIES[seed % len(TOUCHING_FAMILIES)]
        image, labels = draw_family_image(rng, family, (size, size))
        if labels.any():
            yield image, labels


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


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _count_error(found: int, true: int) -> float:
    return abs(float(np.log((found + 1) / (true + 1))))
