from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from bundles import untrained_bundle
from PIL import Image

from samstar_rl._io.run_folder import RunFolder
from samstar_rl.frames.frame import Frame
from samstar_rl.results.result import WRITERS
from samstar_rl.sam.load import load_sam
from samstar_rl.sources.simulated import SimulatedSource
from samstar_rl.streaming.output_folder import OutputFolder
from samstar_rl.streaming.sinks import FolderSink, read_journal
from samstar_rl.tasks.task import load_task

SOURCE = "sim:particles?size=64&seed=2"


def journal(out: Path) -> list[dict]:
    return list(read_journal(out / "run" / "frames.jsonl"))


def records(out: Path) -> list[dict]:
    """The journal's lines that are of frames."""
    return [line for line in journal(out) if "score" in line]


def test_a_simulated_stream_leaves_four_files_a_frame(samstar, small_task, tmp_path):
    out = tmp_path / "out"
    done = samstar(
        *("deploy", "--source", SOURCE, "--task", small_task, "--frames", 3, "-o", out),
        *("--picture-every", 1),
    )
    assert done.exit_code == 0, done.output
    assert "3 frames received, 3 done, 0 dropped, 0 failed" in done.stdout
    names = [f"particles-2-{number:05d}" for number in range(3)]
    assert [line["frame"] for line in records(out)] == names
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
    frames = [line["frame"] for line in records(tmp_path / "out")]
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
        (["--task", "nothing"], "no task is called 'nothing'"),
        (["--sam", "vit_x"], "unknown SAM 'vit_x'"),
        (["--device", "cuda:999"], "device"),
        (["--device", "gpu"], "no device 'gpu'"),
        (["--format", "xml"], "no format 'xml'"),
    ],
)
def test_bad_input_ends_with_one_clear_message(samstar, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = samstar("deploy", *arguments, "-o", "out")
    assert done.exit_code == 2
    assert message in done.stderr and "Traceback" not in done.output


def test_a_folder_in_use_by_another_run_is_refused(samstar, small_task, tmp_path):
    with OutputFolder(tmp_path / "out"):
        done = samstar("deploy", "--source", SOURCE, "--task", small_task, "-o", tmp_path / "out")
    assert done.exit_code == 2 and "in use by another run" in done.stderr


@pytest.mark.parametrize("function", ["record", "write_results"])
def test_a_disk_that_is_full_from_the_start_has_the_same_code(
    samstar, small_task, tmp_path, monkeypatch, function
):
    def fill_the_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunFolder, function, fill_the_disk)
    base = ("deploy", "--source", SOURCE, "--task", small_task, "--frames", 1)
    done = samstar(*base, "-o", tmp_path / "out")
    assert done.exit_code == 4 and "No space left on device" in done.stderr


def test_a_budget_that_nothing_keeps_is_recorded(samstar, small_task, tmp_path):
    base = ("deploy", "--source", SOURCE, "--task", small_task, "--frames", 3, "--budget-ms", 1)
    done = samstar(*base, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = records(tmp_path / "out")
    assert len(lines) == 3
    assert all(line["cost_limit"] is not None for line in lines)
    assert all(line["stopped_by"] == "budget" for line in lines)


def test_counts_are_written_down_when_the_run_breaks(samstar, small_task, tmp_path, monkeypatch):
    def break_after_one(source) -> Iterator[Frame]:
        yield Frame(np.random.default_rng(0).normal(size=(64, 64)), id="only")
        raise RuntimeError("the cable was pulled")

    monkeypatch.setattr(SimulatedSource, "__iter__", break_after_one)
    out = tmp_path / "out"
    done = samstar("deploy", "--source", SOURCE, "--task", small_task, "-o", out)
    assert done.exit_code == 3 and "the cable was pulled" in done.stderr
    results = json.loads((out / "run" / "results.json").read_text())
    assert results["received"] == results["done"] + results["failed"] == 1
    assert "the cable was pulled" in journal(out)[-1]["message"]


def test_a_full_disk_ends_with_its_own_code_and_loses_nothing(
    samstar, small_task, tmp_path, monkeypatch
):
    """What was written before stays, and the run goes on from there."""
    base = ("deploy", "--source", f"{SOURCE}&length=5", "--task", small_task, "--picture-every", 0)
    out = tmp_path / "out"
    write, n_written = FolderSink.write, []

    def fill_the_disk(sink: FolderSink, result) -> None:
        if len(n_written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        n_written.append(result)
        write(sink, result)

    monkeypatch.setattr(FolderSink, "write", fill_the_disk)
    done = samstar(*base, "-o", out)
    assert done.exit_code == 4, done.output
    assert "No space left on device" in done.stderr and "--resume" in done.stderr
    assert len(records(out)) == 3 and len(list(out.glob("*.json"))) == 3
    monkeypatch.undo()
    done = samstar(*base, "--resume", "-o", out)
    assert done.exit_code == 0, done.output
    frames = [line["frame"] for line in records(out)]
    assert frames == [f"particles-2-{number:05d}" for number in range(5)]


def test_chosen_formats_are_written(samstar, small_task, tmp_path):
    out = tmp_path / "out"
    done = samstar(
        *("deploy", "--source", SOURCE, "--task", small_task, "--frames", 1, "-o", out),
        *("--format", "coco", "--format", "parquet", "--picture-every", 0),
    )
    assert done.exit_code == 0, done.output
    names = {path.name.removeprefix("particles-2-00000") for path in out.iterdir()} - {"run"}
    assert names == {".coco.json", ".particles.parquet", ".json"}


def test_the_dashboard_is_offered_while_the_run_lasts(samstar, small_task, tmp_path):
    pytest.importorskip("bokeh")
    done = samstar(
        *("deploy", "--source", SOURCE, "--task", small_task, "--frames", 1, "--dashboard"),
        *("--port", 0, "-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    assert "dashboard: http://127.0.0.1:" in done.stderr and "token" not in done.stderr


def test_beyond_this_machine_a_token_is_made_and_shown(samstar, small_task, tmp_path, monkeypatch):
    base = ("deploy", "--source", SOURCE, "--task", small_task, "--frames", 1, "--feed", 0)
    monkeypatch.delenv("SAMSTAR_TOKEN", raising=False)
    done = samstar(*base, "--host", "0.0.0.0", "-o", tmp_path / "a")
    assert done.exit_code == 0 and re.search(r"^token: [\w-]{32}$", done.stderr, re.MULTILINE)
    monkeypatch.setenv("SAMSTAR_TOKEN", "the operator's own")
    done = samstar(*base, "--host", "0.0.0.0", "-o", tmp_path / "b")
    assert done.exit_code == 0 and "token" not in done.stderr  # whoever set it knows it


def test_exit_codes_are_documented(samstar):
    done = samstar("deploy", "--help")
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    for words in ("Exit codes: 0", "2 bad input", "3 the source", "4 results", "130 quit"):
        assert words in text
    assert "first Ctrl-C finishes" in text


@pytest.fixture
def bundle(small_task, tmp_path) -> Path:
    """A policy that was made for the small task and the embedded SAM."""
    sam = load_sam("tiny")
    made = untrained_bundle(
        load_task(small_task), sam.prompt_encoder.embed_dim, sam_sha256=sam.samstar_sha256
    )
    return made.save(tmp_path / "untrained")


def test_a_policy_runs_under_its_guard(samstar, small_task, bundle, tmp_path):
    done = samstar(
        *("deploy", "--source", SOURCE, "--task", small_task, "--policy", bundle),
        *("--frames", 2, "--picture-every", 0, "-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    lines = records(tmp_path / "out")
    compared, other = lines
    assert compared["tuner"] in ("untrained", "static")  # the better of both on the first frame
    assert other["tuner"] == "untrained" or other["notes"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated policy", "is damaged"),
        ("truncated sheet", "is damaged"),
        ("another task", "does not fit the task"),
        ("another SAM", "was trained with the SAM"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused_before_anything_is_written(
    samstar, small_task, bundle, tmp_path, damage, message
):
    task: object = small_task
    if damage.startswith("truncated"):
        file = bundle / ("policy.onnx" if damage.endswith("policy") else "bundle.json")
        file.write_bytes(file.read_bytes()[:-50])
    elif damage == "another task":
        task = "overlap"
    else:
        sheet = json.loads((bundle / "bundle.json").read_text())
        sheet["sam"]["sha256"] = "6" * 64
        (bundle / "bundle.json").write_text(json.dumps(sheet))
    done = samstar(
        *("deploy", "--source", SOURCE, "--task", task, "--policy", bundle, "-o", tmp_path / "out")
    )
    assert done.exit_code == 2 and message in done.stderr
    assert not (tmp_path / "out").exists()


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
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_the_second_interrupt_quits_at_once_and_leaves_whole_files(small_task, tmp_path):
    """A search of many evaluations keeps the frame in work from ending by itself."""
    out = tmp_path / "out"
    search = ("--tuner", "genetic", "--evaluations", "1000000")
    process = start(small_task, out, "--source", SOURCE, *search)
    deadline = time.monotonic() + 300
    while not (out / "run" / "frames.jsonl").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(3)  # into the first frame
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None  # it finishes the frame in work
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Ctrl-C again quits at once" in stderr
    assert list(out.glob("*.json")) == [] and journal(out) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX's")
def test_killed_at_random_moments_and_resumed_nothing_is_lost_or_done_twice(small_task, tmp_path):
    """Each process is killed while it writes; the last one may finish."""
    out, n_frames, rng = tmp_path / "out", 30, np.random.default_rng(0)
    source = f"{SOURCE}&length={n_frames}"
    for _ in range(2):  # twenty kills of what deploy runs, SAM left out, are in test_kills.py
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
    frames = [line["frame"] for line in records(out)]
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


def test_particles_at_the_border_are_left_out(samstar, small_task, tmp_path):
    rows, columns = np.mgrid[:96, :96]
    image = np.random.default_rng(0).normal(60, 3, (96, 96))
    for y, x in ((6, 36), (36, 90), (60, 60), (62, 14)):
        image[(rows - y) ** 2 + (columns - x) ** 2 < 90] = 185
    tifffile.imwrite(tmp_path / "a.tif", image.clip(0, 255).astype(np.uint8))
    lines = {}
    for name, options in (("all", ()), ("inside", ("--exclude-border",))):
        base = ("deploy", "--source", f"file:{tmp_path / 'a.tif'}", "--task", small_task)
        done = samstar(*base, *options, "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
        (lines[name],) = records(tmp_path / name)
    assert lines["all"]["n_left_out_at_border"] == 0 < lines["inside"]["n_left_out_at_border"]
    found = lines["inside"]["n_particles"] + lines["inside"]["n_left_out_at_border"]
    assert found == lines["all"]["n_particles"]
