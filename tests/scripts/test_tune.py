from __future__ import annotations

import json
import tomllib

import pytest

from samstar_rl.agents.registry import read_static
from samstar_rl.settings import Settings


@pytest.mark.parametrize("algo", ["genetic", "random"])
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


def test_the_same_seed_finds_the_same(samstar, small_task, images, tmp_path):
    for name in ("one", "two"):
        samstar(
            *("tune", images / "a.png", "--task", small_task, "--evaluations", 20),
            *("--algo", "random", "-o", tmp_path / name),
        )
    assert (tmp_path / "one" / "settings.toml").read_text() == (
        tmp_path / "two" / "settings.toml"
    ).read_text()


def test_too_few_evaluations_are_refused(samstar, small_task, images, tmp_path):
    done = samstar("tune", images, "--task", small_task, "--evaluations", 2, "-o", tmp_path / "o")
    assert done.exit_code == 2 and "too few" in done.stderr
