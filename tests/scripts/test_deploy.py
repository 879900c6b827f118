from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samstar_rl.results import WRITERS
from samstar_rl.streaming.sinks import read_journal

SOURCE = "sim:particles?size=64&seed=2"


def journal(out: Path) -> list[dict]:
    return list(read_journal(out / "run" / "frames.jsonl"))


def test_a_simulated_stream_leaves_four_files_a_frame(samstar, small_task, tmp_path):
    out = tmp_path / "out"
    done = samstar("deploy", "--source", SOURCE, "--task", small_task, "--frames", 3, "-o", out)
    assert done.exit_code == 0, done.output
    assert "3 frames received, 3 done, 0 dropped, 0 failed" in done.stdout
    names = [f"particles-2-{number:05d}" for number in range(3)]
    assert [line["frame"] for line in journal(out)] == names
    for name in names:
        for suffix in WRITERS:
            assert (out / f"{name}{suffix}").stat().st_size > 0
    results = json.loads((out / "run" / "results.json").read_text())
    assert results["done"] == 3 and results["latency_ms"]["p50"] > 0
    assert list((out / "run" / "tensorboard").iterdir())


def test_a_run_is_continued_only_when_asked_to(samstar, small_task, tmp_path):
    base = ("deploy", "--source", f"{SOURCE}&length=4", "--task", small_task)
    out = ("-o", tmp_path / "out")
    assert samstar(*base, "--frames", 2, *out).exit_code == 0
    refused = samstar(*base, *out)
    assert refused.exit_code == 2 and "--resume" in refused.stderr
    done = samstar(*base, "--resume", *out)
    assert done.exit_code == 0 and "2 frames received, 2 done" in done.stdout
    frames = [line["frame"] for line in journal(tmp_path / "out")]
    assert frames == [f"particles-2-{number:05d}" for number in range(4)]


def test_bad_frames_of_a_folder_are_reported_and_not_segmented(
    samstar, small_task, images, tmp_path
):
    (images / "c.png").write_bytes(b"half a file")
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(images / "d.png")
    done = samstar(
        *("deploy", "--source", f"folder:{images}?watch=0&settle=0.05&poll=0.01"),
        *("--task", small_task, "-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    assert "5 frames received, 3 done, 0 dropped, 2 failed" in done.stdout
    failed = {
        line["frame"]: line["message"] for line in journal(tmp_path / "out") if "event" in line
    }
    assert "damaged" in failed["c.png"] and "blank" in failed["d"]
    assert not (tmp_path / "out" / "d.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "sim:nothing"], "preset must be one of"),
        (["--source", "folder:missing"], "no folder missing"),
        (["--source", "what:ever"], "unknown source"),
        (["--tuner", "nothing"], "no tuner 'nothing'"),
        (["--policy", "missing.bundle"], "missing.bundle"),
        (["--tuner", "genetic", "--budget-ms", "100"], "limit its evaluations"),
    ],
)
def test_bad_input_ends_with_one_clear_message(samstar, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = samstar("deploy", *arguments, "-o", "out")
    assert done.exit_code == 2
    assert message in done.stderr and "Traceback" not in done.output


def start(task: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "samstar_rl.scripts.deploy", "--task", str(task)]
    command += ["-o", str(out), "--picture-every", "0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_records(out: Path, n: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while len(list(out.glob("*.json"))) < n:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_the_first_interrupt_finishes_the_frame_and_ends_well(small_task, tmp_path):
    out = tmp_path / "out"
    process = start(small_task, out, "--source", SOURCE)
    wait_for_records(out, 2, process)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    results = json.loads((out / "run" / "results.json").read_text())
    assert results["received"] == results["done"] + results["dropped"] + results["failed"]
    assert f"{results['done']} done" in stdout
    assert len(list(out.glob("*.json"))) == results["done"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX's")
def test_killed_at_random_moments_and_resumed_nothing_is_lost_or_done_twice(small_task, tmp_path):
    """Each process is killed while it writes; the last one may finish."""
    out, n_frames, rng = tmp_path / "out", 60, np.random.default_rng(0)
    source = f"{SOURCE}&length={n_frames}"
    for _ in range(4):
        before = len(list(out.glob("*.json")))
        process = start(small_task, out, "--source", source, "--resume")
        wait_for_records(out, min(before + 2, n_frames), process)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        for record in out.glob("*.json"):
            json.loads(record.read_text())
            for suffix in (".labels.tif", ".particles.csv"):
                assert record.with_name(record.stem + suffix).stat().st_size > 0
    process = start(small_task, out, "--source", source, "--resume")
    process.communicate(timeout=600)
    assert process.returncode == 0
    frames = [line["frame"] for line in journal(out) if "score" in line]
    assert sorted(frames) == [f"particles-2-{number:05d}" for number in range(n_frames)]
    assert not list(out.glob(".*.part*"))


@pytest.mark.slow
def test_a_control_script_reads_the_feed(small_task, tmp_path):
    process = start(small_task, tmp_path / "out", "--source", SOURCE, "--feed", "0")
    address = ""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("feed: "):
            address = line.split()[1].removesuffix("/frames")
            break
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    with urllib.request.urlopen(f"{address}/frames?backlog=1", timeout=120) as stream:
        records = [json.loads(stream.readline()) for _ in range(2)]
    assert records[0]["frame"] == "particles-2-00000" and "area" in records[0]["particles"]
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        assert b'samstar_frames_total{fate="done"}' in answer.read()
    process.send_signal(signal.SIGINT)
    process.wait(120)
