"""`samstar train` on a folder of frames: the bundle it leaves is what segment takes."""

import json

import pytest

from samstar_rl.agents.bundle import PolicyBundle


@pytest.fixture
def trained(samstar, small_task, images, tmp_path):
    out = tmp_path / "trained"
    done = samstar(
        *("train", "--task", small_task, "--frames", images, "--steps", 512),
        *("--seed", 3, "-o", out),
    )
    assert done.exit_code == 0, done.output
    return out


def test_a_trained_policy_segments(samstar, small_task, images, tmp_path, trained):
    bundle = PolicyBundle.load(trained / "policy.bundle")
    assert bundle.training["seed"] == 3
    curve = json.loads((trained / "results.json").read_text())["curve"]
    assert curve[-1]["steps"] == 512
    assert list((trained / "tensorboard").glob("events.out.tfevents.*"))
    done = samstar(
        *("segment", images / "a.png", "--task", small_task),
        *("--tuner", trained / "policy.bundle", "-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "a.labels.tif").exists()


def test_frames_and_bank_exclude_each_other(samstar, images, tmp_path):
    done = samstar("train", "--frames", images, "--bank", tmp_path, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "learn on one of them" in done.output


def test_an_unknown_task_is_bad_input(samstar, tmp_path):
    done = samstar("train", "--task", "nope", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "no task is called 'nope'" in done.output
