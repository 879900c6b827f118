"""The policies that ship run on the tasks and with the SAM that ship, without any training."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from bundles import untrained_bundle
from synthetic_bank import N_CHANNELS

from samstar_rl.agents import tuner_names
from samstar_rl.agents.policies import bundle as bundles
from samstar_rl.agents.policies.bundle import PolicyBundle, find_bundle, shipped_bundles
from samstar_rl.agents.registry import NamedTuner, make_tuner
from samstar_rl.sam.load import packaged_weights_sha256
from samstar_rl.tasks.shipped import task_names
from samstar_rl.tasks.task import load_task


@pytest.mark.parametrize("name", shipped_bundles())
def test_a_shipped_policy_fits_the_sam_and_the_task_that_ship(name):
    served = [name] if name in task_names() else ["particles", "overlap", "morphology", "size"]
    for task in served:
        tuner = make_tuner(name, load_task(task), sam_sha256=packaged_weights_sha256())
        assert tuner.name == name
    bundle = PolicyBundle.load(name)
    action = bundle.act(bundle.normalisation.mean)
    assert action.shape == (bundle.n_actions,)
    assert np.isfinite(action).all()


@pytest.mark.parametrize("name", ["overlap", "size"])
def test_the_task_of_a_policy_is_taken_where_none_is_asked_for(name):
    if name not in shipped_bundles():
        pytest.skip(f"no policy {name} ships with this version")
    assert NamedTuner(name).task == PolicyBundle.load(name).task
    assert NamedTuner(name).task.name == name


def test_the_policy_of_the_task_is_taken_where_no_tuner_is_asked_for():
    ship = [name for name in task_names() if name in shipped_bundles()]
    assert {"particles", "overlap", "morphology", "size"} <= set(ship)
    for name in ship:
        assert tuner_names.usual_tuner(name) == name
    assert tuner_names.usual_tuner(None) == "particles"
    assert tuner_names.usual_tuner("lattice") == "static"
    assert tuner_names.usual_tuner("mine/particles.toml") == "static"
    assert tuner_names.usual_tuner("particles", "vit_b") == "static"


@pytest.mark.parametrize("spec", ["static", "static:tuned/settings.toml", "genetic", "no_such"])
def test_what_is_no_policy_is_for_particles(spec):
    assert NamedTuner(spec).task == load_task("particles")


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A package whose only policy is one for `particles`."""
    for module in (bundles, tuner_names):
        monkeypatch.setattr(module, "shipped_folder", lambda: tmp_path / "policies")
    task = load_task("particles")
    made = untrained_bundle(task, N_CHANNELS, sam_sha256=packaged_weights_sha256())
    replace(made, name="particles").save(tmp_path / "policies" / "particles")
    return tmp_path


def test_a_shipped_policy_is_found_by_its_name(shipped):
    assert shipped_bundles() == ("particles",)
    tuner = make_tuner("particles", load_task("particles"), sam_sha256=packaged_weights_sha256())
    assert tuner.name == "particles"


def test_a_folder_of_results_does_not_hide_a_shipped_policy(shipped, monkeypatch):
    monkeypatch.chdir(shipped)
    (shipped / "particles").mkdir()
    assert find_bundle("particles").parent.name == "policies"
    shutil.copytree(find_bundle("particles"), "particles", dirs_exist_ok=True)
    assert find_bundle("particles").parent.name != "policies"  # now it is a bundle
