"""Each reward term against cases whose value is known."""

from __future__ import annotations

import time
from typing import get_type_hints

import numpy as np
import pytest
from drawn_particles import disc, draw, found, grid, hexagonal
from pydantic import ValidationError

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.foreground.sample import Sample
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards import TARGETS, TERMS
from samstar_rl.rewards.counting import covered_foreground, expected_count
from samstar_rl.rewards.target import Target
from samstar_rl.rewards.terms.border import BorderTarget, border
from samstar_rl.rewards.terms.completeness import CompletenessTarget, completeness
from samstar_rl.rewards.terms.confidence import ConfidenceTarget, confidence
from samstar_rl.rewards.terms.contrast import ContrastTarget, contrast
from samstar_rl.rewards.terms.coverage import CoverageTarget, coverage
from samstar_rl.rewards.terms.expected_f1 import ExpectedF1Target
from samstar_rl.rewards.terms.homogeneity import HomogeneityTarget, homogeneity
from samstar_rl.rewards.terms.nesting import NestingTarget, nesting
from samstar_rl.rewards.terms.order import OrderTarget, bond_order, order
from samstar_rl.rewards.terms.overlap import OverlapTarget, overlap
from samstar_rl.rewards.terms.plausibility import PlausibilityTarget
from samstar_rl.rewards.terms.purity import PurityTarget, purity
from samstar_rl.rewards.terms.shape import ShapeTarget, range_membership, shape
from samstar_rl.rewards.terms.size import SizeTarget, expected_distance, size, wasserstein_1
from samstar_rl.rewards.terms.smoothness import (
    SmoothnessTarget,
    ellipse_perimeter,
    outline_smoothness,
)
from samstar_rl.rewards.terms.temporal import TemporalTarget, temporal
from samstar_rl.rewards.terms.tiling import TilingTarget, tiling
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.tasks.task import Terms

SHAPE = (160, 200)
CIRCLES = grid(SHAPE, 40, 20)

EXAMPLES: dict[str, Target] = {
    "coverage": CoverageTarget(),
    "overlap": OverlapTarget(),
    "completeness": CompletenessTarget(),
    "size": SizeTarget(distribution="lognormal", median_diameter=20, geometric_std=1.2),
    "shape": ShapeTarget(solidity=(0.9, 1.0), circularity=(0.8, 1.0), facetting=(0.0, 0.5)),
    "contrast": ContrastTarget(),
    "purity": PurityTarget(),
    "confidence": ConfidenceTarget(),
    "plausibility": PlausibilityTarget(),
    "expected_f1": ExpectedF1Target(),
    "homogeneity": HomogeneityTarget(),
    "smoothness": SmoothnessTarget(),
    "border": BorderTarget(policy="exclude"),
    "order": OrderTarget(lattice_constant=40.0),
    "tiling": TilingTarget(),
    "nesting": NestingTarget(),
    "temporal": TemporalTarget(),
}


@pytest.fixture(scope="module")
def drawn() -> tuple[Frame, list[np.ndarray]]:
    return draw(SHAPE, CIRCLES)


def test_registry_is_whole() -> None:
    assert list(TERMS) == list(TARGETS) == list(EXAMPLES)
    assert set(get_type_hints(Terms)) == set(TERMS)


@pytest.mark.parametrize("name", TERMS)
def test_no_particles(name: str, drawn: tuple[Frame, list[np.ndarray]]) -> None:
    value = TERMS[name](found(drawn[0], []), drawn[0], EXAMPLES[name], None)
    assert value == (1.0 if name in ("overlap", "temporal") else pytest.approx(0.0, abs=0.01))


@pytest.mark.parametrize("name", TERMS)
def test_one_particle(name: str, drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    assert 0 <= TERMS[name](found(frame, masks[:1]), frame, EXAMPLES[name], None) <= 1


@pytest.mark.parametrize("name", [*TERMS])
def test_empty_masks_do_no_harm(name: str, drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    empty = np.zeros(SHAPE, bool)
    value = TERMS[name](found(frame, [masks[0], empty]), frame, EXAMPLES[name], None)
    assert 0 <= value <= 1


@pytest.mark.parametrize("name", TERMS)
def test_terms_are_pure(name: str, drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    one, other = found(frame, masks), found(frame, masks)
    term, target = TERMS[name], EXAMPLES[name]
    first = term(one, frame, target, one)
    term(found(frame, masks[:2]), frame, target, None)
    assert term(other, frame, target, other) == pytest.approx(first, abs=1e-12)


def test_five_thousand_masks() -> None:
    """Every term survives them, and a score of ordinary size stays quick."""
    shape = (600, 600)
    circles = grid(shape, 8.4, 6.0)[:5000]
    image = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    frame = Frame(image, 1.0, "many")
    labels = np.zeros(shape, dtype=np.int32)
    for number, (x, y, _) in enumerate(circles, 1):
        window = labels[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
        window[disc((7, 7), 3, 3, 6.0)] = number
    many = Segmentation.from_labels(labels, frame)
    assert len(many) == len(circles) > 4900
    started = time.process_time()
    for name, term in TERMS.items():
        assert 0 <= term(many, frame, EXAMPLES[name], many) <= 1, name
    assert time.process_time() - started < 60


# size


@pytest.mark.parametrize(
    "target",
    [
        SizeTarget(distribution="lognormal", median_diameter=20, geometric_std=1.3),
        SizeTarget(distribution="normal", mean_diameter=20, std_diameter=3),
        SizeTarget(distribution="uniform", low_diameter=10, high_diameter=30),
        SizeTarget(distribution="sample", diameters=tuple(np.linspace(10, 40, 50))),
    ],
)
def test_quantiles_have_no_distance_to_themselves(target: SizeTarget) -> None:
    quantiles = target.quantiles()
    assert wasserstein_1(quantiles, quantiles) == pytest.approx(0, abs=1e-12)
    assert wasserstein_1(quantiles + np.log(2), quantiles) == pytest.approx(np.log(2))


def test_wasserstein_of_one_particle_is_the_mean_distance() -> None:
    target = SizeTarget(distribution="uniform", low_diameter=10, high_diameter=30)
    quantiles = target.quantiles()
    expected = np.abs(quantiles - np.log(20)).mean()
    assert wasserstein_1(np.array([np.log(20)]), quantiles) == pytest.approx(expected)


@pytest.mark.parametrize("n", [5, 20, 100])
def test_expected_distance_is_what_samples_show(n: int) -> None:
    target = SizeTarget(distribution="lognormal", median_diameter=20, geometric_std=1.4)
    rng = np.random.default_rng(n)
    samples = np.log(20) + np.log(1.4) * rng.normal(size=(400, n))
    mean = np.mean([wasserstein_1(sample, target.quantiles()) for sample in samples])
    assert expected_distance(target.quantiles(), n) == pytest.approx(mean, rel=0.25)


def test_size_tells_right_from_wrong_diameters() -> None:
    frame, masks = draw((200, 200), grid((200, 200), 40, 20))
    right = SizeTarget(
        distribution="lognormal", median_diameter=20, geometric_std=1.05, uncertainty=0.2
    )
    values = [
        size(found(frame, masks), frame, right.model_copy(update={"median_diameter": median}))
        for median in (20.0, 23.0, 30.0, 60.0)
    ]
    assert values[0] == values[1] == 1.0  # within the uncertainty
    assert 0.9 > values[2] > values[3]
    assert values[3] < 0.1


def test_targets_scale_with_the_unit() -> None:
    target = SizeTarget(distribution="normal", mean_diameter=9.0, std_diameter=1.0)
    twice = target.scaled(2.0)
    assert (twice.mean_diameter, twice.std_diameter) == (18.0, 2.0)
    assert twice.geometric_std is None


def test_size_target_needs_its_parameters() -> None:
    with pytest.raises(ValidationError, match="needs median_diameter and geometric_std"):
        SizeTarget(distribution="lognormal", mean_diameter=3)
    with pytest.raises(ValidationError, match="below"):
        SizeTarget(distribution="uniform", low_diameter=3, high_diameter=2)


# counting


def test_copies_count_once(drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    np.testing.assert_allclose(found(frame, masks).uniqueness, 1.0)
    np.testing.assert_allclose(found(frame, [masks[0]] * 4).uniqueness, 0.25)


def test_covered_pixels_are_counted_once() -> None:
    frame, masks = draw((200, 240), grid((200, 240), 40, 22))
    # one by itself, two that overlap, one twice
    shown = [masks[0], masks[1], np.roll(masks[1], 9, axis=1), masks[5], masks[5]]
    segmentation = found(frame, shown)
    evidence = FrameEvidence.of(frame, Sample())
    union = np.any(shown, axis=0)
    expected = (int(union.sum()), int((union & evidence.foreground.mask).sum()))
    assert covered_foreground(segmentation, evidence) == expected
    assert 0 < expected[1] < expected[0]


def test_expected_count_does_not_depend_on_what_is_found(
    drawn: tuple[Frame, list[np.ndarray]],
) -> None:
    frame, masks = drawn
    for kept in (masks, masks[::2], masks[:1], masks + masks):
        assert expected_count(
            found(frame, kept), FrameEvidence.of(frame, Sample())
        ) == pytest.approx(len(masks), rel=0.12)


def test_where_sizes_are_mixed_a_missed_aggregate_is_one_particle() -> None:
    small = [(x, y, d) for x, y, d in grid((200, 240), 40, 14) if x < 120]
    frame, masks = draw((200, 240), [(180.0, 100.0, 100.0), *small])
    # by its area the aggregate would stand for a dozen particles of the mean area
    for kept in (masks, masks[1:], masks[:1]):
        segmentation = found(frame, kept)
        mixed = expected_count(segmentation, FrameEvidence.of(frame, Sample(sizes="mixed")))
        assert mixed == pytest.approx(len(masks), rel=0.15)


@pytest.mark.parametrize(
    "name", ["shape", "contrast", "purity", "confidence", "homogeneity", "smoothness"]
)
def test_leaving_particles_out_never_helps(
    name: str, drawn: tuple[Frame, list[np.ndarray]]
) -> None:
    frame, masks = drawn
    term, target = TERMS[name], EXAMPLES[name]
    whole, half, few = (
        term(found(frame, kept), frame, target, None) for kept in (masks, masks[::2], masks[:3])
    )
    assert whole > 0.8
    assert whole > half > few
    assert half == pytest.approx(whole / 2, rel=0.2)


@pytest.mark.parametrize(
    "name", ["shape", "contrast", "purity", "confidence", "homogeneity", "smoothness", "overlap"]
)
def test_duplicates_never_help(name: str, drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    term, target = TERMS[name], EXAMPLES[name]
    once = term(found(frame, masks), frame, target, None)
    assert term(found(frame, masks + masks), frame, target, None) < 0.6 * once


# coverage, overlap, completeness


def test_coverage_of_the_truth_its_half_and_everything(
    drawn: tuple[Frame, list[np.ndarray]],
) -> None:
    frame, masks = drawn
    target = CoverageTarget()
    truth = coverage(found(frame, masks), frame, target)
    half = coverage(found(frame, masks[::2]), frame, target)
    everything = coverage(found(frame, [np.ones(SHAPE, bool)]), frame, target)
    assert truth > 0.9
    assert half < 0.75
    assert everything < 0.5


def test_coverage_against_an_areal_fraction(drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    share = sum(mask.sum() for mask in masks) / (SHAPE[0] * SHAPE[1])
    target = CoverageTarget(areal_fraction=(0.9 * share, 1.1 * share))
    assert coverage(found(frame, masks), frame, target) == 1.0
    half = masks[: len(masks) // 2]
    assert coverage(found(frame, half), frame, target) == pytest.approx(
        len(half) / (0.9 * len(masks)), rel=0.01
    )
    everything = coverage(found(frame, [np.ones(SHAPE, bool)]), frame, target)
    assert everything == pytest.approx(1.1 * share)
    assert coverage(found(frame, []), frame, target) == 0.0
    with pytest.raises(ValidationError, match="areal_fraction must be"):
        CoverageTarget(areal_fraction=(0.5, 1.5))


def test_overlap_of_known_overlaps() -> None:
    frame, _ = draw((60, 200), [])
    left, right = np.zeros((60, 200), bool), np.zeros((60, 200), bool)
    left[10:30, 10:50] = True
    right[10:30, 30:70] = True  # half of each lies in the other
    half = found(frame, [left, right])
    assert overlap(half, frame, OverlapTarget(allowed_overlap=0.5)) == 1.0
    assert overlap(half, frame, OverlapTarget(allowed_overlap=0.0)) == pytest.approx(0.25)
    assert overlap(found(frame, [left, left]), frame, OverlapTarget()) == 0.0
    inside = left & (np.arange(200) < 20)
    assert overlap(found(frame, [left, inside]), frame, OverlapTarget()) == 0.0


def test_completeness_against_the_foreground_and_a_density(
    drawn: tuple[Frame, list[np.ndarray]],
) -> None:
    frame, masks = drawn
    target = CompletenessTarget()
    assert completeness(found(frame, masks), frame, target) > 0.85
    assert completeness(found(frame, masks[::2]), frame, target) == pytest.approx(0.5, abs=0.08)
    per_px = len(masks) / (SHAPE[0] * SHAPE[1])
    target = CompletenessTarget(number_density=(0.9 * per_px, 1.1 * per_px))
    assert completeness(found(frame, masks), frame, target) == pytest.approx(1.0)
    assert completeness(found(frame, masks[::2]), frame, target) == pytest.approx(
        len(masks[::2]) / (0.9 * len(masks))
    )


# shape, contrast, homogeneity, smoothness


def test_range_membership_is_soft() -> None:
    values = range_membership(np.array([0.5, 0.8, 0.9, 1.0, 1.1]), (0.8, 1.0), 0.1)
    np.testing.assert_allclose(values, [np.exp(-3.75), 1, 1, 1, np.exp(-1)])


def test_shape_tells_discs_from_bars() -> None:
    shape_px = (120, 200)
    frame, discs = draw(shape_px, grid(shape_px, 40, 20))
    round_ones = ShapeTarget(circularity=(0.85, 1.0))
    assert shape(found(frame, discs), frame, round_ones) > 0.85
    bars = [
        np.roll(np.pad(np.ones((4, 60), bool), ((20, 96), (20, 120))), 20 * i, 0) for i in range(3)
    ]
    assert shape(found(frame, bars), frame, round_ones) < 0.2
    with pytest.raises(ValidationError, match="at least one"):
        ShapeTarget()


def test_contrast_falls_as_masks_leave_their_particles(
    drawn: tuple[Frame, list[np.ndarray]],
) -> None:
    frame, masks = drawn
    target = ContrastTarget()
    moved = [
        contrast(found(frame, [np.roll(mask, d, axis=1) for mask in masks]), frame, target)
        for d in (0, 3, 6, 20)
    ]
    assert moved[0] > 0.85
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 0.1


@pytest.mark.parametrize("level", [0.8, 0.05])
def test_contrast_finds_its_sign(level: float) -> None:
    frame, masks = draw(SHAPE, CIRCLES, level=level, background=0.4)
    right = "bright" if level > 0.4 else "dark"
    wrong = "dark" if right == "bright" else "bright"
    values = {
        sign: contrast(found(frame, masks), frame, ContrastTarget(sample=Sample(contrast=sign)))
        for sign in ("either", right, wrong)
    }
    assert values["either"] == pytest.approx(values[right], abs=0.05)
    assert values[right] > 0.8
    assert values[wrong] < 0.1


def test_homogeneity_punishes_masks_over_both_materials(
    drawn: tuple[Frame, list[np.ndarray]],
) -> None:
    frame, masks = drawn
    shifted = [np.roll(mask, 10, axis=1) for mask in masks]
    target = HomogeneityTarget(allowed_variation=0.1)
    assert homogeneity(found(frame, masks), frame, target) > 0.8
    assert homogeneity(found(frame, shifted), frame, target) < 0.3


def test_purity_is_the_share_on_particles(drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    half = [mask | np.roll(mask, 20, axis=1) for mask in masks]
    assert purity(found(frame, masks), frame, PurityTarget()) > 0.9
    assert purity(found(frame, half), frame, PurityTarget()) == pytest.approx(0.5, abs=0.12)


def test_confidence_is_the_predicted_iou(drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    sure = found(frame, masks)
    known = sure.proposals.iou_pred.copy()
    full = confidence(sure, frame, ConfidenceTarget())
    unsure = found(frame, masks)
    unsure.proposals.iou_pred[:] = 0.6 * known
    assert full > 0.85
    assert confidence(unsure, frame, ConfidenceTarget()) == pytest.approx(0.6 * full)


def test_perimeters_of_ellipses() -> None:
    a = np.array([1.0, 2.0, 1.0])
    b = np.array([1.0, 2.0, 0.0])
    expected = [2 * np.pi, 4 * np.pi, 4.0]
    np.testing.assert_allclose(ellipse_perimeter(a, b), expected, rtol=1e-3)


def test_smoothness_of_a_disc_an_ellipse_and_a_comb() -> None:
    shape_px = (200, 200)
    frame, _ = draw(shape_px, [(100, 100, 60)])
    rows, columns = np.mgrid[:200, :200]
    ellipse = ((columns - 100) / 80) ** 2 + ((rows - 100) / 20) ** 2 <= 1
    comb = ellipse & ((columns % 8 < 4) | (abs(rows - 100) < 3))
    values = outline_smoothness(found(frame, [disc(shape_px, 100, 100, 60), ellipse, comb]))
    assert values[0] == pytest.approx(1, abs=0.03)
    assert values[1] == pytest.approx(1, abs=0.03)
    assert values[2] < 0.5


# border, order, tiling, nesting


def test_border_policies() -> None:
    circles = [(0, 40, 30), (60, 40, 30), (120, 40, 30)]
    frame, masks = draw((80, 160), circles)
    exclude, include = BorderTarget(policy="exclude"), BorderTarget(policy="include")
    assert border(found(frame, masks), frame, exclude) == pytest.approx(2 / 3)
    assert border(found(frame, masks[1:]), frame, exclude) == 1.0
    assert border(found(frame, masks), frame, include) > 0.8
    assert border(found(frame, masks[1:]), frame, include) == 0.0


@pytest.mark.parametrize(
    ("lattice", "circles"),
    [("square", grid((300, 300), 30, 12)), ("hexagonal", hexagonal((300, 300), 30, 12))],
)
def test_order_of_perfect_lattices(lattice: str, circles: list) -> None:
    frame, masks = draw((300, 300), circles)
    perfect = found(frame, masks)
    target = OrderTarget(lattice=lattice, lattice_constant=30.0)
    assert order(perfect, frame, target) > 0.93
    assert order(perfect, frame, target.model_copy(update={"lattice_constant": 45.0})) < 0.2
    holes = found(frame, [mask for i, mask in enumerate(masks) if i % 3])
    assert order(holes, frame, target) < 0.85
    other = "hexagonal" if lattice == "square" else "square"
    crossed = target.model_copy(update={"lattice": other})
    assert order(perfect, frame, crossed) < 0.8 * order(perfect, frame, target)


def test_an_uncertain_lattice_tells_its_own_constant() -> None:
    frame, masks = draw((300, 300), grid((300, 300), 30, 12))
    lattice = found(frame, masks)
    guessed = OrderTarget(lattice="square", lattice_constant=36.0)
    known = OrderTarget(lattice="square", lattice_constant=30.0)
    uncertain = guessed.model_copy(update={"uncertainty": 0.25})
    assert order(lattice, frame, uncertain) == pytest.approx(order(lattice, frame, known), abs=0.02)
    assert order(lattice, frame, guessed) < 0.8 * order(lattice, frame, uncertain)
    far = uncertain.model_copy(update={"lattice_constant": 60.0})
    assert order(lattice, frame, far) < 0.3


def test_order_of_random_points_is_low() -> None:
    rng = np.random.default_rng(1)
    circles = [(x, y, 8.0) for x, y in rng.uniform(5, 295, (100, 2))]
    frame, masks = draw((300, 300), circles)
    target = OrderTarget(lattice="hexagonal", lattice_constant=30.0)
    assert order(found(frame, masks), frame, target) < 0.5


@pytest.mark.parametrize(("fold", "make"), [(4, grid), (6, hexagonal)])
def test_bond_order_is_one_on_its_lattice(fold: int, make: object) -> None:
    points = np.array([(x, y) for x, y, _ in make((300, 300), 30, 5)])  # type: ignore[operator]
    inner = ((points > 60) & (points < 240)).all(axis=1)
    np.testing.assert_allclose(bond_order(points, fold)[inner], 1.0, atol=1e-6)


def test_tiling_with_gaps_and_double_cover() -> None:
    frame = Frame(np.zeros((100, 100), np.float32))
    tiles = []
    for i in range(4):
        tile = np.zeros((100, 100), bool)
        tile[:, 25 * i : 25 * (i + 1)] = True
        tiles.append(tile)
    target = TilingTarget(wall_fraction=0.0, tolerance=0.2)
    assert tiling(found(frame, tiles), frame, target) == 1.0
    assert tiling(found(frame, tiles[:3]), frame, target) == pytest.approx(np.exp(-0.25 / 0.2))
    assert tiling(found(frame, [*tiles, tiles[0]]), frame, target) == pytest.approx(
        np.exp(-0.25 / 0.2)
    )


def test_nesting_counts_cores() -> None:
    shells = grid((100, 160), 50, 40)
    frame, masks = draw((100, 160), shells)
    cores = [disc((100, 160), x, y, 20) for x, y, _ in shells]
    one, none = NestingTarget(children=1), NestingTarget(children=0)
    assert nesting(found(frame, masks + cores), frame, one) == 1.0
    assert nesting(found(frame, masks + cores), frame, none) == 0.5
    assert nesting(found(frame, masks), frame, none) == 1.0
    assert nesting(found(frame, masks + cores[:3]), frame, one) == pytest.approx(
        (3 + 0.5 * (len(masks) - 3)) / len(masks)
    )
    assert nesting(found(frame, [masks[0], masks[0]]), frame, one) == 1.0


# temporal


def test_temporal_of_equal_and_of_unlike_frames(drawn: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = drawn
    target = TemporalTarget()
    whole = found(frame, masks)
    assert temporal(whole, frame, target, None) == 1.0
    assert temporal(whole, frame, target, found(frame, masks)) == 1.0
    half = found(frame, masks[::2])
    expected = np.exp(-abs(np.log(len(half) / len(whole))) / target.count_tolerance / 2)
    assert temporal(half, frame, target, whole) == pytest.approx(expected, rel=0.05)
    assert temporal(found(frame, []), frame, target, whole) == 0.0


def test_temporal_allows_for_magnification_and_stage_drift() -> None:
    target = TemporalTarget()
    before_frame, before_masks = draw((200, 200), grid((200, 200), 40, 16), pixel_size_nm=2.0)
    # Twice the magnification: a quarter of the field, diameters twice as large in px.
    zoomed = [
        (2 * (x - 100) + 100, 2 * (y - 100) + 100, 2 * d) for x, y, d in grid((200, 200), 40, 16)
    ]
    zoomed = [c for c in zoomed if 0 < c[0] < 200 and 0 < c[1] < 200]
    now_frame, now_masks = draw((200, 200), zoomed, pixel_size_nm=1.0)
    before, now = found(before_frame, before_masks), found(now_frame, now_masks)
    # numbers differ only by which particles the smaller field happens to hold
    assert temporal(now, now_frame, target, before) > 0.4
    # of a dense sample the smaller field holds just its share
    rng = np.random.default_rng(2)
    places = rng.uniform(-300, 300, (900, 2))

    def view(zoom: float) -> Segmentation:
        x, y = (zoom * places + 100).T
        seen = (x > -4) & (x < 204) & (y > -4) & (y < 204)
        frame, masks = draw(
            (200, 200),
            [(a, b, 6 * zoom) for a, b in zip(x[seen], y[seen], strict=True)],
            pixel_size_nm=2.0 / zoom,
        )
        return found(frame, masks)

    near, far = view(1.5), view(1.0)
    assert temporal(near, before_frame, target, far) > 0.7
    drifted = [(x + 6, y + 3, d) for x, y, d in grid((200, 200), 40, 16)]
    frame, masks = draw((200, 200), drifted, pixel_size_nm=2.0)
    assert temporal(found(frame, masks), frame, target, before) > 0.95


def test_a_score_is_fast(drawn: tuple[Frame, list[np.ndarray]]) -> None:
    """A guard against full passes over pixels, not a benchmark: see tests/benchmarks."""
    frame, masks = drawn
    terms = ["coverage", "overlap", "shape", "contrast", "size"]
    segmentation = found(frame, masks)
    for name in terms:
        TERMS[name](segmentation, frame, EXAMPLES[name], None)
    seconds = []
    for _ in range(20):
        again = Segmentation(
            frame.id,
            segmentation.settings,
            segmentation.proposals,
            segmentation.kept,
            segmentation.mask_ids,
        )
        start = time.process_time()
        for name in terms:
            TERMS[name](again, frame, EXAMPLES[name], None)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.01
