"""One policy for many samples, those included that it never saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic_bank import SyntheticBank

from samstar_rl.agents.judging.judge import Judge
from samstar_rl.agents.learning.hyperparameters import load_hyperparameters
from samstar_rl.agents.learning.plan import TrainingPlan
from samstar_rl.agents.learning.train import TrainingError, _Run, train_multi_policy
from samstar_rl.agents.policies.bundle import BundleError, PolicyBundle
from samstar_rl.agents.registry import make_tuner
from samstar_rl.envs import STREAM_ID
from samstar_rl.envs.task_union import TaskUnion
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.objective import Objective

SMALL = {"total_steps": 64, "n_envs": 3, "net_arch": [8], "n_steps": 8, "batch_size": 16}


@pytest.fixture(scope="module")
def seen():
    tasks = [load_task(name) for name in ("particles", "overlap")]
    return [(task, SyntheticBank(task, n_streams=3, n_frames=2, seed=k))
            for k, task in enumerate(tasks)]  # fmt: skip


@pytest.fixture(scope="module")
def plan():
    hyperparameters = load_hyperparameters("ppo", overrides=SMALL)
    return TrainingPlan("ppo", hyperparameters, seed=1, variation=0.25)


@pytest.fixture(scope="module")
def trained(seen, plan, tmp_path_factory):
    torch.set_num_threads(1)
    return train_multi_policy(seen, plan, tmp_path_factory.mktemp("multi"))


def test_each_task_gets_as_many_environments(seen, plan, tmp_path):
    run = _Run(seen, plan, tmp_path, TaskUnion.of(task for task, _ in seen))
    names = [env.unwrapped.task.name for env in run.env.envs]
    assert names == ["particles", "particles", "overlap", "overlap"]


def test_the_curve_tells_each_tasks_score(trained):
    point = trained.progress.curve[-1]
    assert point["score"] == pytest.approx(
        np.mean([point["score_particles"], point["score_overlap"]])
    )


def test_an_unseen_task_is_served(trained):
    data = load_task("morphology").to_dict()
    data["settings"]["min_solidity"] = {"low": 0.0, "high": 0.9}
    data["static"]["min_solidity"] = 0.3
    task = Task.from_dict(data)
    bank = SyntheticBank(task, n_streams=1, n_frames=3)
    rows = Judge(bank, Objective(task)).judge(trained.tuner(bank, task, "others"))
    assert len(rows) == 3
    assert set(rows["tuner"]) == {"others"}
    # what no training task moves stays at the static settings
    assert (rows["setting_min_solidity"] == 0.3).all()


def test_a_multi_task_training_resumes(seen, plan, trained, tmp_path):
    def kill(progress):
        if progress.steps >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_multi_policy(seen, plan, tmp_path, on_progress=kill)
    resumed = train_multi_policy(seen, plan, tmp_path, resume=True)
    for one, other in zip(resumed.network.weights, trained.network.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_bundle_of_many_tasks_loads_for_any(trained, seen, tmp_path):
    task, bank = seen[0]
    bundle = PolicyBundle.of(
        trained.network, name="all", env_id=STREAM_ID, task=task,
        schema=trained.tuner(bank, task).builder.schema, sam_name="synthetic",
        sam_sha256=bank.sam_sha256, training={}, union=trained.union,
    )  # fmt: skip
    path = bundle.save(tmp_path / "all")
    for name in ("particles", "overlap", "size"):
        wanted = load_task(name)
        tuner = make_tuner(str(path), wanted, sam_sha256=bank.sam_sha256)
        frames = SyntheticBank(wanted, n_streams=1, n_frames=2)
        first = Judge(frames, Objective(wanted)).judge(tuner)
        second = Judge(frames, Objective(wanted)).judge(trained.tuner(frames, wanted))
        np.testing.assert_allclose(first["score"], second["score"], atol=1e-6)
    text = wanted.to_dict()
    text["settings"], text["static"] = {"crop_n_layers": {"ladder": [0, 1]}}, {}
    with pytest.raises(BundleError, match="none of which"):
        PolicyBundle.load(path, task=type(wanted).from_dict(text))


def test_nothing_to_train_on_is_refused(plan, tmp_path):
    with pytest.raises(TrainingError, match="at least one task"):
        train_multi_policy([], plan, tmp_path)


def test_banks_of_different_sams_are_refused(seen, plan, tmp_path):
    task, _ = seen[0]
    other = SyntheticBank(task, n_streams=2, n_frames=1)
    other.sam_sha256 = "6" * 64
    with pytest.raises(TrainingError, match="different SAMs"):
        train_multi_policy([*seen, (task, other)], plan, tmp_path)
