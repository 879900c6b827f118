from __future__ import annotations

import json
import tomllib

import pytest

from samstar_rl.agents.registry import read_static
from samstar_rl.bank.simulated import with_gaze
from samstar_rl.settings import Settings
from samstar_rl.tasks.task import Task, load_task, task_toml


@pytest.mark.parametrize("algo", ["genetic", "refined"])
def test_the_settings_found_score_no_worse_and_segment_reads_them(
    samstar, small_task, images, tmp_path, algo
):
    out = tmp_path / "tuned"
    done = samstar(
        *("tune", images, "--task", small_task, "--algo", algo),
        *("--evaluations", 60, "--seed", 1, "-o", out),
    )
    assert done.exit_code == 0, done.output
    text = tomllib.loads((out / "settings.toml").read_text())
    assert read_static(str(out / "settings.toml")) == Settings.from_dict(text["settings"])
    found = text["found"]
    assert found["mean_score"] >= found["mean_score_of_task_static"] - 1e-9
    assert found["frames"] == 3 and found["evaluations"] <= 60
    results = json.loads((out / "results.json").read_text())
    assert results["curve"] and (out / "tensorboard").exists() and (out / "run.json").exists()

    done = samstar(
        *("segment", images / "a.png", "--task", small_task),
        *("--tuner", f"static:{out / 'settings.toml'}", "-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output


def test_a_deadline_becomes_the_cost_that_settings_are_found_for(samstar, images, tmp_path):
    task = tmp_path / "gaze.toml"
    task.write_text(task_toml(with_gaze(load_task("particles"), zooms=(1.0, 2.0), most_prompts=32)))
    out = tmp_path / "tuned"
    done = samstar(
        *("tune", images, "--task", task, "--budget-ms", 60_000, "--evaluations", 30, "-o", out)
    )
    assert done.exit_code == 0, done.output
    found = tomllib.loads((out / "settings.toml").read_text())["found"]
    assert found["budget"] > 100 and found["budget_ms"] == 60_000
    assert found["mean_score"] >= found["mean_score_of_task_static"] - 1e-9
    assert "pay for a cost of" in done.output and "--budget-ms 60000" in done.output


def test_what_has_no_budget_is_refused(samstar, images, tmp_path):
    grid = load_task("particles").to_dict()
    for part in ("settings", "static"):
        for name in ("zoom", "n_prompts"):
            grid[part].pop(name, None)
    task = tmp_path / "grid.toml"
    task.write_text(task_toml(Task.from_dict(grid)))
    for more, message in ((["--pareto"], "leave out --pareto"), ([], "which no budget stops")):
        done = samstar("tune", images, "--task", task, "--budget-ms", 500, *more, "-o", tmp_path)
        assert done.exit_code == 2 and message in done.stderr


def test_the_same_seed_finds_the_same(samstar, small_task, images, tmp_path):
    for name in ("one", "two"):
        samstar(
            *("tune", images / "a.png", "--task", small_task, "--evaluations", 20),
            *("--algo", "refined", "-o", tmp_path / name),
        )
    assert (tmp_path / "one" / "settings.toml").read_text() == (
        tmp_path / "two" / "settings.toml"
    ).read_text()


def test_too_few_evaluations_are_refused(samstar, small_task, images, tmp_path):
    done = samstar("tune", images, "--task", small_task, "--evaluations", 2, "-o", tmp_path / "o")
    assert done.exit_code == 2 and "too few" in done.stderr


def test_a_front_is_written_and_any_of_its_points_deploys(samstar, small_task, images, tmp_path):
    out = tmp_path / "front"
    done = samstar(
        *("tune", images, "--task", small_task, "--pareto", "--terms", "plausibility,shape"),
        *("--evaluations", 180, "--pick", "knee", "-o", out),
    )
    assert done.exit_code == 0, done.output
    file = out / "settings.toml"
    text = tomllib.loads(file.read_text())
    points = text["points"]
    assert text["found"]["picked_by"] == "knee" and text["found"]["terms"] == [
        "plausibility",
        "shape",
    ]
    assert read_static(str(file)) == read_static(f"{file}#{text['found']['point']}")
    assert [point["score"] for point in points] == sorted(
        (point["score"] for point in points), reverse=True
    )
    values = [(point["terms"]["plausibility"], point["terms"]["shape"]) for point in points]
    for mine in values:  # none beats another in both
        assert not any(a > mine[0] and b > mine[1] for a, b in values)
    rows = (out / "front.csv").read_text().splitlines()
    assert rows[0].startswith("point,score,") and len(rows) == len(points) + 1
    assert (out / "front.png").stat().st_size > 10_000
    assert json.loads((out / "results.json").read_text())["points"][0]["point"] == 1

    done = samstar(
        *("segment", images / "a.png", "--task", small_task),
        *("--tuner", f"static:{file}#{len(points)}", "-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert Settings.from_dict(record["settings"]) == Settings.from_dict(points[-1]["settings"])


def test_a_floor_that_no_point_reaches_leaves_the_front(samstar, small_task, images, tmp_path):
    out = tmp_path / "front"
    done = samstar(
        *("tune", images / "a.png", "--task", small_task, "--pareto", "--evaluations", 12),
        *("--pick", "floor:plausibility=1.1", "-o", out),
    )
    assert done.exit_code == 2 and "no point of the front reaches" in done.stderr
    text = tomllib.loads((out / "settings.toml").read_text())
    assert "settings" not in text and text["points"]
    assert read_static(f"{out / 'settings.toml'}#1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pareto", "--terms", "plausibility,order"), "no term 'order'"),
        (("--pareto", "--terms", "plausibility"), "two or more"),
        (("--pareto", "--pick", "elbow"), "weights, knee or floor"),
        (("--pareto", "--algo", "refined"), "NSGA-II"),
        (("--terms", "plausibility,shape"), "give --pareto"),
        (("--pareto", "--per-frame"), "not both"),
        (("--pareto", "--evaluations", "3"), "too few"),
        (("--per-frame", "--evaluations", "3"), "too few"),
    ],
)
def test_what_cannot_be_asked_of_a_front_is_refused(
    samstar, small_task, images, tmp_path, arguments, message
):
    done = samstar("tune", images, "--task", small_task, *arguments, "-o", tmp_path / "o")
    assert done.exit_code == 2 and message in done.stderr


def test_each_frame_gets_settings_that_segment_uses(samstar, small_task, images, tmp_path):
    out = tmp_path / "tuned"
    done = samstar(
        *("tune", images, "--task", small_task, "--per-frame", "--evaluations", 90, "-o", out)
    )
    assert done.exit_code == 0, done.output
    file = out / "settings.toml"
    text = tomllib.loads(file.read_text())
    assert list(text["frames"]) == ["a", "b-00000", "b-00001"]
    done = samstar(
        *("segment", images, "--task", small_task, "--tuner", f"static:{file}"),
        *("-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    for name, settings in text["frames"].items():
        record = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert Settings.from_dict(record["settings"]) == Settings.from_dict(settings)
