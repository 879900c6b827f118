"""`samstar headroom` on tiny simulated streams, and what it refuses."""

from __future__ import annotations

import json


def test_headroom_is_measured_and_started_again(samstar, small_task, tmp_path):
    out = tmp_path / "headroom"
    command = (
        *("headroom", small_task, "--streams", 2, "--n-frames", 1, "--size", 64, "--prompts", 16),
        *("--zoom", 1, "--zoom", 2, "--budget", 75, "-o", out),
    )
    done = samstar(*command)
    assert done.exit_code == 0, done.output
    found = json.loads((out / "headroom.json").read_text())
    assert set(found["measured"]) == {"drift", "survey"}
    limited, free = found["measured"]["survey"]
    assert (limited["budget"], free["budget"]) == (75, None)
    assert free["f1"]["by frame, by truth"][0] >= free["f1"]["one gaze by truth"][0]
    assert (out / "headroom.png").stat().st_size > 10_000
    assert "drift, at a budget of 75: choosing the gaze by frame" in done.output
    bank = out / "banks" / "drift" / "frames" / "00000.bin"
    stamp = bank.stat().st_mtime_ns
    again = samstar(*command)
    assert again.exit_code == 0, again.output
    assert bank.stat().st_mtime_ns == stamp
    assert json.loads((out / "headroom.json").read_text()) == found


def test_images_need_labels(samstar, small_task, images, tmp_path):
    done = samstar("headroom", small_task, "--frames", images, "-o", tmp_path / "out")
    assert done.exit_code == 2 and "give --labels" in done.output
