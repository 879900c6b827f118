from __future__ import annotations

import numpy as np
import pytest
import tifffile
from drawn_particles import draw, grid
from PIL import Image

from samstar_rl.agents.studies.task_check import contributions
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards import PhysicsReward
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.tasks.from_frame import EstimationError, task_from_image, task_from_labels
from samstar_rl.tasks.task import load_task

SHAPE = (160, 200)


@pytest.fixture
def annotated(tmp_path):
    """A picture of 20 bright discs 20 px wide, and its labels."""
    frame, masks = draw(SHAPE, grid(SHAPE, 40, 20))
    labels = np.max([(k + 1) * mask for k, mask in enumerate(masks)], axis=0)
    grey = np.clip(255 * frame.image, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "image.png")
    tifffile.imwrite(tmp_path / "labels.tif", labels.astype(np.uint16))
    return tmp_path


def test_a_task_from_labels_says_what_is_there(samstar, annotated):
    done = samstar(
        *("task", "new", "--from-labels", annotated / "image.png", annotated / "labels.tif"),
        *("--pixel-size", 2, "-o", annotated / "mine.toml"),
    )
    assert done.exit_code == 0, done.output
    task = load_task(annotated / "mine.toml")
    assert (task.length_unit, task.sample.contrast) == ("nm", "bright")
    assert task.terms["size"].median_diameter == pytest.approx(40, rel=0.03)
    low, high = task.terms["completeness"].number_density
    assert low < 20 / (4 * SHAPE[0] * SHAPE[1]) < high
    assert task.terms["shape"].circularity[0] < 0.95 and task.terms["shape"].solidity[1] == 1.0
    low = task.settings["min_diameter"].low
    assert low < task.static.min_diameter < 40 < task.settings["max_diameter"].low


def test_a_task_proposed_from_an_image_comes_near(samstar, annotated):
    out = annotated / "guess.toml"
    done = samstar("task", "new", "--from-image", annotated / "image.png", "-o", out)
    assert done.exit_code == 0, done.output
    task = load_task(out)
    assert task.length_unit == "frame" and "look at every number" in task.description
    assert task.terms["size"].median_diameter == pytest.approx(20 / 160, rel=0.1)
    again = samstar("task", "new", "--from-image", annotated / "image.png", "-o", out)
    assert again.exit_code == 2 and "--overwrite" in again.stderr


def test_the_truth_scores_high_under_a_task_made_from_it():
    frame, masks = draw(SHAPE, grid(SHAPE, 40, 20))
    labels = np.max([(k + 1) * mask for k, mask in enumerate(masks)], axis=0)
    task = task_from_labels("mine", frame, labels)
    assert PhysicsReward(task).score(Segmentation.from_labels(labels, frame), frame).total > 0.85


def test_an_aggregate_among_the_labels_is_wanted_too():
    circles = [*grid((160, 200), 40, 10)[:12], (100, 120, 70)]
    frame, masks = draw(SHAPE, circles)
    labels = np.max([(k + 1) * mask for k, mask in enumerate(masks)], axis=0)
    task = task_from_labels("mine", frame, labels)
    assert task.sample.sizes == "mixed" and task.static.max_diameter > 70
    assert task.terms["size"].median_diameter == pytest.approx(10, rel=0.1)


def test_a_task_from_a_binary_mask_is_that_from_labels(samstar, annotated):
    labels = tifffile.imread(annotated / "labels.tif")
    mask = np.where(labels > 0, 255, 0).astype(np.uint8)
    Image.fromarray(mask).save(annotated / "mask.png")
    tasks = []
    for name in ("labels.tif", "mask.png"):
        out = annotated / f"{name[:4]}.toml"
        done = samstar(
            *("task", "new", "--from-labels", annotated / "image.png", annotated / name),
            *("--pixel-size", 2, "-o", out),
        )
        assert done.exit_code == 0, done.output
        tasks.append(load_task(out))
    assert tasks[0].terms == tasks[1].terms and tasks[0].settings == tasks[1].settings


def test_check_draws_what_the_score_sees(samstar, annotated):
    out = annotated / "seen.png"
    done = samstar(
        *("task", "check", "particles", annotated / "image.png"),
        *("--labels", annotated / "labels.tif", "-o", out),
    )
    assert done.exit_code == 0, done.output
    assert "20 masks" in done.stdout and "score" in done.stdout
    with Image.open(out) as picture:
        assert picture.size[0] > 1000 and len(picture.convert("RGB").getcolors(1 << 20)) > 100


def test_a_mask_that_is_wrong_contributes_less_than_nothing():
    frame, masks = draw(SHAPE, grid(SHAPE, 40, 20))
    wrong = np.zeros(SHAPE, bool)
    wrong[0:39, 0:200] = True
    losses = contributions(
        load_task("particles"), frame, Segmentation.from_masks([*masks, wrong], frame)
    )
    assert losses[-1] < 0 < losses[:-1].max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "-o", "x.toml"], "either --from-labels IMAGE LABELS or --from-image"),
        (["new", "--from-image", "image.png", "-o", "x.txt"], "must end in .toml"),
        (["new", "--from-labels", "image.png", "missing.tif", "-o", "x.toml"], "missing.tif"),
        (["new", "--from-image", "blank.npy", "-o", "x.toml"], "no particle stands out"),
        (["new", "--from-labels", "image.png", "blank.npy", "-o", "x.toml"], "shape"),
        (["check", "nothing", "image.png"], "no task is called 'nothing'"),
        (["check", "overlap", "image.png"], "pixel size"),
        (["check", "particles", "image.png", "--labels", "half.npy"], "no label image"),
    ],
)
def test_bad_input_ends_with_one_clear_message(samstar, annotated, monkeypatch, arguments, message):
    np.save(annotated / "blank.npy", np.zeros((64, 64)))
    np.save(annotated / "half.npy", np.full(SHAPE, 0.5))
    monkeypatch.chdir(annotated)
    done = samstar("task", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr and "Traceback" not in done.output
    assert not (annotated / "x.toml").exists()


def test_frames_that_say_too_little_are_refused():
    blank = Frame(np.zeros((64, 64), np.float32), id="blank")
    with pytest.raises(EstimationError, match="no particle stands out"):
        task_from_image("mine", blank)
    with pytest.raises(EstimationError, match="every label is 0"):
        task_from_labels("mine", blank, np.zeros((64, 64), int))
