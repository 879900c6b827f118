from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from synthetic_bank import N_CHANNELS, SyntheticBank

from samstar_rl.envs.observation.builder import ObservationBuilder
from samstar_rl.envs.observation.features import (
    FOREGROUND_STATISTICS,
    IMAGE_STATISTICS,
    foreground_statistics,
    image_statistics,
    probe_statistics,
)
from samstar_rl.envs.observation.schema import ObservationSchema
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards import Score
from samstar_rl.tasks.task import load_task


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


@pytest.fixture(scope="module")
def bank(task):
    return SyntheticBank(task, n_streams=1, n_frames=2)


def test_schema_names_every_number_once(task):
    schema = ObservationSchema.for_task(task, 4, tuning=True)
    assert len(schema.entries) == len(set(schema.entries)) == schema.size
    assert schema.blocks[0].start == 0
    for block, following in zip(schema.blocks, schema.blocks[1:], strict=False):
        assert block.stop == following.start
        assert len(block.entries) == len(block.low) == len(block.high) == block.stop - block.start


def test_schema_survives_json(task):
    schema = ObservationSchema.for_task(task, 4)
    again = ObservationSchema.from_dict(schema.to_dict())
    assert again == schema
    assert schema.difference(again) == ""


def test_difference_says_what_differs(task):
    schema = ObservationSchema.for_task(task, 4)
    assert "embedding" in schema.difference(ObservationSchema.for_task(task, 5))
    assert "search" in schema.difference(ObservationSchema.for_task(task, 4, tuning=True))


def test_observation_lies_in_its_space(task, bank):
    builder = ObservationBuilder(task, N_CHANNELS)
    space = builder.schema.space()
    part = builder.frame_part(bank.frame(0), bank.features(0))
    last = Score(0.5, dict.fromkeys(task.terms, 0.25))
    action = task.space.encode(task.static)
    for observation in (builder.build(part), builder.build(part, action, last)):
        assert space.contains(observation)
    observation = builder.build(part, action, last)
    assert observation[builder.schema["has_last"].slice] == [1.0]
    assert observation[builder.schema["last_settings"].slice] == pytest.approx(action)
    assert observation[builder.schema["last_terms"].slice][-1] == 0.5
    assert not builder.build(part)[builder.schema["last_settings"].start :].any()


def test_another_sam_is_refused(task, bank):
    builder = ObservationBuilder(task, N_CHANNELS + 1)
    with pytest.raises(ValueError, match="SAM with 9 channels"):
        builder.frame_part(bank.frame(0), bank.features(0))


@settings(max_examples=40, deadline=None)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=24),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_image_statistics_are_finite_and_within_their_ranges(image):
    numbers = image_statistics(image)
    assert numbers.shape == (len(IMAGE_STATISTICS),)
    for number, (name, low, high) in zip(numbers, IMAGE_STATISTICS, strict=True):
        assert low <= number <= high, name


def test_image_statistics_do_not_depend_on_the_detectors_units():
    image = np.random.default_rng(0).gamma(2.0, size=(60, 80)).astype(np.float32)
    assert image_statistics(17 * image + 300) == pytest.approx(image_statistics(image), abs=1e-3)


def test_noise_shows_in_the_statistics():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 128 * 128, dtype=np.float32).reshape(128, 128)
    noisy = ramp + rng.normal(0, 0.1, ramp.shape).astype(np.float32)
    position = [entry[0] for entry in IMAGE_STATISTICS].index("noise")
    assert image_statistics(noisy)[position] > 5 * image_statistics(ramp)[position]


def test_probe_statistics_follow_the_best_mask(bank):
    features = bank.features(0)
    numbers = probe_statistics(features)
    best = features.probe_iou_pred.max(axis=1)
    assert numbers[0] == pytest.approx(best.min())
    assert numbers[3] == pytest.approx(np.median(best))


def discs(radius, spacing):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:256, :256]
    distance = np.hypot(rows % spacing - spacing / 2, columns % spacing - spacing / 2)
    image = np.where(distance < radius, 0.8, 0.2) + 0.03 * rng.standard_normal((256, 256))
    return dict(
        zip(
            (name for name, *_ in FOREGROUND_STATISTICS),
            foreground_statistics(Frame(image)).tolist(),
            strict=True,
        )
    )


def test_foreground_statistics_tell_how_many_and_how_large():
    few, many = discs(radius=20, spacing=64), discs(radius=10, spacing=32)
    assert np.expm1(few["log_count"]) == pytest.approx(16, abs=3)
    assert np.expm1(many["log_count"]) == pytest.approx(64, abs=8)
    assert np.exp(few["log_diameter"]) * 256 == pytest.approx(40, rel=0.2)
    assert np.exp(many["log_diameter"]) * 256 == pytest.approx(20, rel=0.25)
    assert few["contrast"] > 0.4


@pytest.mark.parametrize("image", [np.zeros((30, 40)), np.full((9, 9), np.nan)])
def test_foreground_statistics_of_nothing(image):
    numbers = foreground_statistics(Frame(image))
    assert np.isfinite(numbers).all()
    assert numbers[0] == 0
