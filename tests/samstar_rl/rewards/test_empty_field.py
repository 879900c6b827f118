"""An empty field is right when nothing is found in it, and only then."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import draw, grid

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards import PhysicsReward
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.metrics import f1_at

SHAPE = (300, 320)


def empty_field(seed: int = 0) -> Frame:
    noise = np.random.default_rng(seed).normal(0.5, 0.05, SHAPE).astype(np.float32)
    return Frame(noise, pixel_size_nm=1.0, id="empty")


@pytest.mark.parametrize("task", ["particles", "overlap", "morphology", "size"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_masks_on_an_empty_field_score_1(task: str, seed: int) -> None:
    frame = empty_field(seed)
    reward = PhysicsReward(load_task(task))
    assert reward.gauge(frame)["evidence"].foreground.area_px == 0
    nothing = Segmentation.from_masks([], frame)
    score = reward.score(nothing, frame)
    assert score.total == 1 and set(score.terms.values()) == {1.0}
    assert f1_at(nothing, np.zeros(SHAPE, dtype=np.int32)) == 1
    one = np.zeros(SHAPE, dtype=bool)
    one[100:140, 100:140] = True
    assert reward.score(Segmentation.from_masks([one], frame), frame).total < 0.5


def test_no_masks_where_particles_are_score_0() -> None:
    frame, _ = draw(SHAPE, grid(SHAPE, 50, 24, jitter=3))
    reward = PhysicsReward(load_task("particles"))
    assert reward.score(Segmentation.from_masks([], frame), frame).total < 0.1


def test_small_particles_of_a_large_frame_are_not_taken_for_an_empty_field() -> None:
    shape = (1024, 1024)
    frame, _ = draw(shape, grid(shape, 60, 5, jitter=3))
    sample = load_task("particles").sample
    assert FrameEvidence.of(frame, sample.scaled(1024)).foreground.area_px > 0
