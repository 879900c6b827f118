"""`samstar dev fit-plausibility`."""

import cv2
import numpy as np
from drawn_particles import draw, grid

from samstar_rl.evidence.plausibility import load_likeness
from samstar_rl.scripts.maintain import fit_plausibility


def test_it_writes_a_network_and_how_reliable_it_is(samstar, tmp_path, monkeypatch) -> None:
    names = {"tune": ["0", "1"], "sam": ["2"], "check": ["3"]}
    monkeypatch.setattr(fit_plausibility, "split_names", names.__getitem__)
    monkeypatch.setattr(fit_plausibility, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(fit_plausibility, "EMPTY_FRAMES", 2)
    monkeypatch.setattr(fit_plausibility, "WIDE_PX", 640)
    for name in "0123":
        frame, masks = draw((128, 128), grid((128, 128), 32, 18), seed=int(name))
        labels = sum(number * mask for number, mask in enumerate(masks, 1))
        for folder, array in (("images", 255 * frame.image), ("labels", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            image = np.clip(array, 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), image)
    out, picture = tmp_path / "network.safetensors", tmp_path / "reliability.png"
    result = samstar(
        "dev fit-plausibility",
        *("--emps", tmp_path, "--per-family", 0, "--wide", 1, "--epochs", 1),
        *("--picture", picture, "-o", out),
    )
    assert result.exit_code == 0, result.output
    assert "all: plausibility is off by" in result.output
    load_likeness(out)
    assert picture.stat().st_size > 0
    assert (
        len(list((tmp_path / "cache" / "made").iterdir())) == 4
    )  # two of tune, a wide one, one of sam
