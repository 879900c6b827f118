from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samstar_rl.frames.intensity import OUTSIDE_PERCENT, normalise, to_sam_rgb, unit_to_rgb

ANY_DTYPE = st.sampled_from(
    ["bool", "uint8", "int8", "uint16", "int16", "int32", "uint64", "float16", "float32", "float64"]
)


def ramp(dtype: str, low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, 64 * 64).reshape(64, 64).astype(dtype)


@given(hnp.arrays(ANY_DTYPE, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_anything_real_becomes_a_picture(image):
    rgb = to_sam_rgb(image)
    assert rgb.dtype == np.uint8
    assert rgb.shape == (*image.shape, 3)
    assert (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all()
    unit = normalise(image)
    assert unit.dtype == np.float32
    assert unit.min() >= 0 and unit.max() <= 1


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint8", 0, 255),
        ("uint16", 30_000, 65_535),
        ("int32", -(2**31), 2**31 - 1),
        ("float32", -1e-38, 1e-38),
        ("float32", -3e38, 3e38),
        ("float64", -8e307, 8e307),
        ("float64", 1e9, 1e9 + 1e-3),
    ],
)
def test_the_same_ramp_in_any_range_gives_the_same_picture(dtype, low, high):
    expected = normalise(ramp("float64", 0, 1))
    np.testing.assert_allclose(normalise(ramp(dtype, low, high)), expected, atol=1 / 200)


def test_gain_and_offset_are_undone_and_inversion_inverts():
    image = np.random.default_rng(0).normal(100, 7, (50, 60)).astype(np.float32)
    unit = normalise(image)
    np.testing.assert_allclose(normalise(3 * image - 1000), unit, atol=1e-4)
    np.testing.assert_allclose(normalise(-image), 1 - unit, atol=1e-4)


def test_turning_the_image_turns_the_picture():
    image = np.random.default_rng(1).normal(size=(40, 60))
    np.testing.assert_array_equal(normalise(np.rot90(image)), np.rot90(normalise(image)))


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
def test_a_constant_image_is_grey(value):
    assert (normalise(np.full((5, 6), value)) == 0.5).all()


def test_missing_pixels_are_neutral_and_change_nothing_else():
    image = np.random.default_rng(2).normal(size=(80, 80))
    holed = image.copy()
    holed[::9, ::9] = np.nan
    known = np.isfinite(holed)
    unit = normalise(holed)
    assert (unit[~known] == 0.5).all()
    np.testing.assert_allclose(unit[known], normalise(image)[known], atol=0.05)


def test_infinite_pixels_are_at_their_end():
    image = ramp("float64", 0, 1)
    image[0, 0], image[1, 1] = np.inf, -np.inf
    unit = normalise(image)
    assert unit[0, 0] == 1 and unit[1, 1] == 0


def test_hot_pixels_do_not_darken_the_rest():
    image = np.random.default_rng(3).normal(100, 10, (256, 256))
    image[10, 10:20] = 60_000
    assert 0.3 < np.median(normalise(image)) < 0.7


def test_one_bright_pixel_on_black_is_seen():
    image = np.zeros((100, 100), dtype=bool)
    image[50, 50] = True
    rgb = to_sam_rgb(image)
    assert rgb[50, 50, 0] == 255 and rgb.sum() == 3 * 255


def test_a_large_image_is_sampled_but_treated_alike():
    image = np.random.default_rng(4).normal(size=(1500, 1500)).astype(np.float32)
    small = normalise(image[:1000, :1000])
    np.testing.assert_allclose(normalise(image)[:1000, :1000], small, atol=0.02)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), r"\(height, width\), got \(4, 4, 3\)"),
        (np.zeros((0, 4)), "height, width"),
        (np.zeros((4, 4), dtype=complex), "modulus"),
        (np.array([["a", "b"]]), "real numbers"),
    ],
)
def test_what_is_no_image_is_refused_with_a_cure(image, message):
    with pytest.raises(ValueError, match=message):
        to_sam_rgb(image)


@pytest.mark.parametrize("shape", [(3, 5), (70, 90), (300, 400)])
@pytest.mark.parametrize("kind", ["normal", "counts", "sorted", "falling"])
def test_the_range_is_that_of_the_percentiles_of_all_pixels(shape, kind):
    rng = np.random.default_rng(0)
    image = {
        "normal": lambda: rng.normal(size=shape),
        "counts": lambda: rng.poisson(3, size=shape),
        "sorted": lambda: np.sort(rng.normal(size=shape), axis=None).reshape(shape),
        "falling": lambda: -np.sort(rng.normal(size=shape), axis=None).reshape(shape),
    }[kind]().astype(np.float32)
    low, high = np.percentile(image, [OUTSIDE_PERCENT, 100 - OUTSIDE_PERCENT])
    expected = np.clip((image - low) / (high - low), 0, 1)
    np.testing.assert_allclose(normalise(image), expected, atol=1e-6)


def test_levels_are_rounded_to_the_nearest_and_halves_to_even():
    unit = (np.arange(511, dtype=np.float32) / 510).reshape(7, 73)
    expected = np.rint(unit * np.float32(255)).astype(np.uint8)
    np.testing.assert_array_equal(unit_to_rgb(unit), np.stack([expected] * 3, axis=2))
