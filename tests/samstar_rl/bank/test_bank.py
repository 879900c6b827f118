from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from samstar_rl._io.array_file import ArrayFile, ArrayFileError, write_arrays
from samstar_rl.bank.bank import Bank, BankError, summarise
from samstar_rl.bank.build import build_bank
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.evidence.plausibility import Likeness
from samstar_rl.foreground.sample import Sample
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.sam.engine import Floor, ProposalEngine
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import PromptSettings, Settings

PROMPTS = (PromptSettings(3), PromptSettings(2, crop_n_layers=1))
SETTINGS = Settings(
    points_per_side=3, pred_iou_thresh=0.2, stability_score_thresh=0.1, min_mask_region_area=9
)


def make_frame(index):
    rng = np.random.default_rng(index)
    return Frame(rng.random((40, 50)), pixel_size_nm=0.5, id=f"frame-{index}", time=float(index))


def make_streams():
    labels = np.zeros((40, 50), dtype=np.int32)
    labels[3:9, 4:8] = 1
    return [
        [LabelledFrame(make_frame(0), labels), LabelledFrame(make_frame(1), labels)],
        [make_frame(2)],
    ]


@pytest.fixture(scope="module")
def engine(blob_sam):
    return ProposalEngine(blob_sam, arithmetic="stock")


@pytest.fixture
def folder(engine, tmp_path):
    build_bank(make_streams(), tmp_path / "bank", engine, PROMPTS)
    return tmp_path / "bank"


def test_a_bank_gives_what_the_engine_gives(folder, engine):
    bank = Bank(folder)
    assert len(bank) == 3
    assert bank.streams == (range(0, 2), range(2, 3))
    assert bank.prompts == PROMPTS
    for index in range(3):
        frame = make_frame(index)
        np.testing.assert_array_equal(bank.frame(index).image, frame.image)
        assert (bank.frame(index).id, bank.frame(index).time) == (frame.id, frame.time)
        fresh, kept = engine.propose(frame, PROMPTS[0]), bank.proposals(index, PROMPTS[0])
        for settings in (SETTINGS, SETTINGS.replace(min_contrast=0.01, min_solidity=0.6)):
            expected, found = filter_proposals(fresh, settings), filter_proposals(kept, settings)
            np.testing.assert_array_equal(found.to_labels(), expected.to_labels())
            for name in found.table.columns:
                np.testing.assert_array_equal(found.table[name], expected.table[name])
        np.testing.assert_array_equal(bank.features(index).pooled, engine.embed(frame).pooled)


def likeness_of(bank, index, prompt, offset=1.0, sample=Sample()):  # noqa: B008
    """What is said of every mask, by evidence that nobody has asked before."""
    proposals = bank.proposals(index, prompt)
    ids, settings = np.arange(len(proposals)), Settings(stability_score_offset=offset)
    table = Segmentation(proposals.frame_id, settings, proposals, ids, ids).table
    return FrameEvidence(bank.frame(index), sample).likeness(table)


def test_a_bank_records_how_likely_masks_are_particles(folder, monkeypatch):
    recorded = [likeness_of(Bank(folder), 0, prompt) for prompt in PROMPTS]
    # as if other weights had been fitted since: what is recorded does not count
    monkeypatch.setattr(Likeness, "sha256", "other")
    live = [likeness_of(Bank(folder), 0, prompt) for prompt in PROMPTS]
    assert min(map(len, live)) > 0
    for one, other in zip(recorded, live, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_bank_has_recorded_is_not_judged_again(folder, monkeypatch):
    def forbidden(*_):
        raise AssertionError("the network of plausibility was asked")

    monkeypatch.setattr(Likeness, "of", forbidden)
    bank = Bank(folder)
    for prompt in PROMPTS:
        assert len(likeness_of(bank, 1, prompt, sample=Sample(contrast="dark")))
    with pytest.raises(AssertionError, match="was asked"):
        likeness_of(bank, 1, PROMPTS[0], offset=0.5)


def test_without_the_usual_offset_nothing_is_recorded(engine, tmp_path):
    bank = build_bank([[make_frame(0)]], tmp_path / "bank", engine, PROMPTS[:1], offsets=(0.5,))
    assert bank.proposals(0, PROMPTS[0]).known_likeness is None
    assert len(likeness_of(bank, 0, PROMPTS[0], offset=0.5))


def test_truth_lies_apart(folder):
    bank = Bank(folder)
    assert bank.truth(0).max() == 1
    assert not bank.has_truth
    with pytest.raises(BankError, match="no ground truth"):
        bank.truth(2)
    for file in (folder / "truth").iterdir():
        file.unlink()
    assert bank.proposals(0, PROMPTS[1]) is not None
    with pytest.raises(BankError, match=r"truth.00001\.bin is missing"):
        bank.truth(1)


def test_what_is_open_is_the_same_object(folder):
    bank = Bank(folder, cached_proposals=2)
    first = bank.proposals(0, PROMPTS[0])
    assert bank.proposals(0, PROMPTS[0]) is first
    assert bank.frame(0) is bank.frame(0)
    held = bank.frame(0)
    for index in (1, 2):
        bank.proposals(index, PROMPTS[0])
        bank.frame(index)
    assert bank.proposals(0, PROMPTS[0]) is not first
    assert bank.frame(0) is held  # so that all who hold it share what is known of it


def test_a_second_build_computes_nothing(folder, engine, monkeypatch):
    monkeypatch.setattr(engine, "propose", None)
    states = []
    build_bank(make_streams(), folder, engine, PROMPTS, on_progress=states.append)
    assert [state.reused for state in states] == [True] * 3


def test_an_unfinished_bank_is_refused_and_goes_on(engine, tmp_path):
    def broken():
        yield make_frame(0)
        raise RuntimeError("the microscope fell over")

    folder = tmp_path / "bank"
    with pytest.raises(RuntimeError, match="fell over"):
        build_bank([broken()], folder, engine, PROMPTS)
    with pytest.raises(BankError, match="not finished"):
        Bank(folder)
    states = []
    frames = [make_frame(0), make_frame(1)]
    build_bank([frames], folder, engine, PROMPTS, on_progress=states.append)
    assert [state.reused for state in states] == [True, False]


def test_a_changed_frame_is_computed_anew(folder, engine):
    states = []
    frames = [make_frame(0), Frame(make_frame(1).image * 2, 0.5, "frame-1", 1.0)]
    bank = build_bank([frames], folder, engine, PROMPTS, on_progress=states.append)
    assert [state.reused for state in states] == [True, False]
    assert bank.frame(1).image.max() > 1


BUILD_FOREVER = """
import sys, numpy as np
sys.path.insert(0, {tests!r})
from conftest import build_blob_sam
from samstar_rl.bank.build import build_bank
from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.settings import PromptSettings

def frames():
    for index in range({count}):
        yield Frame(np.random.default_rng(index).random((40, 50)), id=str(index))

engine = ProposalEngine(build_blob_sam(), arithmetic="stock")
build_bank([frames()], {folder!r}, engine, [PromptSettings(6)], on_progress=print)
"""


def test_a_build_survives_a_kill(tmp_path, blob_sam):
    folder = tmp_path / "bank"
    program = BUILD_FOREVER.format(
        tests=str(Path(__file__).parents[1]), folder=str(folder), count=10**6
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("frames/[0-9]*.bin"))) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    states = []
    frames = [
        Frame(np.random.default_rng(index).random((40, 50)), id=str(index)) for index in range(4)
    ]
    engine = ProposalEngine(blob_sam, arithmetic="stock")
    bank = build_bank([frames], folder, engine, [PromptSettings(6)], on_progress=states.append)
    assert [state.reused for state in states[:3]] == [True] * 3
    assert len(bank) == 4
    assert not list(folder.rglob("*.part*"))


def test_another_bank_is_not_overwritten(folder, engine):
    with pytest.raises(BankError, match="prompts is"):
        build_bank([[make_frame(0)]], folder, engine, [PromptSettings(5)])
    with pytest.raises(BankError, match="floor is"):
        build_bank([[make_frame(0)]], folder, engine, PROMPTS, floor=Floor(0.5))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-100] + b"x" * 100, "checksum"),
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: data[:30], "damaged"),
        (lambda data: b"", "damaged"),
        (lambda data: b"PK" + data[2:], "damaged"),
        (lambda data: data.replace(b'"version":"2"', b'"version":"9"'), "version 9"),
        (lambda data: b"SAMSTAR\x01" + data, "earlier version"),
        (lambda data: data.replace(b"frame-1", b"frame-7"), "checksum"),
    ],
)
def test_damaged_files_are_refused_by_name(folder, damage, message):
    path = folder / "frames" / "00001.bin"
    path.write_bytes(damage(path.read_bytes()))
    bank = Bank(folder)
    bank.frame(0)
    with pytest.raises(BankError, match=rf"00001\.bin.*{message}"):
        bank.frame(1)


def test_a_file_of_another_bank_is_refused(folder):
    os.replace(folder / "frames" / "00000.bin", folder / "frames" / "00001.bin")
    with pytest.raises(BankError, match=r"00001\.bin belongs elsewhere"):
        Bank(folder).frame(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged"),
        ('{"format": "zip"}', "'zip'"),
        ('{"format": "samstar-bank", "version": 99}', "version 99"),
        ('{"format": "samstar-bank", "version": 1}', "version 1, .* build the bank anew"),
        ('{"format": "samstar-bank", "version": 2}', "lacks arithmetic"),
        ("[]", "damaged"),
    ],
)
def test_foreign_manifests_are_refused(folder, content, message):
    (folder / "bank.json").write_text(content)
    with pytest.raises(BankError, match=message):
        Bank(folder)


def test_no_bank_and_no_such_entry_are_said_to_be(folder, tmp_path):
    with pytest.raises(BankError, match="no bank at"):
        Bank(tmp_path / "nowhere")
    bank = Bank(folder)
    with pytest.raises(BankError, match="frames 0 to 2, not 3"):
        bank.frame(3)
    with pytest.raises(BankError, match=r"does not hold .*points_per_side=7"):
        bank.proposals(0, PromptSettings(7))


def test_a_summary_names_what_is_in_it(folder):
    summary = summarise(Bank(folder))
    assert summary["frames"] == "3 in 2 streams"
    assert "3 points a side, 9 prompts" in summary["prompt settings"]
    assert json.loads((folder / "bank.json").read_text())["complete"]


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"a": np.arange(7, dtype=np.int16), "empty": np.zeros((0, 3)), "b": np.eye(3)}
    write_arrays(tmp_path / "x.bin", arrays, {"id": "x"}, version=1)
    file = ArrayFile(tmp_path / "x.bin", version=1)
    for name, array in arrays.items():
        np.testing.assert_array_equal(file[name], array)
        assert file[name].dtype == array.dtype
        assert not file[name].flags.writeable
    with pytest.raises(ArrayFileError, match="holds no 'c'"):
        file["c"]
