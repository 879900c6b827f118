"""`samstar deploy` against each simulator of an instrument, as it behaves and as it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samstar_rl.scripts.maintain.simulate_instrument import make_simulator
from samstar_rl.sources.instruments.asyncroscopy_sim import (
    AsyncroscopySimulator,
    framed,
    text_reply,
)
from samstar_rl.streaming.sinks import read_journal

pytestmark = pytest.mark.slow

NEEDS = {
    "asyncroscopy": "numpy",
    "tango": "tango",
    "tango 3": "tango",
    "dtmicroscope": "Pyro5",
    "pva": "p4p",
}


@pytest.mark.parametrize("kind", NEEDS)
def test_deploy_runs_beside_each_simulator(samstar, small_task, tmp_path, monkeypatch, kind):
    pytest.importorskip(NEEDS[kind])
    simulator = make_simulator(
        kind.split()[0], port=0, preset="particles", seconds=0.2,
        version=3 if kind.endswith("3") else 2, seed=0,
    )  # fmt: skip
    with simulator:
        for name, value in getattr(simulator, "conf", {}).items():
            monkeypatch.setenv(name, value)
        size = "" if kind in ("dtmicroscope", "pva") else "&size=128"
        source = simulator.source + size
        done = samstar(
            *("deploy", "--source", source, "--task", small_task, "--frames", 5),
            *("--picture-every", 0, "-o", tmp_path / "out"),
        )
        assert done.exit_code == 0, done.output
        n_scans = {
            "asyncroscopy": lambda: simulator.specimen.n_scans,
            "tango": lambda: simulator.n_scans,
            "tango 3": lambda: simulator.n_scans,
        }.get(kind, lambda: 5)()
    results = json.loads((tmp_path / "out" / "run" / "results.json").read_text())
    assert results["done"] == 5 and results["failed"] == 0
    assert n_scans <= 1.1 * results["done"]
    lines = [line for line in read_journal(tmp_path / "out" / "run" / "frames.jsonl")]
    frames = [line for line in lines if "score" in line]
    assert len({line["frame"] for line in frames}) == 5
    assert all((line["pixel_size_nm"] is not None) == kind.startswith("tango") for line in frames)


def test_what_the_instrument_refuses_ends_with_exit_3_and_the_hint(samstar, small_task, tmp_path):
    refusal = framed(text_reply("Unknown command prefix in 'get_scanned_image'"))
    with AsyncroscopySimulator(reply=lambda command: refusal) as server:
        done = samstar(
            *("deploy", "--source", f"asyncroscopy://127.0.0.1:{server.port}?central=0"),
            *("--task", small_task, "-o", tmp_path / "out"),
        )
        assert len(server.requests) == 1
    assert done.exit_code == 3
    assert "central=1" in done.stderr and "Traceback" not in done.output


def test_a_channel_that_does_not_exist_ends_with_exit_3(samstar, small_task, tmp_path, monkeypatch):
    pytest.importorskip("p4p")
    monkeypatch.setenv("EPICS_PVA_AUTO_ADDR_LIST", "NO")
    monkeypatch.setenv("EPICS_PVA_ADDR_LIST", "127.0.0.1")
    done = samstar(
        *("deploy", "--source", "pva://no:such:channel", "--task", small_task),
        *("--patience", 2, "-o", tmp_path / "out"),
    )
    assert done.exit_code == 3
    assert "check the channel's name" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_ctrl_c_in_a_request_that_hangs_is_answered_at_once(small_task, tmp_path):
    with AsyncroscopySimulator(seconds=600) as server:
        source = f"{server.source}&size=64&timeout=600"
        process = start(small_task, tmp_path / "out", "--source", source)
        deadline = time.monotonic() + 300
        while not server.requests:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        while b"stopping" not in read_available(process):
            assert time.monotonic() - started < 2
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"0 frames received" in stdout


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_ctrl_c_while_deploy_starts_ends_without_a_traceback(small_task, tmp_path):
    process = start(small_task, tmp_path / "out", "--source", "sim:particles")
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (0, 130)  # 0 where the loop was reached already
    assert b"Traceback" not in stderr


def test_a_run_into_the_folder_that_it_watches_does_not_feed_on_itself(samstar, small_task, images):
    base = ("deploy", "--source", f"folder:{images}?watch=0&settle=0.05&poll=0.01")
    done = samstar(*base, "--task", small_task, "-o", images, "--picture-every", 1)
    assert done.exit_code == 0, done.output
    assert "3 frames received, 3 done" in done.stdout
    again = samstar(*base, "--task", small_task, "-o", images, "--resume")
    assert again.exit_code == 0 and "0 frames received" in again.stdout
    assert not list(images.glob("*.labels.labels.*"))


def start(task: Path, out: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "samstar_rl.scripts.deploy", "--task", str(task)]
    command += ["-o", str(out), "--picture-every", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    return process


def read_available(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stderr is not None
    time.sleep(0.02)
    return process.stderr.read() or b""
