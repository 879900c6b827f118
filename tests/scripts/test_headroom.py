"""`samstar headroom` on tiny simulated streams, and what it refuses."""

from __future__ import annotations

import json


def test_headroom_is_measured_over_drifts_and_started_again(samstar, small_task, tmp_path):
    out = tmp_path / "headroom"
    command = (
        *("headroom", small_task, "--streams", 2, "--n-frames", 2, "--settings", 8),
        *("--size", 64, "--drift", 0, "--drift", 1, "-o", out),
    )
    done = samstar(*command)
    assert done.exit_code == 0, done.output
    found = json.loads((out / "headroom.json").read_text())
    assert set(found["by_drift"]) == {"0", "1"}
    assert found["f1"]["per frame by truth"][0] >= found["f1"]["hindsight static"][0]
    assert found["settings"] and found["verdict"]
    assert (out / "headroom.png").stat().st_size > 10_000
    for sentence in found["verdict"]:
        assert sentence.split(":")[0] in done.output
    bank = out / "banks" / "drift-1" / "frames" / "00000.bin"
    stamp = bank.stat().st_mtime_ns
    again = samstar(*command)
    assert again.exit_code == 0, again.output
    assert bank.stat().st_mtime_ns == stamp
    assert json.loads((out / "headroom.json").read_text()) == found


def test_images_need_labels(samstar, small_task, images, tmp_path):
    done = samstar("headroom", small_task, "--frames", images, "-o", tmp_path / "out")
    assert done.exit_code == 2 and "give --labels" in done.output
