from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from samstar_rl.frames.frame import Frame
from samstar_rl.sources import folder as folder_module
from samstar_rl.sources.base import Fault, MemorySource, SourceError
from samstar_rl.sources.file import FileSource
from samstar_rl.sources.folder import FolderSource
from samstar_rl.sources.registry import open_source
from samstar_rl.sources.simulated import SimulatedSource

IMAGE = np.random.default_rng(0).integers(0, 255, (30, 40)).astype(np.uint8)


def write_png(path: Path) -> bytes:
    Image.fromarray(IMAGE).save(path)
    return path.read_bytes()


def folder_source(path: Path, **options: object) -> FolderSource:
    quick = {"settle_s": 0.05, "poll_s": 0.01, "watch": False} | options
    return FolderSource(path, **quick)  # type: ignore[arg-type]


class Collected:
    """Frames and faults of a source that is iterated in another thread."""

    def __init__(self, source: FolderSource) -> None:
        self.ids: list[str] = []
        self.faults: list[Fault] = []
        self._source = source
        source.on_fault = self.faults.append
        self._thread = threading.Thread(target=self._iterate)

    def _iterate(self) -> None:
        for frame in self._source:
            self.ids.append(frame.id)

    def __enter__(self) -> Collected:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._source.stop()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def wait_for(self, n_ids: int = 0, n_faults: int = 0, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while len(self.ids) < n_ids or len(self.faults) < n_faults:
            assert time.monotonic() < deadline, (self.ids, self.faults)
            time.sleep(0.01)


def test_a_folder_is_read_in_natural_order_and_ends_when_not_watched(tmp_path):
    for name in ("f10.png", "f9.png"):
        write_png(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    with folder_source(tmp_path) as source:
        assert [frame.id for frame in source] == ["f9", "f10"]


def test_files_of_one_stem_get_different_ids(tmp_path):
    write_png(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.stack([IMAGE, IMAGE]), photometric="minisblack")
    with folder_source(tmp_path) as source:
        assert [frame.id for frame in source] == ["a", "a.tif-00000", "a.tif-00001"]


def test_new_files_are_noticed_once_each(tmp_path):
    write_png(tmp_path / "a.png")
    with Collected(folder_source(tmp_path, watch=True)) as collected:
        collected.wait_for(1)
        write_png(tmp_path / "b.png")
        collected.wait_for(2)
        os.utime(tmp_path / "a.png")  # touched, not new
        write_png(tmp_path / ".c.part.png")
        (tmp_path / ".c.part.png").replace(tmp_path / "c.png")  # renamed into place
        collected.wait_for(3)
        time.sleep(0.2)
    assert collected.ids == ["a", "b", "c"]
    assert not collected.faults


def test_a_file_that_grows_is_left_alone_until_it_is_whole(tmp_path):
    whole = write_png(tmp_path / "whole.bin.png")
    (tmp_path / "whole.bin.png").unlink()
    with Collected(folder_source(tmp_path, watch=True, settle_s=0.3)) as collected:
        with (tmp_path / "slow.png").open("wb") as file:
            for chunk in np.array_split(np.frombuffer(whole, np.uint8), 10):
                file.write(chunk.tobytes())
                file.flush()
                time.sleep(0.05)
                assert not collected.ids
        collected.wait_for(1)
    assert collected.ids == ["slow"] and not collected.faults


def test_an_unreadable_file_is_reported_and_read_when_it_is_mended(tmp_path):
    whole = write_png(tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(whole[:50])
    with Collected(folder_source(tmp_path, watch=True, attempts=2)) as collected:
        collected.wait_for(1, 1)
        assert collected.ids == ["b"]
        assert collected.faults[0].name == "a.png" and "damaged" in collected.faults[0].reason
        (tmp_path / "a.png").write_bytes(whole)
        collected.wait_for(2)
    assert collected.ids == ["b", "a"] and len(collected.faults) == 1


def test_a_stack_cut_short_gives_its_good_planes_once(tmp_path):
    planes = np.stack([IMAGE] * 5)
    tifffile.imwrite(tmp_path / "s.tif", planes, compression="zlib", photometric="minisblack")
    whole = (tmp_path / "s.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "s.tif") as tiff:
        cut = tiff.pages[3].dataoffsets[0] + 5
    (tmp_path / "s.tif").write_bytes(whole[:cut])
    with Collected(folder_source(tmp_path, watch=True, attempts=2)) as collected:
        collected.wait_for(0, 1)
        before = list(collected.ids)
        (tmp_path / "s.tif").write_bytes(whole)
        collected.wait_for(5)
    assert before == collected.ids[: len(before)]
    assert collected.ids == [f"s-{index:05d}" for index in range(5)]


def test_a_folder_that_vanishes_for_a_moment_does_not_end_the_watch(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    write_png(folder / "a.png")
    with Collected(folder_source(folder, watch=True)) as collected:
        collected.wait_for(1)
        shutil.move(folder, tmp_path / "away")
        time.sleep(0.1)
        write_png(tmp_path / "away" / "b.png")
        shutil.move(tmp_path / "away", folder)
        collected.wait_for(2)
    assert collected.ids == ["a", "b"]
    assert [fault.trouble for fault in collected.faults] == [True, False]
    assert "is away" in collected.faults[0].reason and "is back" in collected.faults[1].reason


def test_a_file_that_is_overwritten_is_a_new_frame_each_time(tmp_path):
    def draw(number: int) -> None:
        Image.fromarray(np.roll(IMAGE, number, axis=1)).save(tmp_path / ".live.part.png")
        (tmp_path / ".live.part.png").replace(tmp_path / "live.png")

    with Collected(folder_source(tmp_path, watch=True)) as collected:
        for number in range(4):
            draw(number)
            collected.wait_for(number + 1)
        os.utime(tmp_path / "live.png", (1, 1))  # touched, not new
        time.sleep(0.3)
    assert collected.ids == ["live", "live+2", "live+3", "live+4"]


def test_a_stack_that_grows_gives_its_new_planes_only(tmp_path):
    planes = np.stack([np.roll(IMAGE, k) for k in range(4)])

    def write(n: int) -> None:
        tifffile.imwrite(tmp_path / ".s.part.tif", planes[:n], photometric="minisblack")
        (tmp_path / ".s.part.tif").replace(tmp_path / "s.tif")

    write(2)
    with Collected(folder_source(tmp_path, watch=True)) as collected:
        collected.wait_for(2)
        write(4)
        collected.wait_for(4)
    assert collected.ids == [f"s-{index:05d}" for index in range(4)]


def test_a_preallocated_file_is_read_when_it_has_content(tmp_path):
    tifffile.imwrite(tmp_path / "p.tif", np.zeros_like(IMAGE))
    source = folder_source(tmp_path, watch=True, settle_s=0.3, attempts=3)
    with Collected(source) as collected:
        time.sleep(0.5)
        tifffile.imwrite(tmp_path / "p.tif", IMAGE)
        collected.wait_for(1)
    assert collected.ids == ["p"] and not collected.faults


def test_a_file_that_stays_blank_is_passed_on_and_its_content_later_has_the_name(tmp_path):
    tifffile.imwrite(tmp_path / "p.tif", np.zeros_like(IMAGE))
    with Collected(folder_source(tmp_path, watch=True, attempts=2)) as collected:
        collected.wait_for(1)
        tifffile.imwrite(tmp_path / "p.tif", IMAGE)
        collected.wait_for(2)
    assert collected.ids == ["p", "p"]


def test_a_change_while_a_file_is_read_discards_what_was_read(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png")
    read, changed = folder_module.iterate_file, []

    def change_meanwhile(path, **options):
        for frame in read(path, **options):
            if not changed:
                changed.append(True)
                Image.fromarray(255 - IMAGE).save(path)
            yield frame

    monkeypatch.setattr(folder_module, "iterate_file", change_meanwhile)
    source = folder_source(tmp_path, settle_s=0.1)
    with source:
        (frame,) = source
    np.testing.assert_array_equal(frame.image, 255 - IMAGE)


def test_no_two_files_share_an_id(tmp_path):
    stack = np.stack([IMAGE, IMAGE + 1])
    tifffile.imwrite(tmp_path / "scan.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "scan-00000.tif", IMAGE + 2)
    write_png(tmp_path / "SCAN.png")
    with folder_source(tmp_path) as source:
        frames = list(source)
    assert len({frame.id.casefold() for frame in frames}) == len(frames) == 4
    assert sorted({frame.file for frame in frames}) == ["SCAN.png", "scan-00000.tif", "scan.tif"]


def test_a_resumed_run_goes_by_the_files_that_were_treated(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", IMAGE)
    with folder_source(tmp_path) as source:
        owners = {frame.id: frame.file for frame in source}
    assert owners == {"s": "s.tif"}
    write_png(tmp_path / "s.png")  # which comes first in the folder
    with folder_source(tmp_path) as source:
        source.skip, source.owners = owners.__contains__, owners
        assert [(frame.id, frame.file) for frame in source] == [("s.png", "s.png")]


def test_results_are_no_input(tmp_path):
    for name in ("a.png", "a.labels.png"):
        write_png(tmp_path / name)
    with folder_source(tmp_path) as source:
        source.is_result = lambda path: ".labels." in path.name
        assert [frame.id for frame in source] == ["a"]


def test_a_file_that_stays_damaged_costs_a_frame_at_the_end(tmp_path):
    (tmp_path / "a.png").write_bytes(b"half a file")
    with Collected(folder_source(tmp_path, watch=True, attempts=1)) as collected:
        collected.wait_for(0, 1)
        assert not collected.faults[0].cost_a_frame
    assert [fault.cost_a_frame for fault in collected.faults] == [False, True]


def test_what_was_treated_before_is_not_opened_again(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name)
    (tmp_path / "a.png").write_bytes(b"damaged since")
    with folder_source(tmp_path) as source:
        source.skip = {"a"}.__contains__
        assert [frame.id for frame in source] == ["b"]


@pytest.mark.parametrize("watch", [False, True])
def test_stop_ends_the_wait_at_once(tmp_path, watch):
    source = folder_source(tmp_path, watch=watch, poll_s=60.0)
    threading.Timer(0.1, source.stop).start()
    started = time.monotonic()
    with source:
        assert list(source) == []
    assert time.monotonic() - started < 5


def test_a_file_source_reads_a_stack_and_reports_its_damage(tmp_path):
    planes = np.stack([IMAGE] * 3)
    tifffile.imwrite(tmp_path / "s.tif", planes, photometric="minisblack")
    with open_source(str(tmp_path / "s.tif")) as source:
        assert [frame.id for frame in source] == ["s-00000", "s-00001", "s-00002"]
    (tmp_path / "s.tif").write_bytes((tmp_path / "s.tif").read_bytes()[:-300])
    faults: list[Fault] = []
    with FileSource(tmp_path / "s.tif") as source:
        source.on_fault = faults.append
        list(source)
    assert len(faults) == 1


def test_the_memory_source_passes_frames_and_faults():
    frames = [Frame(IMAGE.astype(np.float32), id="a"), Fault("b", "lost"), Frame(IMAGE, id="c")]
    faults: list[Fault] = []
    with MemorySource(frames) as source:
        source.on_fault = faults.append
        source.skip = {"c"}.__contains__
        assert [frame.id for frame in source] == ["a"]
    assert faults == [Fault("b", "lost")]


def test_a_simulated_source_is_seeded_and_skips_without_drawing():
    name = "sim:particles?seed=3&size=64&length=4&drift=0.5"
    with open_source(name) as source:
        frames = list(source)
    assert not source.live and len(frames) == 4
    with open_source(name) as source:
        source.skip = {frame.id for frame in frames[:3]}.__contains__
        (last,) = source
    np.testing.assert_array_equal(last.image, frames[3].image)


def test_a_simulated_source_with_a_rate_is_live_and_keeps_it():
    source = SimulatedSource("particles", size=64, length=5, fps=20.0)
    list(SimulatedSource("particles", size=64, length=1))  # imports and sample are drawn
    started = time.monotonic()
    with source:
        assert len(list(source)) == 5
    assert source.live
    assert 0.2 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "expected sim:"),
        ("ftp:somewhere", "unknown source"),
        ("sim:unknown", "preset must be one of"),
        ("sim:particles?sed=1", "no option sed; it has seed"),
        ("sim:particles?seed=x", "option seed of a sim"),
        ("sim:particles?drift=-1", "0 or above"),
        ("sim:particles?drift=nan", "0 or above"),
        ("sim:particles?drift", "option=value"),
        ("sim:particles?size=3", "at least 64"),
        ("folder:missing", "no folder missing"),
        ("folder:.?watch=maybe", "expected 1 or 0"),
        ("file:missing.tif", "no file missing.tif"),
    ],
)
def test_a_wrong_name_says_what_is_right(name, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        open_source(name)


def test_options_of_a_folder(tmp_path):
    source = open_source(f"folder:{tmp_path}?watch=0&settle=0.01&poll=2&attempts=5")
    assert isinstance(source, FolderSource)
    assert (source.watch, source.settle_s, source.poll_s, source.attempts) == (False, 0.01, 2, 5)
    assert isinstance(open_source(str(tmp_path)), FolderSource)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
