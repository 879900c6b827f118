"""Task files: what they say, and how they say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samstar_rl.frames.frame import Frame
from samstar_rl.rewards import TERMS
from samstar_rl.settings import GATE_NAMES, SETTINGS, Settings
from samstar_rl.simulator import PRESETS
from samstar_rl.tasks.shipped import TaskError, task_names, task_path
from samstar_rl.tasks.task import Task, load_task, task_toml, write_static

FRAME = Frame(np.zeros((100, 120), np.float32), pixel_size_nm=0.5, id="frame-1")


@pytest.mark.parametrize("name", task_names())
def test_shipped_tasks_are_valid(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert task.description
    assert set(task.terms) <= set(TERMS)
    space = task.space
    assert space.decode(space.encode(task.static)).prompt == task.static.prompt
    for setting, free in task.settings.items():
        assert free.allows(setting, getattr(task.static, setting))


def test_the_four_tasks_of_the_bars_ship() -> None:
    assert {"particles", "overlap", "morphology", "size"} <= set(task_names())
    assert not any(
        load_task(name).experimental for name in ("particles", "overlap", "morphology", "size")
    )


@pytest.mark.parametrize("name", ("core_shell", "lattice", "grains", "cells"))
def test_experimental_tasks_say_so_and_have_a_preset(name: str) -> None:
    assert load_task(name).experimental
    assert name in PRESETS


@pytest.mark.parametrize("gate", GATE_NAMES)
def test_a_task_may_let_any_gate_move(gate: str) -> None:
    spec = SETTINGS[gate]
    low, high = (1.0, 5.0) if spec.high > 1 else (0.1, 0.9)
    data = load_task("size").to_dict()
    data["settings"] = {gate: {"low": low, "high": high}}
    data["static"] = {gate: low}
    space = Task.from_dict(data).space
    assert [getattr(space.decode([end]), gate) for end in (-1, 1)] == pytest.approx([low, high])


@pytest.mark.parametrize("name", task_names())
def test_tasks_survive_json_and_toml(name: str, tmp_path: Path) -> None:
    task = load_task(name)
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    path = tmp_path / f"{name}.toml"
    path.write_text(task_toml(task, "a comment\nof two lines"), "utf-8")
    assert load_task(path) == task


def test_particles_need_no_pixel_size_and_others_do() -> None:
    bare = Frame(np.zeros((100, 120), np.float32), id="bare")
    assert load_task("particles").length_unit_px(bare) == 100
    assert load_task("size").length_unit_px(FRAME) == 2.0
    with pytest.raises(ValueError, match="'bare' has no pixel size; give pixel_size_nm"):
        load_task("size").length_unit_px(bare)


def test_sample_reaches_every_term() -> None:
    task = load_task("size")
    assert all(target.sample == task.sample for target in task.terms.values())
    changed = task.with_targets(sample={"min_diameter": 7.0})
    assert all(target.sample.min_diameter == 7.0 for target in changed.terms.values())


def test_targets_and_static_can_be_changed() -> None:
    task = load_task("size")
    changed = task.with_targets(size={"median_diameter": 12.5})
    assert changed.terms["size"].median_diameter == 12.5  # type: ignore[attr-defined]
    assert task.terms["size"].median_diameter != 12.5  # type: ignore[attr-defined]
    with pytest.raises(TaskError, match=r"terms\.size\.median_diameter_nm: .*greater than 0"):
        task.with_targets(size={"median_diameter": -1.0})
    static = task.static.replace(pred_iou_thresh=0.123)
    assert task.with_static(static).static == static


def test_target_vector_has_fixed_length_and_no_unit() -> None:
    lengths = {len(load_task(name).target_vector(FRAME)) for name in task_names()}
    assert lengths == {len(Task.target_vector_names())}
    vector = dict(
        zip(Task.target_vector_names(), load_task("size").target_vector(FRAME), strict=True)
    )
    target = load_task("size").terms["size"]
    # nm to px is 2, the short side has 100 px
    expected = target.median_diameter * 2 / 100  # type: ignore[attr-defined]
    assert vector["size.median_diameter"] == pytest.approx(expected)
    assert sum(value for name, value in vector.items() if name.endswith(".weight")) == (
        pytest.approx(1.0)
    )
    with pytest.raises(ValueError, match="target_vector needs the frame"):
        load_task("size").target_vector()


def test_densities_have_units(tmp_path: Path) -> None:
    density = "[terms.completeness]\nnumber_density_per_um2 = [100.0, 200.0]\n\n[terms.size]\n"
    text = _text("size").replace("[terms.size]\n", density)
    task = load_task(_write(tmp_path, text))
    per_nm2 = task.terms["completeness"].number_density  # type: ignore[attr-defined]
    assert per_nm2 == pytest.approx((100e-6, 200e-6))
    per_px = task.terms["completeness"].scaled(task.length_unit_px(FRAME)).number_density  # type: ignore[attr-defined]
    assert per_px == pytest.approx((25e-6, 50e-6))
    assert Task.from_dict(task.to_dict()) == task


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("median_diameter_nm =", "median_diameter_px =", "must be median_diameter_nm"),
        ("median_diameter_nm =", "median_diameter =", "must be median_diameter_nm"),
        ("median_diameter_nm = 10.0", "median_diameter_nm = -1.0", "greater than 0, got -1.0"),
        ("median_diameter_nm = 10.0", 'median_diameter_nm = "x"', "valid number.*got 'x'"),
        ("median_diameter_nm =", "medain_nm =", "unknown key; known here: .*median_diameter_nm"),
        ("median_diameter_nm = 10.0\n", "", "needs median_diameter and geometric_std"),
        ("[terms.size]", "[terms.sise]", r"terms\.sise: unknown key; known here: coverage"),
        ('length_unit = "nm"', 'length_unit = "um"', "must be one of px, nm, frame, got 'um'"),
        ("[settings.n_prompts]", "[settings.points]", "points: is no setting; known"),
        ("n_prompts = ", "n_prompts = 1", "lies outside settings.n_prompts"),
        ("n_prompts = 114\n", "", "n_prompts: is missing, settings.n_prompts allows 12 to 375"),
        ("n_prompts = ", "n_promts = ", "did you mean 'n_prompts'"),
        ("high = 0.9\n", "high = 1.9\n", r"must lie in \[0, 1\], got 1.9"),
        ('contrast = "either"', 'contrast = "grey"', "'bright', 'dark' or 'either', got 'grey'"),
        ("low = 0.1\n", "low = 0.9\n", "low must be less than high, both finite, got 0.9"),
    ],
)
def test_errors_name_file_line_key_and_cure(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    text = _text("size")
    assert old in text
    path = _write(tmp_path, text.replace(old, new, 1))
    with pytest.raises(TaskError, match=message) as raised:
        load_task(path)
    assert str(path) in str(raised.value)
    assert ", line " in str(raised.value)


def test_the_line_in_an_error_is_right(tmp_path: Path) -> None:
    path = _write(tmp_path, _text("size").replace("geometric_std = 1", "geometric_std = 0", 1))
    wanted = next(
        number
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if line.startswith("geometric_std")
    )
    with pytest.raises(TaskError, match=rf"line {wanted}: terms\.size\.geometric_std"):
        load_task(path)


def test_broken_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no valid TOML.*line 1"):
        load_task(_write(tmp_path, "name = \nweight = 1"))
    with pytest.raises(TaskError, match="cannot read task file"):
        load_task(tmp_path / "missing.toml")
    with pytest.raises(TaskError, match=r"no task is called 'partikles'; known: .*particles"):
        load_task("partikles")


def test_write_static_changes_its_table_alone(tmp_path: Path) -> None:
    text = _text("size")
    path = _write(tmp_path, text, "size.toml")
    static = load_task(path).static.replace(pred_iou_thresh=0.25, max_aspect_ratio=3.0)
    write_static(path, static)
    assert load_task(path).static == static
    before, after = text.partition("[static]"), path.read_text("utf-8").partition("[static]")
    assert before[:2] == after[:2]
    assert "inf" not in after[2]
    write_static(path, load_task("size").static)
    assert path.read_text("utf-8") == text


def test_write_static_adds_a_missing_table_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    text = _text("size")
    path = _write(tmp_path, text, "size.toml")
    with pytest.raises(TaskError, match="lies outside"):
        write_static(path, Settings(n_prompts=5))
    assert path.read_text("utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def _text(name: str) -> str:
    return task_path(name).read_text("utf-8")


def _write(folder: Path, text: str, name: str = "edited.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path
