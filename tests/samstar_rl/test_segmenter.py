"""One path from a frame to its result: what a frame that cannot be treated means, for everybody."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

import samstar_rl
from samstar_rl.errors import SamstarError
from samstar_rl.foreground.estimate import estimate_foreground
from samstar_rl.foreground.network import LazyMaps
from samstar_rl.frames.frame import Frame
from samstar_rl.frames.quality import UnusableFrameError
from samstar_rl.sam.views import closer_zoom
from samstar_rl.scripts._shared.cli import build_app
from samstar_rl.segmenter import Segmenter
from samstar_rl.settings import Settings
from samstar_rl.sources.base import MemorySource
from samstar_rl.streaming.runner import Runner
from samstar_rl.tuning.budget import GazeOptions
from samstar_rl.tuning.tuner import FrameContext
from samstar_rl.tuning.wrapper import TunerWrapper

FEW = Settings(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
NOISE = np.random.default_rng(0).random((64, 64)).astype(np.float32)
SATURATED = np.where(NOISE < 0.95, 1.0, NOISE).astype(np.float32)
BAD = {
    "blank": (np.zeros((64, 64), np.float32), "particles", "the frame is blank"),
    "saturated": (SATURATED, "particles", "of the pixels are saturated"),
    "missing": (np.where(NOISE < 0.7, np.nan, NOISE), "particles", "of the pixels are missing"),
    "unscaled": (NOISE, "overlap", "pixel size"),
}


class Recorder:
    """A tuner that remembers what it saw of the last frame."""

    name, searches = "recorder", False

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def reset(self) -> None:
        self.seen = []

    def propose(self, context: FrameContext) -> Settings:
        self.seen.append(context.last is not None)
        return FEW


class Sink:
    """What a run told."""

    def __init__(self) -> None:
        self.results, self.events = [], []

    def write(self, result) -> None:
        self.results.append(result)

    def report(self, event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def reasons(image: np.ndarray, task: str, folder) -> dict[str, str]:
    """Why a frame has no result: in Python, as a command, in a live run, and directly."""
    frame = Frame(image, id="bad")
    loaded = Segmenter.load(task)
    with pytest.raises(SamstarError) as api:
        samstar_rl.segment(frame, task=task)
    with pytest.raises(SamstarError) as direct:
        loaded(frame)
    tifffile.imwrite(folder / "bad.tif", image)
    command = CliRunner().invoke(
        build_app(only=["segment"]),
        ["segment", str(folder / "bad.tif"), "--task", task, "-o", str(folder / "out")],
    )
    assert command.exit_code == 2 and not (folder / "out" / "bad.json").exists()
    sink = Sink()
    counts = Runner(MemorySource([frame]), loaded, [sink], queue="all").run()
    assert (counts.failed, counts.done) == (1, 0) and not sink.results
    live = next(event.message for event in sink.events if event.kind == "failed")
    failed = json.loads((folder / "out" / "run" / "results.json").read_text())["failed"]
    return {
        "api": str(api.value),
        "direct": str(direct.value),
        "command": next(iter(failed.values())),
        "live": live,
    }


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_frame_means_the_same_everywhere(kind, tmp_path):
    image, task, reason = BAD[kind]
    found = reasons(image, task, tmp_path)
    assert len(set(found.values())) == 1, found
    assert reason in found["direct"] and "'bad'" in found["direct"]


def test_a_bad_frame_leaves_no_trace():
    tuner = Recorder()
    segmenter = Segmenter.load(tuner=tuner)
    results = segmenter.run([Frame(NOISE, id="a"), Frame(np.zeros((64, 64))), Frame(NOISE, id="c")])
    assert next(results).frame.id == "a"
    with pytest.raises(UnusableFrameError):
        next(results)
    assert next(results).frame.id == "c" and next(results, None) is None
    assert tuner.seen == [False, True]


def test_a_stack_goes_on_after_a_bad_plane():
    stack = np.stack([NOISE, np.zeros((64, 64), np.float32), NOISE])
    found = samstar_rl.segment_stack(stack, tuner=FEW)
    assert next(found).frame_id == "image-00000"
    with pytest.raises(UnusableFrameError, match="image-00001"):
        next(found)
    assert next(found).frame_id == "image-00002"


def test_wrong_arguments_are_refused_before_the_first_image():
    with pytest.raises(SamstarError, match="no task is called 'nothing'"):
        samstar_rl.segment_stack([], task="nothing")


def test_settings_by_hand_need_no_sam_and_are_not_remembered(monkeypatch):
    tuner = Recorder()
    segmenter = Segmenter.load().with_tuner(tuner, keep_proposals=True)
    prepared = segmenter.prepare(Frame(NOISE, id="a"))
    chosen = segmenter.segment(prepared)
    monkeypatch.setattr(segmenter.engine, "propose", lambda *_, **__: pytest.fail("SAM was asked"))
    moved = segmenter.segment(prepared, FEW.replace(pred_iou_thresh=0.999))
    assert len(moved.segmentation) < len(chosen.segmentation) and moved.tuner == "by hand"
    again = segmenter.segment(prepared, FEW)
    assert again.score == chosen.score and tuner.seen == [False]


def test_wrappers_learn_what_came_of_their_choice_and_leave_notes():
    class Noting(TunerWrapper):
        def observe(self, tuned) -> None:
            self.note(f"found {len(tuned.evaluation.segmentation)}")

    result = Segmenter.load(tuner=Noting(Recorder()))(Frame(NOISE, id="a"))
    assert f"found {len(result.segmentation)}" in result.notes and result.tuner == "recorder"
    assert result.milliseconds["total"] == pytest.approx(
        result.milliseconds["prepared"] + result.milliseconds["segmented"]
    )


def test_a_model_that_was_loaded_by_name_is_kept():
    assert Segmenter.load("particles").engine is Segmenter.load("morphology").engine


@pytest.mark.parametrize("beside", [True, False])
def test_encoding_beside_the_foreground_changes_nothing(monkeypatch, beside):
    segmenter = Segmenter.load("particles")
    monkeypatch.setattr(type(segmenter.engine), "encodes_beside", beside)
    frame = Frame(NOISE)
    source = segmenter.prepare(frame).source
    evidence = segmenter.objective.physics.gauge(frame)["evidence"]
    alone = Frame(NOISE)
    assert torch.equal(source.embedding.features, segmenter.engine.embed(alone).features)
    expected = estimate_foreground(NOISE, "either", 0.012 * 64, 0.5 * 64)
    np.testing.assert_array_equal(evidence.foreground.mask, expected.mask)
    # what both need is computed once
    assert source.embedding.scene.unit is LazyMaps.of(frame).unit


def test_particles_too_small_for_sam_name_the_zoom_that_would_do():
    rows, columns = np.mgrid[:512, :512]
    image = np.random.default_rng(0).normal(0.25, 0.03, rows.shape)
    for k in range(64):
        y, x = 34 + 62 * (k // 8), 34 + 62 * (k % 8)
        image[np.hypot(rows - y, columns - x) < 6] += 0.5
    # 12 px in 512 are 6 px in SAM's 256
    (note,) = (
        note
        for note in Segmenter.load("particles", gaze=GazeOptions(n_prompts=4))(Frame(image)).notes
        if "--zoom" in note
    )
    assert re.search("about [4-8] px", note) and "--zoom 2 " in note
    near = Segmenter.load("particles", gaze=GazeOptions(n_prompts=4, zoom=2))(Frame(image))
    assert not any("--zoom" in note for note in near.notes)


@pytest.mark.parametrize(
    ("diameter_px", "zoom", "closer"),
    [(30, 1, None), (6, 1, 4), (6, 3, 4), (1, 1, 8), (1, 8, None)],
)
def test_the_closer_zoom_is_the_smallest_that_will_do(diameter_px, zoom, closer):
    assert closer_zoom(diameter_px, (512, 500), zoom, 256) == closer


class Chooser(Recorder):
    """A policy that takes the same look at every frame."""

    name = "chooser"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def propose(self, context: FrameContext) -> Settings:
        return self.settings


def test_a_frame_of_more_bodies_than_the_tasks_prompts_is_asked_at_all_of_them():
    rows, columns = np.mgrid[:512, :512]
    image = (np.hypot(rows % 24 - 12, columns % 24 - 12) < 5).astype(np.float32)  # 441 discs
    image = 0.8 * image + 0.1 + 0.02 * NOISE[rows % 64, columns % 64]
    task = samstar_rl.load_task("particles")
    closest = task.static.replace(zoom=4, n_prompts=20)
    segmenter = Segmenter.load(task, Chooser(closest))
    found = segmenter(Frame(image))
    assert found.settings.n_prompts > 441
    assert found.settings.zoom == 8  # SAM sees a disc 5 px wide at zoom 1, 40 at zoom 8
    assert 400 < len(found.segmentation) < 460
    # what the user fixed stays, and so do settings that nobody chose for the frame
    for fixed in (
        Segmenter.load(task, Chooser(closest), gaze=GazeOptions(n_prompts=20, zoom=4)),
        Segmenter.load(task, closest),
    ):
        chosen = fixed(Frame(image)).settings
        assert (chosen.n_prompts, chosen.zoom) == (20, 4)
    by_hand = segmenter.segment(segmenter.prepare(Frame(image)), closest)
    assert (by_hand.settings.n_prompts, by_hand.settings.zoom) == (20, 4)
