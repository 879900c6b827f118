"""Adversaries are what they claim to be, and the figures of validity are right."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawn_particles import draw, grid
from scipy.stats import spearmanr

from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.rewards import PhysicsReward, Score
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.simulator import SimulatedStream
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.adversaries import ADVERSARIES, true_masks
from samstar_rl.truth.metrics import f1_at
from samstar_rl.truth.validity import (
    FrameValidity,
    draw_settings,
    everything,
    score_adversaries,
    spearman,
    validity_figures,
)

SHAPE = (200, 240)
TASKS = ("particles", "overlap", "morphology", "size")


@pytest.fixture(scope="module")
def truth() -> tuple[Frame, list[np.ndarray]]:
    return draw(SHAPE, grid(SHAPE, 40, 22))


def test_a_single_particle_can_not_be_merged(truth) -> None:
    _, masks = truth
    assert ADVERSARIES["merged"](masks[:1], np.random.default_rng(0)) == []


@pytest.mark.parametrize("name", ADVERSARIES)
def test_adversaries_are_wrong(name: str, truth: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = truth
    made = ADVERSARIES[name](masks, np.random.default_rng(0))
    labels = np.max([(k + 1) * mask for k, mask in enumerate(masks)], axis=0)
    assert all(mask.shape == SHAPE and mask.dtype == bool and mask.any() for mask in made)
    found = Segmentation.from_masks(made, frame)
    # a shift, a dilation or an erosion by a fifth of the diameter can keep an IoU of 0.5
    limit = 0.7 if name in ("duplicates", "merged", "split") else 1.0
    if name in ("shifted", "dilated", "eroded"):
        assert f1_at(found, labels, iou=0.75) < 0.1
    else:
        assert f1_at(found, labels) < limit


def test_sizes_of_the_adversaries(truth: tuple[Frame, list[np.ndarray]]) -> None:
    _, masks = truth
    made = {name: make(masks, np.random.default_rng(0)) for name, make in ADVERSARIES.items()}
    n = len(masks)
    assert len(made["no mask"]) == 0
    assert [mask.all() for mask in made["one mask over everything"]] == [True]
    assert 0 < len(made["the perfect few"]) <= 0.3 * n
    assert (len(made["duplicates"]), len(made["split"])) == (2 * n, 2 * n)
    assert len(made["merged"]) == -(-n // 2)
    diameter = np.sqrt(4 / np.pi * masks[0].sum())
    for name, sign in (("dilated", 1), ("eroded", -1)):
        moved = np.sqrt(4 / np.pi * made[name][0].sum())
        assert moved - diameter == pytest.approx(sign * 0.4 * diameter, rel=0.15)


def test_tiny_particles_are_moved_by_two_pixels() -> None:
    _, masks = draw((60, 60), [(30, 30, 4)])
    grown = ADVERSARIES["dilated"](masks, np.random.default_rng(0))
    assert np.flatnonzero(grown[0].any(axis=0))[[0, -1]].tolist() == [26, 34]
    (shrunk,) = ADVERSARIES["eroded"](masks, np.random.default_rng(0))
    assert np.argwhere(shrunk).tolist() == [[30, 30]]
    assert ADVERSARIES["the perfect few"](masks, np.random.default_rng(0)) == []


@pytest.mark.parametrize("task", TASKS)
def test_truth_scores_above_every_adversary(task: str) -> None:
    """One simulated frame a task; `samstar validate` looks at many."""
    with SimulatedStream(task, seed=700_001, size=256) as stream:
        labelled = stream.frame_at(0)
    reward = PhysicsReward(load_task(task))
    of_truth = reward.score(
        Segmentation.from_labels(labelled.truth, labelled.frame), labelled.frame
    )
    rng = np.random.default_rng(0)
    for name, make in ADVERSARIES.items():
        found = Segmentation.from_masks(make(true_masks(labelled.truth), rng), labelled.frame)
        assert reward.score(found, labelled.frame).total < of_truth.total, name


@pytest.mark.parametrize("task", TASKS)
def test_scores_do_not_change_under_flips_and_turns(task: str) -> None:
    with SimulatedStream(task, seed=700_002, size=256) as stream:
        labelled = stream.frame_at(10)
    reward = PhysicsReward(load_task(task))

    def score(turn: object) -> float:
        image = np.ascontiguousarray(turn(labelled.frame.image))  # type: ignore[operator]
        frame = Frame(image, labelled.frame.pixel_size_nm)
        labels = np.ascontiguousarray(turn(labelled.truth))  # type: ignore[operator]
        return reward.score(Segmentation.from_labels(labels, frame), frame).total

    plain = score(lambda image: image)
    for turn in (np.fliplr, np.flipud, np.rot90, np.transpose):
        assert score(turn) == pytest.approx(plain, abs=0.02)


def test_scores_do_not_change_with_the_unit_of_length() -> None:
    """The same picture at another pixel size, and targets that are larger by the same factor."""
    with SimulatedStream("size", seed=700_003, size=256) as stream:
        labelled = stream.frame_at(0)
    task = load_task("size")
    data = task.to_dict()
    factor = 3.7
    scaled = task.with_targets(
        sample={
            "min_diameter": factor * task.sample.min_diameter,  # type: ignore[operator]
            "max_diameter": factor * task.sample.max_diameter,  # type: ignore[operator]
        },
        size={"median_diameter": factor * data["terms"]["size"]["median_diameter_nm"]},
    )
    frame = labelled.frame
    larger = Frame(frame.image, factor * (frame.pixel_size_nm or 1.0))
    plain, other = (
        PhysicsReward(t).score(Segmentation.from_labels(labelled.truth, f), f)
        for t, f in ((task, frame), (scaled, larger))
    )
    assert other.total == pytest.approx(plain.total, abs=1e-9)


def test_spearman_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 9, 50).astype(float)
    b = a + rng.normal(0, 2, 50)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(a, np.ones(50)) == 0.0


def _validity(scores: list[float], f1s: list[float]) -> FrameValidity:
    return FrameValidity(
        frame_id="f",
        scores=np.array(scores),
        f1s=np.array(f1s),
        terms={"size": np.array(scores)},
        truth_score=Score(0.9, {}),
        adversary_scores={"split": Score(0.5, {}), "merged": Score(0.95, {})},
    )


def test_regret_ranks_and_summary() -> None:
    validity = _validity([0.1, 0.9, 0.5], [0.2, 0.6, 0.8])
    assert validity.regret == pytest.approx(0.75)
    assert validity.spearman == pytest.approx(0.5)
    assert validity.better_than_truth == ("merged",)
    nothing = _validity([0.1, 0.9, 0.5], [0.0, 0.0, 0.0])
    assert (nothing.regret, nothing.spearman) == (1.0, 0.0)
    figures = json.loads(json.dumps(validity_figures([validity, nothing])))
    assert figures["spearman"]["mean"] == pytest.approx(0.25)
    assert figures["adversaries"]["share_below_truth"] == 0.0
    assert figures["adversaries"]["per_adversary"] == {"split": 1.0, "merged": 0.0}


def test_equal_scores_share_their_f1() -> None:
    assert _validity([0.5, 0.5, 0.1], [0.4, 0.8, 1.0]).chosen_f1 == pytest.approx(0.6)


def test_settings_are_drawn_uniformly_and_reproducibly() -> None:
    space = load_task("particles").space
    drawn = draw_settings(space, 300, seed=1)
    assert drawn == draw_settings(space, 300, seed=1)
    values = np.array([settings.pred_iou_thresh for settings in drawn])
    low, high = space.limits("pred_iou_thresh")
    assert values.mean() == pytest.approx((low + high) / 2, abs=0.05)
    assert {settings.zoom for settings in drawn} == set(space.free["zoom"].ladder)


def test_everything_keeps_all_proposals(truth: tuple[Frame, list[np.ndarray]]) -> None:
    frame, masks = truth
    proposals = Segmentation.from_masks(masks, frame).proposals
    assert len(everything(proposals)) == len(masks)
    labels = np.max([(k + 1) * mask for k, mask in enumerate(masks)], axis=0)
    scores = score_adversaries(
        PhysicsReward(load_task("particles")),
        LabelledFrame(frame, labels),
        lambda prompt: proposals,
        load_task("particles").space,
        seed=0,
    )
    assert set(scores) == {*ADVERSARIES, "all proposals"}
