"""The registry of reward terms: each is one pure function with a target of its own kind."""

from __future__ import annotations

from collections.abc import Callable

from samstar_rl.rewards.contrast import ContrastTarget, contrast
from samstar_rl.rewards.coverage import CoverageTarget, coverage
from samstar_rl.rewards.overlap import OverlapTarget, overlap
from samstar_rl.rewards.shape import ShapeTarget, shape
from samstar_rl.rewards.size import SizeTarget, size
from samstar_rl.rewards.target import Target

#: name -> term(segmentation, frame, target with lengths in px, previous segmentation or None)
TERMS: dict[str, Callable[..., float]] = {
    "coverage": coverage,
    "overlap": overlap,
    "shape": shape,
    "contrast": contrast,
    "size": size,
}

#: name -> what the term's table in a task file holds
TARGETS: dict[str, type[Target]] = {
    "coverage": CoverageTarget,
    "overlap": OverlapTarget,
    "shape": ShapeTarget,
    "contrast": ContrastTarget,
    "size": SizeTarget,
}
