"""The foreground estimate on frames whose foreground is known."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import draw, grid

from samstar_rl.foreground import estimate
from samstar_rl.foreground.estimate import (
    annotation_pixels,
    body_peaks,
    count_bodies,
    estimate_foreground,
)

SHAPE = (256, 320)
CIRCLES = grid(SHAPE, 50, 24, jitter=3)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(("level", "background"), [(0.8, 0.3), (0.2, 0.6), (0.5, 0.35)])
def test_foreground_and_polarity_of_drawn_particles(
    level: float, background: float, quick: bool
) -> None:
    frame, masks = draw(SHAPE, CIRCLES, level=level, background=background)
    found = estimate_foreground(frame.image, quick=quick)
    assert dice(found.mask, np.any(masks, axis=0)) > 0.93
    assert found.polarity == (1 if level > background else -1)


def test_a_known_contrast_is_believed() -> None:
    frame, masks = draw(SHAPE, CIRCLES, level=0.8, background=0.3)
    particles = np.any(masks, axis=0)
    assert dice(estimate_foreground(frame.image, "bright").mask, particles) > 0.9
    assert dice(estimate_foreground(frame.image, "dark").mask, particles) < 0.3


def test_shading_is_taken_off() -> None:
    frame, masks = draw(SHAPE, CIRCLES, level=0.7, background=0.3)
    ramp = np.linspace(0, 0.6, SHAPE[1], dtype=np.float32)
    assert dice(estimate_foreground(frame.image + ramp).mask, np.any(masks, axis=0)) > 0.85


@pytest.mark.parametrize("gain", [1.0, 250.0, 1e4])
def test_gain_and_offset_change_nothing(gain: float) -> None:
    frame, _ = draw(SHAPE, CIRCLES)
    plain, scaled = (
        estimate_foreground(image).mask for image in (frame.image, gain * frame.image - 3 * gain)
    )
    assert dice(plain, scaled) > 0.98


def test_flips_and_quarter_turns_turn_the_estimate() -> None:
    frame, _ = draw((256, 256), grid((256, 256), 50, 24, jitter=3))
    plain = estimate_foreground(frame.image).mask
    for turn in (np.fliplr, np.flipud, np.rot90):
        turned = estimate_foreground(np.ascontiguousarray(turn(frame.image))).mask
        assert dice(turn(plain), turned) > 0.98


def test_annotations_are_no_particles() -> None:
    frame, _ = draw(SHAPE, CIRCLES, level=0.7, background=0.3, noise=0.03)
    image = frame.image.copy()
    image[230:240, 200:300] = image.max() + 0.2  # scale bar
    image[5:25, 5:8] = image.max()  # a stroke
    marks = annotation_pixels(image)
    assert marks[230:240, 200:300].all()
    assert marks[5:25, 5:8].all()
    assert marks.sum() < 1.2 * (10 * 100 + 20 * 3)
    assert not estimate_foreground(image).mask[marks].any()


def test_saturated_particles_are_no_annotations() -> None:
    frame, masks = draw(SHAPE, grid(SHAPE, 80, 50), level=1.0, background=0.2, noise=0.0)
    image = np.clip(frame.image * 1.2, 0, 1)
    assert not annotation_pixels(image)[np.any(masks, axis=0)].any()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.float32),
        np.full((64, 64), np.nan, np.float32),
        np.arange(64 * 64, dtype=np.float32).reshape(64, 64),
        np.random.default_rng(0).normal(size=(40, 200)).astype(np.float32),
        np.eye(8, dtype=np.float32),
    ],
)
def test_images_without_particles_do_no_harm(image: np.ndarray) -> None:
    found = estimate_foreground(image)
    assert found.mask.shape == image.shape
    assert found.polarity in (-1, 1)
    assert found.full_slope > 0
    assert found.particle_area_px >= 1


def test_missing_pixels_are_no_foreground() -> None:
    frame, masks = draw(SHAPE, CIRCLES)
    image = frame.image.copy()
    image[:, :40] = np.nan
    found = estimate_foreground(image)
    assert not found.mask[:, :40].any()
    assert dice(found.mask[:, 40:], np.any(masks, axis=0)[:, 40:]) > 0.9


def test_touching_bodies_are_told_apart() -> None:
    _, apart = draw(SHAPE, CIRCLES)
    assert count_bodies(np.any(apart, axis=0)) == len(CIRCLES)
    _, touching = draw((100, 300), [(60 + 36 * i, 50, 38) for i in range(5)])
    assert count_bodies(np.any(touching, axis=0)) == 5
    assert count_bodies(np.zeros((10, 10), bool)) == 0
    (y, x), *_ = body_peaks(touching[2])
    assert abs(y - 50) <= 1
    assert abs(x - 132) <= 1


def test_a_large_frame_is_estimated_from_a_smaller_picture_of_it() -> None:
    shape = (1536, 1800)
    circles = [tuple(6 * value for value in circle) for circle in grid((256, 300), 50, 24)]
    frame, masks = draw(shape, circles, level=0.8, background=0.3)
    found = estimate_foreground(frame.image)
    assert found.mask.shape == shape
    assert dice(found.mask, np.any(masks, axis=0)) > 0.97
    assert found.n_particles == len(masks)
    assert found.typical_diameter_px == pytest.approx(6 * 24, rel=0.15)


def test_the_slope_of_a_large_frame_is_that_of_bands_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, _ = draw(SHAPE, CIRCLES, level=0.8, background=0.3)
    whole = estimate_foreground(frame.image).full_slope
    monkeypatch.setattr(estimate, "MOST_MEDIAN_PIXELS", 4 * 32 * SHAPE[1])
    assert estimate_foreground(frame.image).full_slope == pytest.approx(whole, rel=0.1)
