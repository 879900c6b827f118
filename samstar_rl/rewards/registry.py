"""The registry of reward terms: each is one pure function with a target of its own kind.

All terms take the same, whether they use it or not: the segmentation whose masks are scored; the
frame that was segmented; the target, which is what the task asks for, with its lengths in px; and
the segmentation of the frame before in a stream, None at its beginning.
"""

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

#: name -> the term, and what its table in a task file holds
_TERMS: dict[str, tuple[Callable[..., float], type[Target]]] = {
    "coverage": (coverage, CoverageTarget),
    "overlap": (overlap, OverlapTarget),
    "completeness": (completeness, CompletenessTarget),
    "size": (size, SizeTarget),
    "shape": (shape, ShapeTarget),
    "contrast": (contrast, ContrastTarget),
    "purity": (purity, PurityTarget),
    "confidence": (confidence, ConfidenceTarget),
    "plausibility": (plausibility, PlausibilityTarget),
    "expected_f1": (expected_f1, ExpectedF1Target),
    "homogeneity": (homogeneity, HomogeneityTarget),
    "smoothness": (smoothness, SmoothnessTarget),
    "border": (border, BorderTarget),
    "order": (order, OrderTarget),
    "tiling": (tiling, TilingTarget),
    "nesting": (nesting, NestingTarget),
    "temporal": (temporal, TemporalTarget),
}
TERMS = {name: term for name, (term, _) in _TERMS.items()}
TARGETS = {name: target for name, (_, target) in _TERMS.items()}

#: Terms that never ask what the foreground is.
WITHOUT_FOREGROUND = frozenset({"overlap", "size", "order", "tiling", "nesting", "temporal"})
