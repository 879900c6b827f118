"""Whether a plausibility is a probability: how often masks of each match a particle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from samstar_rl.evidence.plausibility import EVIDENCE
from samstar_rl.fitting.evaluation import MATCH_IOU
from samstar_rl.fitting.plausibility.mask_samples import MaskSamples

#: Masks are told apart by their diameters in px.
SIZES = (0.0, 12.0, 24.0, 48.0, np.inf)
N_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """How often masks of a probability are particles.

    Parameters
    ----------
    predicted, observed : (B,) arrays
        Mean probability of the masks of a bin, and the share of them that match; NaN of none.
    share : (B,) array
        Of all masks that lie in a bin.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Mean difference of both over masks: the expected calibration error."""
        return float(np.nansum(self.share * np.abs(self.predicted - self.observed)))


def reliability(
    predicted: NDArray[np.float64], matched: NDArray[np.bool_], weight: NDArray[np.float64]
) -> Reliability:
    """Sort masks by probability into ten bins of equal width, and count how many match in each.

    Parameters
    ----------
    predicted : (M,) array
        Probabilities.
    matched : (M,) bool array
    weight : (M,) array

    Returns
    -------
    Reliability
    """
    bins = np.minimum((predicted * N_BINS).astype(np.intp), N_BINS - 1)
    total = np.bincount(bins, weight, N_BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, weight * predicted, N_BINS) / total
        share = np.bincount(bins, weight * matched, N_BINS) / total
    return Reliability(mean, share, total / max(float(weight.sum()), 1e-12))


def measure_reliability(
    logits: NDArray[np.float64], samples: MaskSamples
) -> dict[str, Reliability]:
    """Reliability of all of SAM's masks, of those of each zoom, and of those of each size.

    The logits (M,) are of their plausibilities.
    """
    predicted = 1 / (1 + np.exp(-logits))
    diameter = np.exp(samples.figures[:, EVIDENCE.index("log_diameter")])
    groups = {"all": np.ones(len(predicted), dtype=bool)}
    groups |= {f"zoom {zoom:g}": samples.zoom == zoom for zoom in np.unique(samples.zoom)}
    for low, high in pairwise(SIZES):
        name = f"{low:g} to {high:g} px" if np.isfinite(high) else f"above {low:g} px"
        groups[name] = (diameter >= low) & (diameter < high)
    matched, weight = samples.iou >= MATCH_IOU, samples.weight.astype(np.float64)
    return {
        name: reliability(predicted[group], matched[group], weight[group])
        for name, group in groups.items()
        if group.any()
    }


def draw_reliability(groups: Mapping[str, Reliability]) -> Figure:
    """Share of particles against plausibility: a panel for zooms and one for sizes."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for panel, marks in zip(panels, ("zoom", "px"), strict=True):
        panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, group in groups.items():
            if name == "all" or marks in name:
                width = 2.5 if name == "all" else 1.2
                label = f"{name} (off by {group.error:.2f})"
                panel.plot(group.predicted, group.observed, "o-", ms=3, lw=width, label=label)
        panel.legend(fontsize=8)
        panel.set_xlabel("plausibility")
    panels[0].set_ylabel("share of masks that match a particle")
    return figure
