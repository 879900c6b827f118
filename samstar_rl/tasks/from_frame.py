"""Targets of a task, estimated from one frame: from labels, or from the image alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from samstar_rl.errors import SamstarError
from samstar_rl.foreground.estimate import body_peaks, estimate_foreground
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.tasks.task import DENSITY_SUFFIXES, Task, load_task

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame

#: Below this many particles a distribution is a guess, and its width is taken to be 25 %.
FEW_PARTICLES = 8
#: Of a body of an unlabelled frame that is taken for a particle.
LEAST_AREA_PX = 20
_GUESSED_STD = 1.25
_LEAST_STD = 1.05
#: Largest over median diameter from which on sizes count as mixed.
_MIXED = 4.0


class EstimationError(SamstarError):
    """A frame says too little to estimate a task from it."""


def task_from_labels(name: str, frame: Frame, labels: NDArray[np.integer]) -> Task:
    """Estimate a task from one annotated frame.

    Parameters
    ----------
    name : str
        Of the new task.
    frame : Frame
        With a pixel size the task is in nm, without one in shares of the frame's short side.
    labels : (H, W) integer array
        0 is background.

    Returns
    -------
    Task

    Raises
    ------
    EstimationError
        If there is no particle.
    """
    particles = Segmentation.from_labels(labels, frame)
    if len(particles) == 0:
        raise EstimationError("the labels hold no particle: every label is 0")
    unit = "frame" if frame.pixel_size_nm is None else "nm"
    unit_px = frame.short_side_px if frame.pixel_size_nm is None else 1 / frame.pixel_size_nm
    return Task.from_dict(
        {
            "name": name,
            "description": f"Estimated from {len(particles)} particles of frame {frame.id}.",
            "length_unit": unit,
            "sample": _sample(particles, unit, unit_px),
            "terms": _terms(particles, unit, unit_px),
            **_settings(particles, unit_px),
        }
    )


def task_from_image(name: str, frame: Frame) -> Task:
    """Propose a task from an unlabelled frame: its foreground, touching particles cut apart.

    Raises
    ------
    EstimationError
        If no foreground is found.
    """
    labels = rough_labels(frame)
    if not labels.any():
        raise EstimationError(f"no particle stands out in frame {frame.id}: give labels instead")
    task = task_from_labels(name, frame, labels)
    text = f"Proposed from the unlabelled frame {frame.id}: look at every number."
    return Task.from_dict(task.to_dict() | {"description": text})


def rough_labels(frame: Frame) -> NDArray[np.int32]:
    """Label the foreground's bodies, touching ones cut apart by a watershed, (H, W).

    Bodies below `LEAST_AREA_PX` are left out: nothing can be said of their size or shape.
    """
    mask = estimate_foreground(frame.image).mask
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    seeds = np.zeros(mask.shape, dtype=np.int32)
    for label, (y, x) in enumerate(body_peaks(mask), start=1):
        seeds[y, x] = label
    labels = np.asarray(watershed(-distance, seeds, mask=mask), dtype=np.int32)
    areas = np.bincount(labels.ravel())
    return np.where(areas[labels] >= LEAST_AREA_PX, labels, 0).astype(np.int32)


def _sample(particles: Segmentation, unit: str, unit_px: float) -> dict[str, Any]:
    low, high = _diameter_range(particles, unit_px)
    median = float(np.median(particles.table.equivalent_diameter_area)) / unit_px
    return {
        "contrast": _contrast(particles),
        "sizes": "mixed" if high > _MIXED * median else "alike",
        f"min_diameter_{unit}": _rounded(0.6 * low),
        f"max_diameter_{unit}": _rounded(1.6 * high),
    }


def _diameter_range(particles: Segmentation, unit_px: float) -> tuple[float, float]:
    """Bound the diameters by all particles but slivers at the border, aggregates included."""
    diameters = particles.table.equivalent_diameter_area / unit_px
    return float(np.percentile(diameters, 5)), float(diameters.max())


def _contrast(particles: Segmentation) -> str:
    """The sign that four in five particles share, or "either"."""
    share = float(np.mean(particles.table.contrast > 0))
    return "bright" if share >= 0.8 else "dark" if share <= 0.2 else "either"


def _terms(particles: Segmentation, unit: str, unit_px: float) -> dict[str, Any]:
    terms = load_task("particles").to_dict()["terms"]
    terms["size"] = {"weight": 1.0, **_size(particles, unit, unit_px)}
    terms["completeness"] = {"weight": 0.5, **_density(particles, unit, unit_px)}
    table = particles.table
    whole = ~table.touches_border if (~table.touches_border).any() else slice(None)
    terms["shape"] = terms["shape"] | {
        "circularity": [_rounded(0.9 * np.percentile(table.circularity[whole], 10)), 1.0],
        "solidity": [_rounded(0.95 * np.percentile(table.solidity[whole], 10)), 1.0],
        "aspect_ratio": [1.0, _rounded(1.2 * np.percentile(table.aspect_ratio[whole], 95))],
    }
    return dict(terms)


def _size(particles: Segmentation, unit: str, unit_px: float) -> dict[str, Any]:
    """Median and spread of the whole particles; those that the border cuts measure too small."""
    diameters = particles.table.equivalent_diameter_area / unit_px
    whole = ~particles.table.touches_border
    logarithms = np.log(diameters[whole] if whole.sum() >= FEW_PARTICLES else diameters)
    few = len(logarithms) < FEW_PARTICLES
    # half of the middle 68 %: a few fragments or aggregates do not widen it
    low, high = np.percentile(logarithms, [16, 84])
    spread = _GUESSED_STD if few else max(float(np.exp((high - low) / 2)), _LEAST_STD)
    return {
        "distribution": "lognormal",
        f"median_diameter_{unit}": _rounded(np.exp(np.median(logarithms))),
        "geometric_std": _rounded(spread),
    }


def _density(particles: Segmentation, unit: str, unit_px: float) -> dict[str, Any]:
    """Range of the number of particles per area; another frame of the sample holds others."""
    height, width = particles.shape
    suffix, size = DENSITY_SUFFIXES[unit]
    density = len(particles) / (height * width) * unit_px**2 / size
    # two standard deviations of a Poisson number, at least half as many again
    factor = 1 + max(0.5, 2 / np.sqrt(len(particles)))
    return {f"number_density_{suffix}": [_rounded(density / factor), _rounded(density * factor)]}


def _settings(particles: Segmentation, unit_px: float) -> dict[str, Any]:
    """SAM's settings as in the task `particles`; gates around the diameters seen."""
    template = load_task("particles").to_dict()
    low, high = _diameter_range(particles, unit_px)
    free = {n: s for n, s in template["settings"].items() if not n.endswith("_diameter")}
    free["min_diameter"] = {"low": _rounded(0.2 * low), "high": _rounded(0.9 * low)}
    free["max_diameter"] = {"low": _rounded(1.2 * high), "high": _rounded(4.0 * high)}
    static = template["static"]
    static |= {"min_diameter": _rounded(0.6 * low), "max_diameter": _rounded(1.6 * high)}
    return {"settings": free, "static": static}


def _rounded(value: float) -> float:
    """Round to three significant digits."""
    return float(f"{value:.3g}")
