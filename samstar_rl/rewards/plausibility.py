"""Term `plausibility`: each mask looks like a particle, all evidence taken together."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from samstar_rl.columns import MaskColumns
from samstar_rl.foreground import Foreground
from samstar_rl.frames.frame import Frame
from samstar_rl.masks import Ids, MaskStore
from samstar_rl.rewards.counting import mean_over_expected
from samstar_rl.rewards.evidence import foreground_for, mask_evidence
from samstar_rl.rewards.target import Target
from samstar_rl.segmentation import Segmentation

#: Evidence of a mask: mean and standard deviation over masks, and weight of the standardised value.
WEIGHTS: dict[str, tuple[float, float, float]] = {
    "predicted_iou": (0.7023, 0.3373, 0.6182),
    "logit_of_predicted_iou": (2.032, 2.602, -0.001214),
    "circularity": (0.6779, 0.2738, 0.1373),
    "solidity": (0.8037, 0.1889, -0.006853),
    "solidity_squared": (0.6816, 0.2558, 0.005618),
    "aspect_ratio": (1.706, 0.9557, -0.1012),
    "contrast": (0.1812, 0.1904, 0.8504),
    "edge_strength": (1.413, 0.615, 0.4323),
    "purity": (0.6401, 0.3897, 0.4211),
    "purity_squared": (0.5616, 0.4014, 0.1378),
    "rim_support": (0.4931, 0.3239, 0.4313),
    "rim_support_squared": (0.3481, 0.3235, 0.1143),
    "inside_std": (0.1487, 0.08064, 0.07665),
    "log_diameter": (-2.916, 0.6583, -0.1373),
    "log_diameter_squared": (8.934, 3.814, -0.5116),
    "purity_and_rim_support": (0.3807, 0.321, -0.3013),
    "predicted_iou_and_rim_support": (0.402, 0.3335, 0.2201),
    "predicted_iou_and_purity": (0.5112, 0.3801, 0.2362),
}
BIAS = -0.307
#: Names of the evidence, in the order of `describe_masks`.
EVIDENCE = (
    "predicted_iou",
    "logit_of_predicted_iou",
    "circularity",
    "solidity",
    "solidity_squared",
    "aspect_ratio",
    "contrast",
    "edge_strength",
    "purity",
    "purity_squared",
    "rim_support",
    "rim_support_squared",
    "inside_std",
    "log_diameter",
    "log_diameter_squared",
    "purity_and_rim_support",
    "predicted_iou_and_rim_support",
    "predicted_iou_and_purity",
)
_LEAST_LOGIT, _LEAST_DIAMETER = 0.01, 0.003
_MOST_ASPECT, _MOST_EDGE = 6.0, 2.0


_LIKENESS: WeakKeyDictionary[MaskStore, WeakKeyDictionary[Foreground, MaskColumns]] = (
    WeakKeyDictionary()
)


class PlausibilityTarget(Target):
    """How much single masks look like particles."""


def plausibility(
    segmentation: Segmentation,
    frame: Frame,
    target: PlausibilityTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score how much the masks look like particles.

    .. math:: \frac{1}{N} \sum_k u_k \, \sigma\Big(b + \sum_i w_i z_{ki}\Big)

    with the logistic function :math:`\sigma` of mask k's evidence :math:`z_{ki}` (`describe_masks`,
    standardised): rim, foreground, homogeneity, shape, size and SAM's own judgement, combined as
    measures of objectness are (B. Alexe et al., IEEE Trans. Pattern Anal. Mach. Intell. 34, 2012).
    The weights `WEIGHTS` were fitted once, to whether masks of labelled micrographs and of
    simulated frames reach an IoU of 0.5 with a particle; no frame's own truth enters. Terms about a
    single kind of evidence average it over masks before they are multiplied; here the product is
    taken mask by mask. :math:`u_k` and N count as `counting.mean_over_expected` says.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    likeness = particle_likeness(segmentation, foreground_for(frame, target.sample))
    return mean_over_expected(likeness, segmentation, frame, target.sample)


def particle_likeness(segmentation: Segmentation, foreground: Foreground) -> NDArray[np.float64]:
    """Estimated probability that a mask matches a particle at an IoU of 0.5, (K,).

    It depends on the mask alone, not on what else is kept, and is remembered.
    """
    of_store = _LIKENESS.setdefault(segmentation.masks, WeakKeyDictionary())
    columns = of_store.get(foreground)
    if columns is None:
        columns = of_store[foreground] = MaskColumns(("likeness",))

    def weigh(ids: Ids) -> NDArray[np.float64]:
        positions = np.unique(segmentation.mask_ids, return_index=True)[1]
        missing = positions[np.isin(segmentation.mask_ids[positions], ids)]
        return _weigh(describe_masks(segmentation.part(missing), foreground))[:, None]

    ids = segmentation.mask_ids
    return columns.get("likeness", ids, len(segmentation.masks), weigh)


def _weigh(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    mean, spread, weight = np.array(list(WEIGHTS.values())).T
    return np.asarray(1 / (1 + np.exp(-BIAS - ((evidence - mean) / spread) @ weight)))


def describe_masks(segmentation: Segmentation, foreground: Foreground) -> NDArray[np.float64]:
    """The evidence of each mask, (K, evidence), in the order of `EVIDENCE`."""
    table, evidence = segmentation.table, mask_evidence(segmentation, foreground)
    sure, purity, rim_support = table.predicted_iou, evidence.purity, evidence.rim_support
    share = table.equivalent_diameter / min(segmentation.shape)
    log_diameter = np.log(share + _LEAST_DIAMETER)
    columns = (
        sure,
        _logit(sure),
        table.circularity,
        table.solidity,
        table.solidity**2,
        np.minimum(table.aspect_ratio, _MOST_ASPECT),
        np.clip(foreground.polarity * table.contrast, -0.5, 0.8),
        np.clip(table.edge_strength / foreground.full_slope, 0, _MOST_EDGE),
        purity,
        purity**2,
        rim_support,
        rim_support**2,
        evidence.inside_std,
        log_diameter,
        log_diameter**2,
        purity * rim_support,
        sure * rim_support,
        sure * purity,
    )
    return np.nan_to_num(np.stack(columns, axis=1))


def _logit(share: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(share, _LEAST_LOGIT, 1 - _LEAST_LOGIT)
    return np.asarray(np.log(kept / (1 - kept)))
