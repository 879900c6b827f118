"""`samstar dev fit-plausibility`."""

import numpy as np
from safetensors.numpy import load_file

from samstar_rl.evidence.likeness import EVIDENCE, Likeness
from samstar_rl.scripts.maintain import fit_plausibility


def test_it_writes_a_network(samstar, small_task, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("samstar_rl.fitting.plausibility.EPOCHS", 2)
    monkeypatch.setattr(fit_plausibility, "EPOCHS", 2)
    result = samstar(
        *("validate", small_task, "--n-frames", 1, "--settings", 8, "--size", 128),
        *("-o", tmp_path / "validity"),
    )
    assert result.exit_code == 0, result.output
    out = tmp_path / "network.safetensors"
    result = samstar(
        "dev fit-plausibility",
        *(f"{tmp_path / 'validity' / 'bank'}:{small_task}",),
        *("--settings", 8, "-o", out),
    )
    assert result.exit_code == 0, result.output
    network = Likeness(**load_file(out))
    likeness = network.of(np.zeros((3, len(EVIDENCE))))
    assert ((likeness > 0) & (likeness < 1)).all()


def test_a_bank_needs_its_task(samstar) -> None:
    result = samstar("dev fit-plausibility", "bank")
    assert result.exit_code == 2
    assert "expected BANK:TASK, got 'bank'" in result.output
