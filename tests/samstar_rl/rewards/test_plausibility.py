"""The term `plausibility`: masks that look like particles, and masks that do not."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import draw, found, grid

from samstar_rl.adversaries import ADVERSARIES
from samstar_rl.rewards.evidence import foreground_for
from samstar_rl.rewards.plausibility import (
    EVIDENCE,
    WEIGHTS,
    PlausibilityTarget,
    describe_masks,
    particle_likeness,
    plausibility,
)
from samstar_rl.rewards.target import Sample

SHAPE = (200, 240)
TARGET = PlausibilityTarget()


@pytest.fixture(scope="module")
def drawn():
    return draw(SHAPE, grid(SHAPE, 40, 22))


def test_every_piece_of_evidence_has_a_weight(drawn) -> None:
    frame, masks = drawn
    assert tuple(WEIGHTS) == EVIDENCE
    described = describe_masks(found(frame, masks), foreground_for(frame, Sample()))
    assert described.shape == (len(masks), len(EVIDENCE))
    assert np.isfinite(described).all()


@pytest.mark.parametrize(
    ("name", "margin"),
    # merged and cut particles have true rims: it is for other terms to count them
    [("shifted", 0.1), ("dilated", 0.1), ("noise blobs", 0.1), ("split", 0.0), ("merged", 0.0)],
)
def test_wrong_masks_look_less_like_particles(drawn, name: str, margin: float) -> None:
    frame, masks = drawn
    foreground = foreground_for(frame, Sample())
    wrong = ADVERSARIES[name](masks, np.random.default_rng(0))
    true = particle_likeness(found(frame, masks), foreground)
    assert true.mean() > particle_likeness(found(frame, wrong), foreground).mean() + margin


def test_the_whole_truth_beats_a_part_and_copies(drawn) -> None:
    frame, masks = drawn
    whole = plausibility(found(frame, masks), frame, TARGET)
    assert whole > 0.6
    assert plausibility(found(frame, masks[::2]), frame, TARGET) < 0.65 * whole
    assert plausibility(found(frame, [*masks, *masks]), frame, TARGET) == pytest.approx(
        whole / 2, rel=0.1
    )
