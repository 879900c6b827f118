"""The fit of the term `plausibility`: its samples, the network, and whether it is calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import draw, grid

from samstar_rl.evidence.plausibility import EVIDENCE
from samstar_rl.evidence.polar_views import N_ANGLES, RADII
from samstar_rl.fitting.plausibility.fit import fit, fit_logistic, logits_of
from samstar_rl.fitting.plausibility.mask_samples import (
    MaskSamples,
    as_views,
    background_patches,
    draw_empty,
    sample_empty,
    sample_made,
    samples_on_disk,
)
from samstar_rl.fitting.plausibility.reliability import (
    draw_reliability,
    measure_reliability,
    reliability,
)
from samstar_rl.frames.frame import LabelledFrame

SHAPE = (128, 128)


def drawn_samples(seed: int, n: int = 300) -> MaskSamples:
    """Masks whose IoU follows from how bright their middle is and from the first figure."""
    rng = np.random.default_rng(seed)
    views = rng.integers(-40, 40, (n, 2, len(RADII), N_ANGLES)).astype(np.int8)
    figures = rng.normal(3, 2, (n, len(EVIDENCE))).astype(np.float32)
    bright = rng.random(n) < 0.5
    views[bright, 0, :8] = 100
    iou = np.clip(0.25 + 0.5 * bright + 0.1 * (figures[:, 0] - 3), 0, 1).astype(np.float32)
    ones = np.ones(n, dtype=np.float32)
    return MaskSamples(views, figures, iou, ones, ones)


@pytest.fixture(scope="module")
def labelled():
    frame, masks = draw(SHAPE, grid(SHAPE, 32, 18))
    labels = np.zeros(SHAPE, dtype=np.int32)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    return LabelledFrame(frame, labels)


def test_the_fit_finds_what_decides() -> None:
    *_, fitted = fit([drawn_samples(seed) for seed in range(12)], seed=0, epochs=6)
    unseen = drawn_samples(99)
    probability = 1 / (1 + np.exp(-logits_of(fitted.likeness.network, unseen)))
    assert np.corrcoef(probability, unseen.iou >= 0.5)[0, 1] > 0.7
    judged = fitted.likeness.of(as_views(unseen.views), unseen.figures)
    assert judged == pytest.approx(probability, abs=1e-4)


def test_the_same_seed_gives_the_same_network() -> None:
    fits = [next(iter(fit([drawn_samples(2)], seed=seed, epochs=1))) for seed in (0, 0, 1)]
    weights = [one.likeness.network.out.weight.detach().numpy() for one in fits]
    assert np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[0], weights[2])


def test_scale_and_offset_make_probabilities_of_logits() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    target = (rng.random(20_000) < 1 / (1 + np.exp(-true))).astype(float)
    scale, offset = fit_logistic((true - 1) / 3, target, np.ones(20_000))
    assert (scale, offset) == (pytest.approx(3, rel=0.08), pytest.approx(1, abs=0.1))
    assert fit_logistic(true, np.ones(20_000), np.ones(20_000)) == (1, 0)


def test_reliability_counts_what_matches() -> None:
    predicted = np.repeat([0.05, 0.75], 100)
    matched = np.r_[np.zeros(100), np.ones(60), np.zeros(40)] > 0
    found = reliability(predicted, matched, np.ones(200))
    assert found.observed[[0, 7]] == pytest.approx([0, 0.6])
    assert found.error == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)
    assert np.isnan(found.observed[3])


def test_reliability_is_told_apart_by_zoom_and_size() -> None:
    samples = drawn_samples(1)
    groups = measure_reliability(np.zeros(len(samples.iou)), samples)
    assert {"all", "zoom 1"} < set(groups)
    assert len(draw_reliability(groups).axes) == 2


def test_made_masks_are_true_and_wrong(labelled) -> None:
    samples = sample_made(labelled, 0)
    n_true = labelled.truth.max()
    assert samples.iou[:n_true] == pytest.approx(1)
    assert (samples.iou < 0.5).sum() > n_true
    assert samples.views.shape == (len(samples.iou), 2, len(RADII), N_ANGLES)


def test_patches_of_background_touch_no_particle(labelled) -> None:
    patches = background_patches(labelled.truth, np.random.default_rng(0))
    assert len(patches) > 3
    assert not any((labelled.truth[patch] > 0).any() for patch in patches)


def test_empty_frames_hold_no_particle() -> None:
    samples = sample_empty(3)
    assert len(samples.iou) > 10 and samples.iou.max() == 0
    image = draw_empty(np.random.default_rng(0), 96)
    assert image.shape == (96, 96) and np.isfinite(image).all() and np.ptp(image) > 0


def test_samples_are_made_once(labelled, tmp_path) -> None:
    path = tmp_path / "kept" / "samples.npz"
    made = samples_on_disk(path, lambda: sample_made(labelled, 0))
    known = samples_on_disk(path, lambda: pytest.fail("made again"))
    for name, array in vars(made).items():
        np.testing.assert_array_equal(array, getattr(known, name))
