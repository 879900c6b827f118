"""The fit of the term `plausibility`."""

from __future__ import annotations

import numpy as np
import pytest

from samstar_rl.rewards.plausibility import EVIDENCE
from samstar_rl.training.plausibility import MaskSamples, fit


def drawn_samples(seed: int, n: int = 400) -> tuple[MaskSamples, np.ndarray]:
    """Masks whose IoU follows from two pieces of the evidence."""
    rng = np.random.default_rng(seed)
    evidence = rng.normal(3.0, 2.0, (n, len(EVIDENCE)))
    signal = (evidence[:, 0] - evidence[:, 3]) / 2
    iou = np.clip(0.5 + 0.3 * signal, 0, 1)
    return MaskSamples(evidence, iou, np.full(n, 1 / n)), signal


def test_the_fit_finds_what_decides() -> None:
    samples, _ = drawn_samples(0)
    fitted = fit([samples, drawn_samples(1)[0]])
    weights = {name: weight for name, (_, _, weight) in fitted.weights.items()}
    strongest = sorted(weights, key=lambda name: -abs(weights[name]))[:2]
    assert set(strongest) == {EVIDENCE[0], EVIDENCE[3]}
    assert weights[EVIDENCE[0]] > 0 > weights[EVIDENCE[3]]


def test_the_fit_standardises_the_evidence() -> None:
    samples, _ = drawn_samples(2)
    scaled = MaskSamples(10 * samples.evidence + 5, samples.iou, samples.weight)
    for (_, _, one), (_, _, other) in zip(
        fit([samples]).weights.values(), fit([scaled]).weights.values(), strict=True
    ):
        assert one == pytest.approx(other, abs=1e-6)
