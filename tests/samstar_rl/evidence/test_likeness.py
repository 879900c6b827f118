"""The term `plausibility`: masks that look like particles, and masks that do not."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import draw, found, grid

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.evidence.likeness import (
    EVIDENCE,
    packaged_likeness,
)
from samstar_rl.foreground.sample import Sample
from samstar_rl.rewards import PhysicsReward
from samstar_rl.rewards.terms.expected_f1 import ExpectedF1Target, expected_f1
from samstar_rl.rewards.terms.plausibility import PlausibilityTarget, plausibility
from samstar_rl.segmentation.filters import segment
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.adversaries import ADVERSARIES

SHAPE = (200, 240)
TARGET = PlausibilityTarget()


@pytest.fixture(scope="module")
def drawn():
    return draw(SHAPE, grid(SHAPE, 40, 22))


def test_the_network_takes_the_evidence(drawn) -> None:
    frame, masks = drawn
    described = FrameEvidence.of(frame, Sample()).description(found(frame, masks).table)
    assert described.shape == (len(masks), len(EVIDENCE))
    assert np.isfinite(described).all()
    network = packaged_likeness()
    assert network.hidden.shape == (len(EVIDENCE), len(network.out))


def test_a_mask_is_judged_alike_in_any_company(drawn) -> None:
    frame, masks = drawn
    evidence = FrameEvidence.of(frame, Sample()).description(found(frame, masks).table)
    network = packaged_likeness()
    together = network.of(evidence)
    assert np.array_equal(together, [network.of(row[None])[0] for row in evidence])
    assert np.array_equal(together[::-1], network.of(evidence[::-1]))


def test_a_mask_that_is_cut_has_a_weak_arc(drawn) -> None:
    frame, masks = drawn
    known = FrameEvidence.of(frame, Sample())
    halves = ADVERSARIES["split"](masks, np.random.default_rng(0))
    names = ("weakest_arc", "ring", "body_iou", "body_cover", "n_bodies")
    arc, ring, iou, _, n_bodies = known.columns(found(frame, masks).table, *names)
    assert arc.min() > 0.8 and ring.max() < 0.05 and iou.min() > 0.8 and (n_bodies == 1).all()
    arc, ring, _, cover, _ = known.columns(found(frame, halves).table, *names)
    assert arc.max() < 0.3 and ring.min() > 0.15
    assert np.median(cover) == pytest.approx(0.5, abs=0.1)
    joined = ADVERSARIES["merged"](masks, np.random.default_rng(0))
    (n_bodies,) = known.columns(found(frame, joined).table, "n_bodies")
    assert np.median(n_bodies) == 2


@pytest.mark.parametrize(
    ("name", "margin"),
    # particles shifted by a fifth still match; merged and cut ones have true rims almost all around
    [("shifted", 0.05), ("dilated", 0.1), ("noise blobs", 0.1), ("split", 0.0), ("merged", 0.0)],
)
def test_wrong_masks_look_less_like_particles(drawn, name: str, margin: float) -> None:
    frame, masks = drawn
    known = FrameEvidence.of(frame, Sample())
    wrong = ADVERSARIES[name](masks, np.random.default_rng(0))
    true = known.likeness(found(frame, masks).table)
    assert true.mean() > known.likeness(found(frame, wrong).table).mean() + margin


def test_the_whole_truth_beats_a_part_and_copies(drawn) -> None:
    frame, masks = drawn
    whole = plausibility(found(frame, masks), frame, TARGET)
    assert whole > 0.6
    assert plausibility(found(frame, masks[::2]), frame, TARGET) < 0.65 * whole
    assert plausibility(found(frame, [*masks, *masks]), frame, TARGET) == pytest.approx(
        whole / 2, rel=0.1
    )


def test_expected_f1_counts_what_is_missed_and_what_is_too_much(drawn) -> None:
    frame, masks = drawn
    known = FrameEvidence.of(frame, Sample())
    likeness = known.likeness(found(frame, masks).table).sum()

    def score(kept: list[np.ndarray]) -> float:
        return expected_f1(found(frame, kept), frame, ExpectedF1Target())

    whole = score(masks)
    assert known.foreground.n_particles == len(masks)
    assert whole == pytest.approx(likeness / len(masks))
    assert score(masks[::2]) < 0.75 * whole
    assert score([*masks, *masks]) == pytest.approx(2 / 3 * whole, rel=1e-6)


def test_the_gate_drops_wrong_masks_and_prefers_the_more_plausible(drawn) -> None:
    frame, masks = drawn
    wrong = ADVERSARIES["merged"](masks, np.random.default_rng(0))
    proposals = found(frame, [*wrong, *masks]).proposals
    proposals.iou_pred[: len(wrong)], proposals.iou_pred[len(wrong) :] = 0.9, 0.8
    task = load_task("particles")
    permissive = task.static.replace(
        pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1, max_overlap=0.3
    )
    gauge = PhysicsReward(task).gauge(frame)
    gated = segment(proposals, permissive.replace(min_plausibility=0.5), **gauge)
    assert gated.kept.tolist() == list(range(len(wrong), len(wrong) + len(masks)))
    # without the gate SAM's own judgement decides, and takes the joined ones
    assert segment(proposals, permissive.replace(min_plausibility=0), **gauge).kept.min() == 0
