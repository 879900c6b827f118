from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samstar_rl._io import atomic
from samstar_rl.results.registry import DEFAULT_FORMATS, load_formats, write_formats
from samstar_rl.results.result import RECORD_SUFFIX, WRITERS, safe_name
from samstar_rl.sources.base import MemorySource
from samstar_rl.streaming.events import Event
from samstar_rl.streaming.output_folder import OutputFolder, OutputFolderError
from samstar_rl.streaming.runner import Runner, WriteError
from samstar_rl.streaming.sinks import (
    FolderSink,
    JournalSink,
    Sink,
    TensorBoardSink,
    cut_broken_line,
    read_journal,
)


def test_a_second_run_on_the_same_folder_is_refused(tmp_path):
    with OutputFolder(tmp_path), pytest.raises(OutputFolderError, match="in use"):
        OutputFolder(tmp_path, resume=True).__enter__()
    with OutputFolder(tmp_path, resume=True):
        pass  # the lock is free again


@pytest.mark.slow
def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path):
    code = (
        "import sys, os; from samstar_rl.streaming.output_folder import OutputFolder\n"
        "OutputFolder(sys.argv[1]).__enter__(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert done.returncode != 0
    with OutputFolder(tmp_path, resume=True):
        pass


def test_an_earlier_run_is_not_overwritten_by_chance(tmp_path, result):
    write_formats(tmp_path, result(1), load_formats(DEFAULT_FORMATS))
    with pytest.raises(OutputFolderError, match="--resume"):
        OutputFolder(tmp_path).__enter__()


def test_a_resumed_run_knows_what_is_done_and_clears_what_is_half_done(tmp_path, result):
    with OutputFolder(tmp_path) as folder:
        journal = JournalSink(folder.journal)
        journal.write(result(1))
        journal.close()
    for number in (1, 2):
        write_formats(tmp_path, result(number), load_formats(DEFAULT_FORMATS))
    with folder.journal.open("ab") as file:
        file.write(b'{"frame": "f00002", "sco')  # a kill in the middle of a line
    write_formats(tmp_path, result(3), load_formats(DEFAULT_FORMATS))
    (tmp_path / "f00003.json").unlink()  # a kill before the record
    (tmp_path / "f00005.labels.tif").write_bytes(b"")  # a loss of power
    theirs = {"mine.labels.tif", "mine.json", ".mine.part1.rar"}
    for name in theirs:
        (tmp_path / name).write_bytes(b"annotated by hand")
    atomic.temporary_path(tmp_path / "f00004.json").write_bytes(b"half")
    (tmp_path / "notes of the user.txt").write_text("stay")

    with OutputFolder(tmp_path, resume=True) as folder:
        assert folder.n_done == 2
        assert folder.is_done("f00001") and not folder.is_done("f00003")
        assert [line["frame"] for line in read_journal(folder.journal)] == ["f00001", "f00002"]
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    whole = {f"f0000{n}{suffix}" for n in (1, 2) for suffix in WRITERS}
    assert left == whole | theirs | {"notes of the user.txt"}


@pytest.mark.parametrize("size", [0, 10, 4096, 5000, 9000])
def test_only_the_broken_line_is_cut_off(tmp_path, size):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"x" * size)
    cut_broken_line(path)
    assert path.read_bytes() == b'{"a": 1}\n'


def test_a_format_whose_name_ends_in_json_is_no_record(tmp_path, result):
    pytest.importorskip("pycocotools")
    with OutputFolder(tmp_path):
        FolderSink(tmp_path, picture_every=0, formats=["coco"]).write(result(1))
    # its record is missing: a kill came between
    (tmp_path / "f00002.coco.json").write_bytes((tmp_path / "f00001.coco.json").read_bytes())
    with OutputFolder(tmp_path, resume=True) as folder:
        assert folder.n_done == 1 and folder.is_done("f00001")
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left == {"f00001.coco.json", "f00001.json"}


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="coco"):
        FolderSink(tmp_path, formats=["svg"])


def test_a_journal_of_one_broken_line_becomes_empty(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a"')
    cut_broken_line(tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == b""
    assert list(read_journal(tmp_path / "missing.jsonl")) == []


def test_records_name_the_frame_under_any_id(tmp_path, result):
    from dataclasses import replace

    evil = result(1)
    evil = replace(evil, frame=replace(evil.frame, id="../../a:b\\c\n"))
    write_formats(tmp_path, evil, load_formats(DEFAULT_FORMATS))
    (record,) = tmp_path.glob(f"*{RECORD_SUFFIX}")
    assert record.parent == tmp_path
    assert json.loads(record.read_text())["frame"] == "../../a:b\\c\n"
    with OutputFolder(tmp_path, resume=True) as folder:
        assert folder.is_done("../../a:b\\c\n")


def test_names_stay_apart_and_within_what_file_systems_take():
    long = "x" * 200
    ids = [
        "a_b",
        "a:b",
        "a/b",
        "a#b",
        f"{long}1",
        f"{long}2",
        "\u7c92" * 90,
        "NUL",
        "con.1",
        "",
        "a ",
    ]
    names = [safe_name(frame_id) for frame_id in ids]
    assert len({name.casefold() for name in names}) == len(ids)
    assert names[0] == "a_b" and safe_name("2026-11-25 frame (3)") == "2026-11-25 frame (3)"
    assert all(len(name.encode()) < 200 for name in names)
    assert not any(name.casefold() in ("nul", "con.1") for name in names)


def test_a_line_that_the_disk_takes_in_part_is_taken_back(tmp_path, result):
    class Full(io.FileIO):
        def write(self, data) -> int:
            return super().write(bytes(data)[:7])

    journal = JournalSink(tmp_path / "a.jsonl")
    journal.report(Event("run", "begins"))
    journal._file = Full(tmp_path / "a.jsonl", "ab")
    with pytest.raises(OSError, match="No space left"):
        journal.write(result(1))
    assert [line["message"] for line in read_journal(tmp_path / "a.jsonl")] == ["begins"]
    assert (tmp_path / "a.jsonl").read_bytes().endswith(b"\n")


def test_what_a_loss_of_power_leaves_is_done_again(tmp_path, result):
    with OutputFolder(tmp_path) as folder:
        write_formats(tmp_path, result(1), load_formats(DEFAULT_FORMATS))
        write_formats(tmp_path, result(2), load_formats(DEFAULT_FORMATS))
        (tmp_path / "f00002.json").write_bytes(b"")
        folder.journal.write_bytes(bytes(50) + b"\n")
    with OutputFolder(tmp_path, resume=True) as folder:
        assert folder.is_done("f00001") and not folder.is_done("f00002")
        assert [line["frame"] for line in read_journal(folder.journal)] == ["f00001"]


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A real file system of 400 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root on Linux only")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full_ends_the_run_and_loses_nothing(small_disk, frames, segmenter):
    def sinks(folder: OutputFolder) -> list[Sink]:
        tensorboard = TensorBoardSink(folder.run.tensorboard)
        files = FolderSink(folder.path, picture_every=1)
        return [files, JournalSink(folder.journal), tensorboard]

    many = frames(60)
    with OutputFolder(small_disk) as folder:
        runner = Runner(MemorySource(many), segmenter(), sinks(folder), queue="all")
        with pytest.raises(WriteError, match="No space left"):
            runner.run()
    counts = runner.counters.counts
    assert 0 < counts.done < len(many) and counts.in_flight == 0
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    with OutputFolder(small_disk, resume=True) as folder:
        assert counts.done <= folder.n_done <= counts.done + 1
        source = MemorySource(many)
        source.skip = folder.is_done
        Runner(source, segmenter(), sinks(folder), queue="all").run()
        lines = [line["frame"] for line in read_journal(folder.journal) if "score" in line]
    assert sorted(lines) == [frame.id for frame in many]
    for frame in many:
        assert all((small_disk / f"{frame.id}{suffix}").stat().st_size for suffix in WRITERS)
