"""The simulator: exact labels, physical sizes, reproducible drift."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.simulator import (
    FAMILIES,
    PRESETS,
    SimulatedStream,
    draw_family_image,
    draw_training_image,
    draw_wide_image,
)
from samstar_rl.simulator.canvas import Canvas, Mixing, Particle
from samstar_rl.simulator.drift import Drift
from samstar_rl.simulator.optics import Optics, expose
from samstar_rl.simulator.placement import chained, lognormal_diameters
from samstar_rl.simulator.shading import MODELS, Look
from samstar_rl.simulator.shapes import SHAPES, aspect_of
from samstar_rl.simulator.survey import Survey
from samstar_rl.simulator.tiling import bent_coordinates, tessellate


def _assert_dense(labels: np.ndarray, *, smallest_area_px: int = 12) -> None:
    assert labels.dtype == np.int32
    areas = np.bincount(labels.ravel())
    assert (areas[1:] >= smallest_area_px).all()


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# --- training images ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(96, 96), (72, 120)])
def test_family_images_have_the_asked_shape_and_dense_labels(
    family: str, shape: tuple[int, int]
) -> None:
    image, labels = draw_family_image(np.random.default_rng(3), family, shape)
    assert image.shape == labels.shape == shape
    assert image.dtype == np.uint8
    _assert_dense(labels)


def test_training_images_repeat_with_their_seed_and_vary_without() -> None:
    def draw(seed: int) -> tuple[str, str]:
        image, labels = draw_training_image(np.random.default_rng(seed), 96)
        return _digest(image), _digest(labels)

    assert draw(5) == draw(5)
    assert len({draw(seed) for seed in range(12)}) == 12


def test_training_images_are_never_empty_and_use_the_grey_scale() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_training_image(rng, 96) for _ in range(20)]
    assert all(labels.max() >= 1 for _, labels in drawn)
    assert all(np.ptp(image) > 40 for image, _ in drawn)
    assert max(labels.max() for _, labels in drawn) <= 300
    for _, labels in drawn:
        _assert_dense(labels)


def test_wide_images_show_many_particles_and_refuse_small_sizes() -> None:
    image, labels = draw_wide_image(np.random.default_rng(2), 640)
    assert image.shape == labels.shape == (640, 640)
    _assert_dense(labels)
    with pytest.raises(ValueError, match="at least 640 px, got 512"):
        draw_wide_image(np.random.default_rng(0), 512)


def test_beads_of_a_chain_touch() -> None:
    diameters = np.array([10.0, 20.0, 12.0, 8.0])
    beads = chained(np.random.default_rng(0), diameters, (100.0, 100.0), chains=1)
    steps = np.hypot(*np.diff(beads, axis=0).T)
    np.testing.assert_allclose(steps, (diameters[1:] + diameters[:-1]) / 2)


def test_training_images_leave_the_global_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    draw_training_image(np.random.default_rng(0), 96)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_training_images_refuse_tiny_sizes_and_unknown_families() -> None:
    with pytest.raises(ValueError, match="at least 64 px, got 16"):
        draw_training_image(np.random.default_rng(0), 16)
    with pytest.raises(ValueError, match=r"one of scattered, .*got 'sparkles'"):
        draw_family_image(np.random.default_rng(0), "sparkles", (96, 96))


# --- particles and labels ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_outlines_have_unit_equivalent_diameter_and_centre(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        points = SHAPES[name](rng).points
        following = np.roll(points, -1, axis=0)
        cross = points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]
        assert abs(cross.sum() / 2) == pytest.approx(np.pi / 4, rel=1e-6)
        centroid = (points + following) * cross[:, None]
        assert np.allclose(centroid.sum(axis=0), 0, atol=1e-6)


def test_aspect_of_known_shapes() -> None:
    rng = np.random.default_rng(0)
    assert aspect_of(SHAPES["disc"](rng).points) == pytest.approx(1, abs=0.01)
    rectangle = np.array([[3.0, 1.0], [-3.0, 1.0], [-3.0, -1.0], [3.0, -1.0]])
    assert aspect_of(rectangle) == pytest.approx(3, rel=0.25)


@pytest.mark.parametrize("diameter", [5.0, 8.3, 17.0, 45.0, 90.0])
def test_drawn_discs_have_their_area(diameter: float) -> None:
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(12):
        canvas = Canvas(np.zeros((128, 128), np.float32), Mixing())
        x, y = 64 + rng.uniform(-1, 1, 2)
        canvas.draw(Particle(SHAPES["disc"](rng), float(x), float(y), diameter))
        areas.append((canvas.labels > 0).sum())
    assert np.sqrt(4 / np.pi * np.mean(areas)) == pytest.approx(diameter, rel=0.025)


def test_labels_follow_the_particle_and_the_last_drawn_wins() -> None:
    rng = np.random.default_rng(0)
    canvas = Canvas(np.zeros((64, 64), np.float32), Mixing())
    for x in (24.0, 40.0):
        assert canvas.draw(Particle(SHAPES["disc"](rng), x, 32.0, 24.0))
    assert not canvas.draw(Particle(SHAPES["disc"](rng), 200.0, 32.0, 24.0))
    assert canvas.labels[32, 20] == 1
    assert canvas.labels[32, 32] == canvas.labels[32, 44] == 2
    assert canvas.labels.max() == 2
    rows, columns = np.nonzero(canvas.labels == 2)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((32, 40), abs=0.1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["occlude", "add", "absorb"])
def test_every_intensity_model_stays_finite(model: str, mode: str) -> None:
    rng = np.random.default_rng(2)
    canvas = Canvas(np.full((64, 64), 0.5, np.float32), Mixing(mode, 0.6, 0.2))
    for name in ("disc", "polygon", "rod"):
        x, y = rng.uniform(0, 64, 2)
        look = Look(model=model, outline=0.2, shadow=0.3)
        canvas.draw(Particle(SHAPES[name](rng), float(x), float(y), 20.0, look=look))
    assert canvas.image.dtype == np.float32
    assert np.isfinite(canvas.image).all()


def test_tessellation_agrees_with_brute_force() -> None:
    rng = np.random.default_rng(4)
    seeds = np.column_stack([rng.uniform(-5, 85, (30, 2)), rng.uniform(0, 6, 30)])
    x, y = bent_coordinates(rng, (60, 80), bend_px=1.5, grain_px=12)
    tiling = tessellate(seeds, x, y)
    power = (x[..., None] - seeds[:, 0]) ** 2 + (y[..., None] - seeds[:, 1]) ** 2 + seeds[:, 2] ** 2
    assert (tiling.region == power.argmin(axis=2)).mean() > 0.9999
    assert (tiling.gap_px >= 0).all()


def test_lognormal_diameters_have_their_mean_and_spread() -> None:
    diameters = lognormal_diameters(np.random.default_rng(0), 40_000, mean=30.0, sigma_log=0.3)
    assert diameters.mean() == pytest.approx(30, rel=0.01)
    assert np.log(diameters).std() == pytest.approx(0.3, rel=0.02)


def test_dose_sets_the_shot_noise() -> None:
    grey = np.full((128, 128), 0.5, np.float32)
    for dose in (10.0, 400.0):
        image = expose(grey, Optics(blur_px=0, dose=dose), np.random.default_rng(0))
        assert image.mean() == pytest.approx(0.5, rel=0.02)
        assert image.std() == pytest.approx(np.sqrt(0.5 / dose), rel=0.05)


# --- streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [96, (80, 128)])
def test_streams_yield_labelled_frames(preset: str, size: int | tuple[int, int]) -> None:
    with SimulatedStream(preset, seed=1, size=size, length=2) as stream:
        frames = list(stream)
    shape = (size, size) if isinstance(size, int) else size
    assert len(frames) == 2
    for index, labelled in enumerate(frames):
        assert isinstance(labelled, LabelledFrame)
        assert labelled.frame.shape == labelled.truth.shape == shape
        assert labelled.frame.image.dtype == np.float32
        assert 0 <= labelled.frame.image.min() < labelled.frame.image.max() <= 255
        assert labelled.frame.id == f"{preset}-1-{index:05d}"
        assert labelled.frame.time == pytest.approx(index)
        assert labelled.truth.max() >= 1
        _assert_dense(labelled.truth)


def test_streams_repeat_with_their_seed_and_differ_between_seeds() -> None:
    def digests(seed: int) -> list[str]:
        stream = SimulatedStream("overlap", seed=seed, size=96, length=2)
        return [_digest(labelled.frame.image) for labelled in stream]

    assert digests(0) == digests(0)
    assert len({*digests(0), *digests(1)}) == 4


def test_iterating_again_and_jumping_give_the_same_frames() -> None:
    stream = SimulatedStream("particles", seed=2, size=96, length=3)
    with stream:
        first = [_digest(labelled.frame.image) for labelled in stream]
    again = [_digest(labelled.frame.image) for labelled in stream]
    assert first == again
    assert _digest(stream.frame_at(2).frame.image) == first[2]


def test_an_endless_stream_goes_on() -> None:
    assert len(list(islice(SimulatedStream("lattice", seed=0, size=64), 3))) == 3


def test_without_drift_only_the_noise_changes() -> None:
    with SimulatedStream("morphology", seed=3, size=128, drift=0.0) as stream:
        assert stream.state_at(0) == stream.state_at(500)
        start, late = stream.frame_at(0), stream.frame_at(500)
    assert (start.truth == late.truth).all()
    assert start.frame.pixel_size_nm == late.frame.pixel_size_nm
    assert _digest(start.frame.image) != _digest(late.frame.image)
    assert np.corrcoef(start.frame.image.ravel(), late.frame.image.ravel())[0, 1] > 0.7


@pytest.mark.parametrize("n_samples", [1, 2])
def test_a_survey_moves_from_field_to_field_with_exact_truth(n_samples: int) -> None:
    with SimulatedStream("particles", seed=5, size=128, length=24, survey=n_samples) as stream:
        fields = [stream.field_at(index) for index in range(24)]
        frames = list(stream)
        again = stream.frame_at(3)
    assert _digest(frames[3].frame.image) == _digest(again.frame.image)
    for labelled, field in zip(frames, fields, strict=True):
        _assert_dense(labelled.truth)
        assert field is not None
        assert not (field.empty and labelled.truth.any())
    for (labelled, field), (following, next_field) in pairwise(zip(frames, fields, strict=True)):
        if field == next_field:
            assert (labelled.truth == following.truth).all()
            assert labelled.frame.pixel_size_nm == following.frame.pixel_size_nm
            assert _digest(labelled.frame.image) != _digest(following.frame.image)
        else:
            assert labelled.frame.pixel_size_nm != following.frame.pixel_size_nm
    assert frames[0].frame.id == f"particles-survey{n_samples}-5-00000"


@pytest.mark.parametrize("n_samples", [1, 2])
def test_surveys_stay_and_zoom_as_automated_acquisitions_do(n_samples: int) -> None:
    survey = Survey(np.random.default_rng(0), n_samples)
    fields = [survey.at(index) for index in range(8000)]
    visited = list(dict.fromkeys(fields))
    stays = Counter(field.number for field in fields[:-12])
    assert set(list(stays.values())[:-1]) == set(range(4, 13))
    octaves = np.log([field.magnification for field in visited]) / np.log(4)
    assert np.abs(octaves).max() <= 1
    assert np.abs(np.quantile(octaves, (0.25, 0.5, 0.75)) - (-0.5, 0, 0.5)).max() < 0.1
    assert np.mean([field.empty for field in visited]) == pytest.approx(0.15, abs=0.03)
    assert [field.sample for field in visited[:4]] == [0, (n_samples > 1) * 1, 0, n_samples - 1]


def test_drift_starts_at_rest_is_smooth_and_keeps_the_view_on_the_sample() -> None:
    for seed in range(4):
        for scale in (1.0, 3.0):
            drift = Drift(np.random.default_rng(seed), scale)
            start = drift.at(0)
            assert (start.dose, start.magnification, start.density, start.growth) == (1, 1, 1, 1)
            assert (start.stage_x, start.defocus_px, start.coalescence) == (0, 0, 0)
            states = [drift.at(index) for index in range(0, 600, 2)]
            zoom = np.array([state.magnification for state in states])
            stage = np.array([state.stage_x for state in states])
            assert np.abs(np.diff(np.log(zoom))).max() < 0.06 * scale
            assert (0.5 / zoom + np.abs(stage)).max() < 2.1 / 2


def test_pixel_size_follows_the_magnification() -> None:
    stream = SimulatedStream("particles", seed=4, size=96)
    for index in (0, 70, 300):
        labelled = stream.frame_at(index)
        expected = stream.parameters.pixel_size_nm / stream.state_at(index).magnification
        assert labelled.frame.pixel_size_nm == pytest.approx(expected)


def test_the_field_of_view_is_the_same_at_every_size() -> None:
    fields_nm = [
        SimulatedStream("size", seed=1, size=size).parameters.pixel_size_nm * size
        for size in (96, 192)
    ]
    assert fields_nm[0] == pytest.approx(fields_nm[1])


def test_isolated_discs_measure_what_the_parameters_say() -> None:
    """Mean equivalent diameter x pixel size against the parameters, border cases left out."""
    measured, known = [], []
    for seed in range(4):
        stream = SimulatedStream("core_shell", seed=seed, size=320, drift=0.0)
        labels = stream.frame_at(0).truth
        areas = np.bincount(labels.ravel())
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        areas[np.unique(border)] = 0
        areas[0] = 0
        diameters_px = np.sqrt(4 / np.pi * areas[areas > 0])
        # Particles that others hide in part are smaller than they are; the median bears with them.
        measured.append(np.median(diameters_px) * stream.parameters.pixel_size_nm)
        known.append(stream.parameters.mean_diameter_nm)
    assert measured == pytest.approx(known, rel=0.08)
    assert np.mean(np.divide(measured, known)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_are_physical(preset: str) -> None:
    parameters = SimulatedStream(preset, seed=7, size=96).parameters
    low, high = parameters.size_range_nm
    assert 0 < low <= parameters.mean_diameter_nm * (1 + 1e-9)
    assert parameters.mean_diameter_nm <= high * (1 + 1e-9)
    assert 0 < parameters.areal_coverage < 1
    assert parameters.number_density_per_um2 > 0
    assert 0 < parameters.circularity_range[0] <= parameters.circularity_range[1] <= 1
    assert parameters.aspect_range[0] + 1e-6 >= 1
    assert parameters.polarity in ("bright", "dark")
    assert (parameters.lattice_constant_nm is not None) == (preset == "lattice")


def test_coverage_of_the_frames_is_about_the_expected_one() -> None:
    ratios = []
    for seed in range(6):
        stream = SimulatedStream("morphology", seed=seed, size=96)
        covered = (stream.frame_at(0).truth > 0).mean()
        ratios.append(covered / stream.parameters.areal_coverage)
    assert np.mean(ratios) == pytest.approx(1, abs=0.25)


def test_growth_and_density_change_the_truth() -> None:
    stream = SimulatedStream("overlap", seed=5, size=128)
    counts = [int(stream.frame_at(index).truth.max()) for index in (0, 100, 300)]
    assert len(set(counts)) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "dust"}, r"one of particles, overlap, .*got 'dust'; choose one"),
        ({"seed": -1}, "seed must be an integer of 0 or above, got -1"),
        ({"size": 32}, "size must be at least 64 px a side, got 32"),
        ({"size": (128, 20)}, "size must be at least 64 px a side"),
        ({"length": -3}, "number of frames or None, got -3"),
        ({"drift": -0.5}, "drift must be 0 or above, got -0.5"),
        ({"drift": float("nan")}, "drift must be 0 or above, got nan"),
        ({"survey": -1}, "survey must be a number of sample types or 0, got -1"),
        ({"survey": 1, "preset": "grains"}, r"a survey needs a preset of particles .*got 'grains'"),
    ],
)
def test_errors_say_what_was_expected_and_given(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulatedStream(**{"preset": "particles", "seed": 0, **arguments})  # type: ignore[arg-type]
