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
    gaze_statistics,
    image_statistics,
)
from samstar_rl.envs.observation.schema import GAZE_STATISTICS, ObservationSchema
from samstar_rl.frames.frame import Frame
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator


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
    last = FrameEvaluator(BankFrame(bank, 0), Objective(task))(task.static)
    for observation in (builder.build(part, np.inf), builder.build(part, 1e-3, last)):
        assert space.contains(observation)
    observation, schema = builder.build(part, 300.0, last), builder.schema
    assert observation[schema["has_last"].slice] == [1.0]
    assert observation[schema["last_settings"].slice] == pytest.approx(
        task.space.encode(task.static)
    )
    assert observation[schema["last_terms"].slice][-1] == pytest.approx(last.score.total)
    assert observation[schema["last_cost"].slice] == pytest.approx(
        np.log1p(36 + task.static.n_prompts)
    )
    middle = np.log(300 / 60) / np.log(2000 / 60) * 2 - 1
    assert observation[schema["budget"].slice] == pytest.approx(middle)
    assert not builder.build(part, 300.0)[schema["last_settings"].start :].any()


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


def discs(radius, spacing):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:256, :256]
    distance = np.hypot(rows % spacing - spacing / 2, columns % spacing - spacing / 2)
    image = np.where(distance < radius, 0.8, 0.2) + 0.03 * rng.standard_normal((256, 256))
    return Frame(image)


def named(table, numbers):
    return dict(zip((name for name, *_ in table), numbers.tolist(), strict=True))


def test_gaze_statistics_tell_what_tiles_would_find():
    few, many = (
        named(GAZE_STATISTICS, gaze_statistics(discs(radius, spacing)))
        for radius, spacing in ((20, 64), (8, 32))
    )
    assert np.expm1(few["log_bodies"]) == pytest.approx(16, abs=1)
    assert np.expm1(many["log_bodies"]) == pytest.approx(64, abs=4)
    assert np.exp(few["log_width_quantile_50"]) == pytest.approx(40, rel=0.2)
    assert np.exp(many["log_width_quantile_50"]) == pytest.approx(16, rel=0.25)
    # a tile of zoom 4 is 64 px wide: discs of 40 px are looked at in the whole frame
    assert (few["share_whole_zoom_2"], few["share_whole_zoom_4"]) == (0, 1)
    assert (few["log_tiles_zoom_4"], many["share_whole_zoom_4"]) == (0, 0)
    assert np.expm1(many["log_tiles_zoom_2"]) == pytest.approx(4)
    assert np.expm1(many["log_tiles_zoom_4"]) == pytest.approx(16)


def test_foreground_statistics_tell_how_many_and_how_large():
    few, many = (
        named(FOREGROUND_STATISTICS, foreground_statistics(discs(radius, spacing)))
        for radius, spacing in ((20, 64), (10, 32))
    )
    assert np.expm1(few["log_count"]) == pytest.approx(16, abs=3)
    assert np.expm1(many["log_count"]) == pytest.approx(64, abs=8)
    assert np.exp(few["log_diameter"]) * 256 == pytest.approx(40, rel=0.2)
    assert np.exp(many["log_diameter"]) * 256 == pytest.approx(20, rel=0.25)
    assert few["contrast"] > 0.4


@pytest.mark.parametrize("image", [np.zeros((30, 40)), np.full((9, 9), np.nan)])
@pytest.mark.parametrize("statistics", [foreground_statistics, gaze_statistics])
def test_statistics_of_nothing(statistics, image):
    numbers = statistics(Frame(image))
    assert np.isfinite(numbers).all()
    assert numbers[0] == 0
