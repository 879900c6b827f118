"""Artefacts that depend on the embedded SAM: where they are put."""

from __future__ import annotations

import shutil

from samstar_rl.agents.policies.bundle import PolicyBundle, find_bundle
from samstar_rl.agents.tuner_names import shipped_folder
from samstar_rl.scripts.maintain import artefacts


def test_a_rebuilt_policy_takes_the_place_of_the_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = find_bundle("particles")
    saved = []
    monkeypatch.setattr(
        artefacts, "train", lambda task, out, seed: shutil.copytree(shipped, out / artefacts.POLICY)
    )
    monkeypatch.setattr(PolicyBundle, "save", lambda bundle, target: saved.append(target))
    artefacts._rebuild_policy("particles", seed=0)
    assert saved == [shipped_folder() / "particles"]
