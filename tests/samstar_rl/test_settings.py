from __future__ import annotations

import dataclasses
import inspect
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment_anything import SamAutomaticMaskGenerator

from samstar_rl.settings import (
    SETTINGS,
    Bound,
    PromptSettings,
    Settings,
    SettingsError,
    SettingsSpace,
)


def test_the_dataclass_repeats_the_declaration():
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert fields == {name: spec.default for name, spec in SETTINGS.items()}


def test_the_defaults_are_those_of_the_stock_generator():
    parameters = inspect.signature(SamAutomaticMaskGenerator.__init__).parameters
    for name, spec in SETTINGS.items():
        if spec.kind != "gate" and name not in ("n_prompts", "zoom"):
            assert parameters[name].default == spec.default, name


def test_the_prompt_settings_repeat_the_declaration():
    fields = {field.name: field.default for field in dataclasses.fields(PromptSettings)}
    prompt = {name: spec.default for name, spec in SETTINGS.items() if spec.kind == "prompt"}
    assert fields == prompt


def test_every_default_and_ladder_is_allowed():
    for spec in SETTINGS.values():
        for value in (spec.default, *(spec.ladder or ())):
            assert spec.validated(value) == value
        assert spec.scale != "ladder" or spec.ladder


@st.composite
def bounds(draw, name):
    spec = SETTINGS[name]
    low, high = max(spec.low, 1e-3), min(spec.high, 5000.0)
    number = st.integers(math.ceil(low), int(high)) if spec.integer else st.floats(low, high)
    needs_ladder = spec.kind == "prompt" and not spec.integer
    if needs_ladder or draw(st.booleans()):
        ladder = draw(st.lists(number, min_size=1, max_size=6, unique=True))
        return Bound(ladder=tuple(sorted(ladder)))
    ends = sorted(draw(st.tuples(number, number).filter(lambda pair: pair[0] != pair[1])))
    return Bound(*ends, scale=draw(st.sampled_from(["linear", "log"])))


# prompt settings restrict one another, so at most one of them moves here
CHOOSABLE = [name for name, spec in SETTINGS.items() if spec.kind != "prompt"]
CHOOSABLE += ["points_per_side"]


@st.composite
def spaces(draw):
    names = draw(st.lists(st.sampled_from(CHOOSABLE), min_size=1, unique=True))
    free = {
        # between neighbouring floats there is no position to come back from
        name: draw(bounds(name).filter(lambda b: b.ladder or b.high - b.low > 1e-6 * abs(b.high)))
        for name in names
    }
    return SettingsSpace(free, Settings())


@given(spaces(), st.data())
def test_decode_then_encode_gives_the_vector_up_to_rounding(space, data):
    codes = data.draw(st.lists(st.floats(-1, 1, width=32), min_size=space.n, max_size=space.n))
    settings = space.decode(codes)
    for name, code, back in zip(space.names, codes, space.encode(settings), strict=True):
        bound, spec = space.free[name], SETTINGS[name]
        if bound.ladder is not None:
            assert len(bound.ladder) == 1 or abs(code - back) <= 1 / (len(bound.ladder) - 1) + 1e-6
        elif not spec.integer:
            assert back == pytest.approx(code, abs=1e-4)


@given(spaces(), st.data())
def test_encode_then_decode_gives_the_settings_up_to_rounding(space, data):
    codes = data.draw(st.lists(st.floats(-2, 2, width=32), min_size=space.n, max_size=space.n))
    settings = space.decode(codes)
    again = space.decode(space.encode(settings))
    for name in space.names:
        low, high = space.limits(name)
        value, back = getattr(settings, name), getattr(again, name)
        assert low <= value <= high
        # a wide range of whole numbers is finer than float32 codes
        exact = space.free[name].ladder or (SETTINGS[name].integer and high < 1000)
        assert value == back if exact else back == pytest.approx(value, rel=1e-5, abs=1e-5 * high)


@given(spaces())
def test_a_space_survives_json(space):
    restored = SettingsSpace.from_dict(json.loads(json.dumps(space.to_dict(), allow_nan=False)))
    assert restored == space
    assert hash(restored) == hash(space)


@given(spaces())
def test_the_vector_stays_in_its_box_for_any_settings(space):
    code = space.encode(Settings(pred_iou_thresh=0, max_diameter=1e9, min_mask_region_area=10**6))
    assert code.dtype == np.float32
    assert code.shape == (space.n,)
    assert (np.abs(code) <= 1).all()


def test_settings_survive_json():
    settings = Settings(points_per_side=16, min_diameter=3.5, max_overlap=0.25)
    text = json.dumps(settings.to_dict(), allow_nan=False)
    assert Settings.from_dict(json.loads(text)) == settings


def test_whole_numbers_come_back_as_int():
    settings = Settings(points_per_side=np.float64(16.0), min_mask_region_area=np.int64(3))
    assert type(settings.points_per_side) is int
    assert type(settings.min_mask_region_area) is int


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pred_iou_thresh": 1.5}, r"pred_iou_thresh must lie in \[0, 1\], got 1.5"),
        ({"pred_iou_thresh": float("nan")}, "must lie in"),
        ({"points_per_side": 3.5}, "whole number"),
        ({"points_per_side": True}, "must be a number"),
        ({"points_per_side": "many"}, "must be a number"),
        ({"pred_iou_treshold": 0.5}, "did you mean 'pred_iou_thresh'"),
    ],
)
def test_errors_say_what_is_allowed(change, message):
    with pytest.raises(SettingsError, match=message):
        Settings.from_dict(change)
    with pytest.raises(SettingsError, match=message):
        Settings().replace(**change)


@pytest.mark.parametrize(
    "bound",
    [
        Bound(0.5),
        Bound(0.9, 0.5),
        Bound(0.0, 1.0, "log"),
        Bound(0.0, 2.0),
        Bound(ladder=(0.5, 0.4)),
        Bound(ladder=()),
        Bound(0.1, 0.9, ladder=(0.1, 0.9)),
        Bound(0.1, 0.9, "ladder"),
        Bound(),
    ],
)
def test_senseless_bounds_are_refused(bound):
    with pytest.raises(SettingsError, match="pred_iou_thresh"):
        SettingsSpace({"pred_iou_thresh": bound})


@pytest.mark.parametrize("vector", [[0.0, 0.0], [float("nan")], []])
def test_senseless_vectors_are_refused(vector):
    with pytest.raises(SettingsError, match="expected 1 numbers for pred_iou_thresh"):
        SettingsSpace({"pred_iou_thresh": Bound(0.1, 0.9)}).decode(vector)


def test_prompts_lists_every_choice_once():
    space = SettingsSpace(
        {
            "points_per_side": Bound(ladder=(8, 16)),
            "crop_n_layers": Bound(ladder=(0, 1)),
            "crop_n_points_downscale_factor": Bound(ladder=(1, 2)),
            "pred_iou_thresh": Bound(0.1, 0.9),
        }
    )
    # without crops the downscale factor means nothing: 2 x (1 + 2)
    assert len(space.prompts()) == 6
    assert SettingsSpace({}).prompts() == (PromptSettings(),)


def test_a_prompt_setting_that_is_no_whole_number_needs_a_ladder():
    with pytest.raises(SettingsError, match="give a ladder"):
        SettingsSpace({"crop_overlap_ratio": Bound(0.1, 0.5)})


def test_n_prompts_counts_all_crops():
    assert PromptSettings(32).most_prompts == 1024
    assert PromptSettings(32, crop_n_layers=1).most_prompts == 1024 * 5
    assert PromptSettings(8, 2, 0.3, 2).most_prompts == 64 + 4 * 16 + 16 * 4


def test_settings_without_crops_share_their_prompts():
    assert Settings(crop_overlap_ratio=0.1).prompt == Settings().prompt
    assert Settings(crop_n_layers=1, crop_overlap_ratio=0.1).prompt != Settings().prompt


def test_a_crop_layer_without_points_is_refused():
    with pytest.raises(SettingsError, match="leaves no point in crop layer 2"):
        PromptSettings(8, crop_n_layers=2, crop_n_points_downscale_factor=4)


def test_the_gaze_is_off_by_default_and_off_settings_are_stock():
    assert Settings().n_prompts is None and "n_prompts" not in Settings().to_dict()
    assert Settings.from_dict(Settings().to_dict()) == Settings()
    looked = Settings(n_prompts=100, zoom=3)
    assert Settings.from_dict(looked.to_dict()) == looked


def test_a_number_of_prompts_replaces_the_grid():
    assert Settings(n_prompts=64, points_per_side=8).prompt == Settings(n_prompts=64).prompt
    assert Settings(n_prompts=64).prompt.most_prompts == 64


@pytest.mark.parametrize(
    ("values", "cure"),
    [
        ({"zoom": 2}, "zoom=2 needs n_prompts"),
        ({"n_prompts": 64, "crop_n_layers": 1}, "use zoom instead of crops"),
        ({"n_prompts": 3}, r"n_prompts must lie in \[4, 4096\]"),
        ({"n_prompts": 10.5}, "whole number"),
    ],
)
def test_a_gaze_that_contradicts_itself_is_refused(values, cure):
    for kind in (Settings, PromptSettings):
        with pytest.raises(SettingsError, match=cure):
            kind(**values)


def test_a_space_of_gazes_asks_for_one_record_a_zoom():
    free = {"n_prompts": Bound(8, 384), "zoom": Bound(ladder=(1, 2, 4))}
    space = SettingsSpace(free, Settings(n_prompts=64))
    assert space.prompts() == tuple(PromptSettings(n_prompts=384, zoom=z) for z in (1, 2, 4))
    chosen = space.decode([-1.0, 1.0])
    assert (chosen.n_prompts, chosen.zoom) == (8, 4)
    (record,) = (record for record in space.prompts() if record.holds(chosen.prompt))
    assert record.zoom == 4
    assert space.encode(chosen) == pytest.approx([-1, 1])
    with pytest.raises(SettingsError, match="set or free n_prompts"):
        SettingsSpace({"zoom": Bound(ladder=(1, 2))})


def test_values_are_spread_over_what_a_setting_may_take():
    free = {
        "min_plausibility": Bound(0.1, 0.7),
        "n_prompts": Bound(10, 1000),
        "zoom": Bound(ladder=(1, 2, 4)),
    }
    space = SettingsSpace(free, Settings(n_prompts=10))
    assert space.spread("min_plausibility", 4) == pytest.approx((0.1, 0.3, 0.5, 0.7))
    assert space.spread("n_prompts", 3) == (10, 100, 1000)
    assert space.spread("zoom", 7) == (1, 2, 4)
