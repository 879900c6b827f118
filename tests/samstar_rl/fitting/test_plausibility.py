"""The fit of the term `plausibility`."""

from __future__ import annotations

import numpy as np
import pytest

from samstar_rl.evidence.likeness import EVIDENCE
from samstar_rl.fitting.plausibility import MaskSamples, fit


def drawn_samples(seed: int, n: int = 400) -> tuple[MaskSamples, np.ndarray]:
    """Masks whose IoU follows from two pieces of the evidence."""
    rng = np.random.default_rng(seed)
    evidence = rng.normal(3.0, 2.0, (n, len(EVIDENCE)))
    signal = (evidence[:, 0] - evidence[:, 3]) / 2
    iou = np.clip(0.5 + 0.3 * signal, 0, 1)
    return MaskSamples(evidence, iou, np.full(n, 1 / n)), signal


def test_the_fit_finds_what_decides() -> None:
    samples = [drawn_samples(seed)[0] for seed in range(4)]
    *_, fitted = fit(samples, seed=0)
    unseen, signal = drawn_samples(9)
    likeness = fitted.of(unseen.evidence)
    assert np.corrcoef(likeness, signal)[0, 1] > 0.9
    assert likeness[signal > 0.7].min() > 0.5 > likeness[signal < -0.7].max()


def test_the_same_seed_gives_the_same_network() -> None:
    samples, _ = drawn_samples(2)
    fits = [next(iter(fit([samples], seed=seed))) for seed in (0, 0, 1)]
    assert np.array_equal(fits[0].hidden, fits[1].hidden)
    assert not np.array_equal(fits[0].hidden, fits[2].hidden)


def test_the_fit_standardises_the_evidence() -> None:
    samples, _ = drawn_samples(2)
    scaled = MaskSamples(10 * samples.evidence + 5, samples.iou, samples.weight)
    one, other = (next(iter(fit([each], seed=0))) for each in (samples, scaled))
    assert one.of(samples.evidence) == pytest.approx(other.of(scaled.evidence), abs=1e-4)
