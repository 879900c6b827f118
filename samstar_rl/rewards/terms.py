"""The registry of reward terms: each is one pure function with a target of its own kind."""

from __future__ import annotations

from collections.abc import Callable

from samstar_rl.rewards.border import BorderTarget, border
from samstar_rl.rewards.completeness import CompletenessTarget, completeness
from samstar_rl.rewards.confidence import ConfidenceTarget, confidence
from samstar_rl.rewards.contrast import ContrastTarget, contrast
from samstar_rl.rewards.coverage import CoverageTarget, coverage
from samstar_rl.rewards.expected_f1 import ExpectedF1Target, expected_f1
from samstar_rl.rewards.homogeneity import HomogeneityTarget, homogeneity
from samstar_rl.rewards.nesting import NestingTarget, nesting
from samstar_rl.rewards.order import OrderTarget, order
from samstar_rl.rewards.overlap import OverlapTarget, overlap
from samstar_rl.rewards.plausibility import PlausibilityTarget, plausibility
from samstar_rl.rewards.purity import PurityTarget, purity
from samstar_rl.rewards.shape import ShapeTarget, shape
from samstar_rl.rewards.size import SizeTarget, size
from samstar_rl.rewards.smoothness import SmoothnessTarget, smoothness
from samstar_rl.rewards.target import Target
from samstar_rl.rewards.temporal import TemporalTarget, temporal
from samstar_rl.rewards.tiling import TilingTarget, tiling

#: name -> term(segmentation, frame, target with lengths in px, previous segmentation or None)
TERMS: dict[str, Callable[..., float]] = {
    "coverage": coverage,
    "overlap": overlap,
    "completeness": completeness,
    "size": size,
    "shape": shape,
    "contrast": contrast,
    "purity": purity,
    "confidence": confidence,
    "plausibility": plausibility,
    "expected_f1": expected_f1,
    "homogeneity": homogeneity,
    "smoothness": smoothness,
    "border": border,
    "order": order,
    "tiling": tiling,
    "nesting": nesting,
    "temporal": temporal,
}

#: name -> what the term's table in a task file holds
TARGETS: dict[str, type[Target]] = {
    "coverage": CoverageTarget,
    "overlap": OverlapTarget,
    "completeness": CompletenessTarget,
    "size": SizeTarget,
    "shape": ShapeTarget,
    "contrast": ContrastTarget,
    "purity": PurityTarget,
    "confidence": ConfidenceTarget,
    "plausibility": PlausibilityTarget,
    "expected_f1": ExpectedF1Target,
    "homogeneity": HomogeneityTarget,
    "smoothness": SmoothnessTarget,
    "border": BorderTarget,
    "order": OrderTarget,
    "tiling": TilingTarget,
    "nesting": NestingTarget,
    "temporal": TemporalTarget,
}

#: Terms that never ask what the foreground is.
WITHOUT_FOREGROUND = frozenset({"overlap", "size", "order", "tiling", "nesting", "temporal"})
