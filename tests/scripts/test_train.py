"""`samstar train` on a folder of frames: the bundle it leaves is what segment takes."""

import importlib
import json
import tomllib

import pytest
from synthetic_bank import SyntheticBank

from samstar_rl.agents.policies.bundle import PolicyBundle
from samstar_rl.scripts._shared.inputs import read_tasks
from samstar_rl.tasks.task import load_task


@pytest.fixture
def synthetic(monkeypatch):
    """Simulated streams without a SAM."""
    monkeypatch.setattr(
        "samstar_rl.bank.simulated.simulated_bank",
        lambda task, *_, **__: SyntheticBank(task, n_streams=3, n_frames=2),
    )


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
    # the search of the settings to start from, and a whole rollout
    assert 512 <= curve[-1]["steps"] < 2 * 512
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


def test_one_policy_of_several_tasks_serves_any(samstar, synthetic, tmp_path):
    out = tmp_path / "many"
    done = samstar(
        *("train", "--task", "particles,overlap", "--task", "size", "--steps", 512, "-o", out)
    )
    assert done.exit_code == 0, done.output
    bundle = PolicyBundle.load(out / "policy.bundle", task=load_task("morphology"))
    assert bundle.task.name == "morphology"
    assert bundle.training["tasks"] == ["particles", "overlap", "size"]


def test_all_stands_for_every_task_that_is_not_experimental():
    names = [task.name for task in read_tasks(["all"])]
    assert {"particles", "overlap", "morphology", "size"} <= set(names)
    assert not any(load_task(name).experimental for name in names)
    assert [task.name for task in read_tasks(["size,particles", "size"])] == ["size", "particles"]


@pytest.mark.parametrize("algo", ["TD3", "a2c"])
def test_learners_by_their_class_names(samstar, synthetic, tmp_path, algo):
    out = tmp_path / "out"
    done = samstar("train", "--algo", algo, "--steps", 512, "-o", out)
    assert done.exit_code == 0, done.output
    assert PolicyBundle.load(out / "policy.bundle").training["algorithm"] == algo.lower()


def test_an_unknown_learner_is_bad_input(samstar, tmp_path):
    done = samstar("train", "--algo", "DQN", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "PPO, A2C, SAC" in done.output


def test_a_learner_of_sb3_contrib_names_the_extra(samstar, tmp_path, monkeypatch):
    known = importlib.import_module

    def missing(name, *rest):
        if name == "sb3_contrib":
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr("samstar_rl.agents.learning.learners.importlib.import_module", missing)
    done = samstar("train", "--algo", "TQC", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "samstar-rl[contrib]" in done.output


def test_hyperparameters_are_searched_and_read(samstar, synthetic, tmp_path):
    pytest.importorskip("optuna")
    out = tmp_path / "search"
    search = ("train", "--optimize", 2, "--steps", 512, "-o", out)
    done = samstar(*search)
    assert done.exit_code == 0, done.output
    file = out / "hyperparameters.toml"
    first = tomllib.loads(file.read_text())["default"]
    assert "learning_rate" in first
    assert samstar(*search).exit_code == 0  # nothing left to do
    assert tomllib.loads(file.read_text())["default"] == first
    done = samstar(
        *("train", "--hyperparameters", file, "--steps", 512, "-o", tmp_path / "trained")
    )
    assert done.exit_code == 0, done.output


def test_blocks_can_be_left_out(samstar, synthetic, tmp_path):
    out = tmp_path / "blind"
    done = samstar("train", "--without", "embedding", "--steps", 512, "-o", out)
    assert done.exit_code == 0, done.output
    bundle = PolicyBundle.load(out / "policy.bundle")
    assert not bundle.normalisation.scale[bundle.schema["embedding"].slice].any()
    assert bundle.normalisation.scale[bundle.schema["gaze"].slice].any()
    done = samstar("train", "--without", "nose", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "no block 'nose'" in done.output


def test_names_choose_among_frames(samstar, small_task, images, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("b")
    out = tmp_path / "out"
    done = samstar(
        *("train", "--task", small_task, "--frames", images, "--names", names),
        *("--steps", 512, "-o", out),
    )
    assert done.exit_code == 0, done.output
    manifest = json.loads((out / "bank" / "bank.json").read_text())
    assert len(manifest["frames"]) == 2  # the stack's planes
    names.write_text("nothing")
    done = samstar("train", "--frames", images, "--names", names, "-o", tmp_path / "none")
    assert done.exit_code == 2
    assert "no image" in done.output


def test_frames_are_of_one_sample(samstar, images, tmp_path):
    done = samstar("train", "--task", "all", "--frames", images, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "one sample" in done.output


def test_resuming_another_training_is_bad_input(samstar, synthetic, tmp_path):
    assert samstar("train", "--steps", 512, "-o", tmp_path).exit_code == 0
    done = samstar("train", "--steps", 512, "--seed", 9, "--resume", "-o", tmp_path)
    assert done.exit_code == 2
    assert "another training" in done.output


def test_the_ablation_writes_its_table(samstar, synthetic, tmp_path):
    ablate = (
        "ablate",
        "particles",
        "--seeds",
        2,
        "--steps",
        512,
        "--block",
        "gaze",
        "-o",
        tmp_path,
    )
    done = samstar(*ablate)
    assert done.exit_code == 0, done.output
    table = (tmp_path / "ablation.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == [
        "all blocks", "without gaze", "no block",
    ]  # fmt: skip
    assert samstar(*ablate).exit_code == 0
    assert (tmp_path / "ablation.md").read_text() == table
