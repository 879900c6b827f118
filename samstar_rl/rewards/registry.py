"""The registry of reward terms: each is one pure function with a target of its own kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from samstar_rl.rewards.terms.border import BorderTarget, border
from samstar_rl.rewards.terms.completeness import CompletenessTarget, completeness
from samstar_rl.rewards.terms.confidence import ConfidenceTarget, confidence
from samstar_rl.rewards.terms.contrast import ContrastTarget, contrast
from samstar_rl.rewards.terms.coverage import CoverageTarget, coverage
from samstar_rl.rewards.terms.expected_f1 import ExpectedF1Target, expected_f1
from samstar_rl.rewards.terms.homogeneity import HomogeneityTarget, homogeneity
from samstar_rl.rewards.terms.nesting import NestingTarget, nesting
from samstar_rl.rewards.terms.order import OrderTarget, order
from samstar_rl.rewards.terms.overlap import OverlapTarget, overlap
from samstar_rl.rewards.terms.plausibility import PlausibilityTarget, plausibility
from samstar_rl.rewards.terms.purity import PurityTarget, purity
from samstar_rl.rewards.terms.shape import ShapeTarget, shape
from samstar_rl.rewards.terms.size import SizeTarget, size
from samstar_rl.rewards.terms.smoothness import SmoothnessTarget, smoothness
from samstar_rl.rewards.terms.temporal import TemporalTarget, temporal
from samstar_rl.rewards.terms.tiling import TilingTarget, tiling

if TYPE_CHECKING:
    from samstar_rl.rewards.target import Target

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
