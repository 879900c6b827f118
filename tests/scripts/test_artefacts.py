"""Artefacts that depend on the embedded SAM: how they are made, and where they are put."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console
from synthetic_bank import SyntheticBank

from samstar_rl.agents.learning.plan import plan_training
from samstar_rl.agents.policies.bundle import PolicyBundle
from samstar_rl.agents.tuner_names import shipped_folder
from samstar_rl.scripts.maintain import artefacts
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.metrics import Truth, f1_at
from samstar_rl.tuning.evaluable_frames import BankFrame


def test_a_rebuilt_policy_takes_the_place_of_the_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = []
    short = plan_training("PPO", [load_task("particles")], steps=512)
    monkeypatch.setattr(artefacts, "plan_training", lambda *args, **options: short)
    monkeypatch.setattr(PolicyBundle, "save", lambda bundle, target: saved.append(target))
    task = load_task("particles")
    artefacts._rebuild_policy("particles", [(task, SyntheticBank(task))], 0, Console())
    assert saved == [shipped_folder() / "particles"]


def test_static_settings_by_truth_keep_to_the_cost_of_a_live_frame(monkeypatch):
    monkeypatch.setattr(artefacts, "CHOICES", 60)
    task = load_task("particles")
    bank = SyntheticBank(task)
    frames = [BankFrame(bank, stream[0]) for stream in bank.streams]
    truths = [Truth(bank.truth(frame.index)) for frame in frames]
    settings, f1 = artefacts.static_by_truth(task, frames, truths, seed=0)
    physics = artefacts.PhysicsReward(task)

    def found_by(chosen):
        return [
            source.segment(chosen, cost_limit=artefacts.LIVE_COST, **physics.gauge(source.frame))
            for source in frames
        ]

    def mean_f1(segmentations):
        return np.mean(
            [f1_at(one, truth) for one, truth in zip(segmentations, truths, strict=True)]
        )

    found = found_by(settings)
    assert f1 == pytest.approx(mean_f1(found))
    assert f1 >= mean_f1(found_by(task.static))
    assert all(one.proposals.cost <= artefacts.LIVE_COST for one in found)


def test_rebuilt_static_settings_ask_for_what_a_live_frame_can_pay(monkeypatch):
    monkeypatch.setattr(artefacts, "CHOICES", 4)
    written = []
    monkeypatch.setattr(artefacts, "write_static", lambda path, found: written.append(found))
    task = load_task("particles")
    artefacts._rebuild_static(task, SyntheticBank(task), False, 0, Console())
    (settings,) = written
    assert settings.min_plausibility > 0
    assert 12 <= settings.n_prompts <= artefacts.LIVE_COST
