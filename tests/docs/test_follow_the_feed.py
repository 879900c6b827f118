"""The example control script against a real loop on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from samstar_rl.segmenter import Segmenter
from samstar_rl.simulator import SimulatedStream
from samstar_rl.sources.base import Fault, MemorySource
from samstar_rl.streaming.counters import Counters
from samstar_rl.streaming.feed import Feed
from samstar_rl.streaming.runner import Runner
from samstar_rl.tasks.task import load_task

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "follow_the_feed.py"
N_FRAMES = 3


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(tuner=load_task("particles").static.replace(points_per_side=8))


def frames_and_faults():
    with SimulatedStream("particles", seed=2, size=96) as stream:
        yield Fault("a.png", "damaged")
        for index in range(1000):
            yield stream.frame_at(index).frame


@pytest.mark.parametrize("token", [None, "secret"])
def test_the_script_acts_on_every_frame(segmenter, token):
    counters = Counters()
    with Feed(counters, token=token) as feed:
        source = MemorySource(frames_and_faults(), interval_s=0.05)
        runner = Runner(source, segmenter, [feed], queue="latest", counters=counters)
        loop = threading.Thread(target=runner.run)
        loop.start()
        environment = {**os.environ, **({"SAMSTAR_TOKEN": token} if token else {})}
        try:
            done = subprocess.run(
                [
                    *(sys.executable, SCRIPT, feed.address, "--frames", str(N_FRAMES)),
                    *("--least-score", "0", "--least-particles", "1"),
                ],
                capture_output=True, text=True, timeout=120, env=environment,
            )  # fmt: skip
        finally:
            runner.request_stop()
            loop.join(60)
    assert done.returncode == 0, done.stderr
    actions = [line for line in done.stdout.splitlines() if line.startswith("particles-2-")]
    assert len(actions) == N_FRAMES
    assert all("acquire a spectrum at x = " in line or "move on" in line for line in actions)
    assert any("the largest of" in line and "nm" in line for line in actions)


def test_without_the_token_the_script_says_so():
    with Feed(Counters(), token="secret") as feed:
        environment = {k: v for k, v in os.environ.items() if k != "SAMSTAR_TOKEN"}
        done = subprocess.run(
            [sys.executable, SCRIPT, feed.address], capture_output=True, text=True, timeout=60,
            env=environment,
        )  # fmt: skip
    assert done.returncode != 0 and "SAMSTAR_TOKEN" in done.stderr


@pytest.mark.parametrize(
    ("record", "action"),
    [
        ({"event": "source", "message": "is away"}, "wait: is away"),
        ({"score": 0.1, "n_particles": 9}, "refocus"),
        ({"score": 0.9, "n_particles": 2}, "move on: 2"),
        (
            {
                "score": 0.9, "n_particles": 3,
                "particles": {
                    "equivalent_diameter_area": [4.0, 9.0, 5.0], "centroid-1": [1.0, 2.0, 3.0],
                    "centroid-0": [7.0, 8.0, 9.0],
                },
            },
            "acquire a spectrum at x = 2 px, y = 8 px: the largest of 3 particles, 9.0 px",
        ),
    ],
)  # fmt: skip
def test_what_it_decides(record, action):
    import importlib.util

    spec = importlib.util.spec_from_file_location("follow_the_feed", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.decide(record, least_particles=3, least_score=0.3).startswith(action)
