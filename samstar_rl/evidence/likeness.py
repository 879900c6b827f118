"""How likely a mask is a particle, all evidence of it taken together by a small network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from samstar_rl.evidence.mask_evidence import EVIDENCE as EVIDENCE_OF_MASKS

if TYPE_CHECKING:
    from samstar_rl.foreground.estimate import Foreground
    from samstar_rl.masks.particle_table import ParticleTable

Weights = NDArray[np.float64]

WEIGHTS = "plausibility.safetensors"
_OF_TABLE = (
    "predicted_iou",
    "stability_score",
    "circularity",
    "solidity",
    "aspect_ratio",
    "contrast",
    "edge_strength",
    "touches_border",
    "log_diameter",
    "log_relative_diameter",
)
#: Names of the evidence, in the order of `describe_masks`.
EVIDENCE = (*_OF_TABLE, *EVIDENCE_OF_MASKS)
_LEAST_DIAMETER = 0.003
_MOST_ASPECT, _MOST_EDGE, _MOST_RELATIVE, _MOST_BODIES = 6.0, 2.0, 2.5, 4.0
#: Evidence farther from its mean than this, in standard deviations, counts as that far.
_MOST_DEVIATIONS = 4.0


@dataclass(frozen=True, eq=False)
class Likeness:
    """A network of one hidden layer: evidence of masks to the probability of a match.

    Parameters
    ----------
    mean, spread : (E,) arrays
        By which evidence is standardised.
    hidden, hidden_bias : (E, H) and (H,) arrays
    out, out_bias : (H,) and (1,) arrays
    """

    mean: Weights
    spread: Weights
    hidden: Weights
    hidden_bias: Weights
    out: Weights
    out_bias: Weights

    def of(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability of each mask, (K,), of its evidence, (K, E)."""
        deviation = standardise(evidence, self.mean, self.spread)
        # Summed one after the other: a matrix product's order, and its last bits, depend on K.
        inner = np.tile(self.hidden_bias, (len(evidence), 1))
        for column, weights in zip(deviation.T, self.hidden, strict=True):
            inner += column[:, None] * weights
        logit = np.full(len(evidence), self.out_bias[0])
        for column, weight in zip(np.tanh(inner).T, self.out, strict=True):
            logit += column * weight
        return np.asarray(1 / (1 + np.exp(-logit)))


def standardise(evidence: Weights, mean: Weights, spread: Weights) -> Weights:
    """Express evidence in standard deviations from its mean, outliers drawn in.

    Parameters
    ----------
    evidence : (K, E) array
    mean, spread : (E,) arrays

    Returns
    -------
    (K, E) array
    """
    return np.clip((evidence - mean) / spread, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)


@lru_cache(maxsize=1)
def packaged_likeness() -> Likeness:
    """The fitted network of the package; `samstar dev fit-plausibility` fits it."""
    file = resources.files("samstar_rl.evidence") / WEIGHTS
    with resources.as_file(file) as path:
        arrays = load_file(path)
    return Likeness(**{name: array.astype(np.float64) for name, array in arrays.items()})


def describe_masks(
    table: ParticleTable, columns: Sequence[NDArray[np.float64]], foreground: Foreground
) -> NDArray[np.float64]:
    """Gather the evidence of each mask.

    Parameters
    ----------
    table : ParticleTable
        Of K masks.
    columns : sequence of (K,) arrays
        How they lie on image and foreground, in the order of `mask_evidence.EVIDENCE`.
    foreground : Foreground

    Returns
    -------
    (K, E) array
        In the order of `EVIDENCE`.
    """
    share = table.equivalent_diameter_area / min(table.store.shape)
    relative = np.log(np.maximum(table.area, 1) / foreground.particle_area_px) / 2
    of_masks = dict(zip(EVIDENCE_OF_MASKS, columns, strict=True))
    of_masks["n_bodies"] = np.minimum(of_masks["n_bodies"], _MOST_BODIES)
    evidence = (
        table.predicted_iou,
        table.stability_score,
        table.circularity,
        table.solidity,
        np.minimum(table.aspect_ratio, _MOST_ASPECT),
        np.clip(foreground.polarity * table.contrast, -0.5, 0.8),
        np.clip(table.edge_strength / foreground.full_slope, 0, _MOST_EDGE),
        table.touches_border,
        np.log(share + _LEAST_DIAMETER),
        np.clip(relative, -_MOST_RELATIVE, _MOST_RELATIVE),
        *of_masks.values(),
    )
    return np.nan_to_num(np.stack(evidence, axis=1))
