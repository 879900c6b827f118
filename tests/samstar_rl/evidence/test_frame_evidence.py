"""What is known of a frame belongs to the frame, is computed once, and dies with it."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest
from drawn_particles import draw, found, grid
from synthetic_bank import SyntheticBank

from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.evidence import frame_evidence
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.evidence.polar_views import polar_views
from samstar_rl.foreground.network import LazyMaps
from samstar_rl.foreground.sample import Sample
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator

SHAPE = (96, 96)


@pytest.fixture
def drawn():
    return draw(SHAPE, grid(SHAPE, 32, 16))


def test_a_frame_and_a_sample_have_one_object(drawn):
    frame, _ = drawn
    one = FrameEvidence.of(frame, Sample(contrast="bright"))
    assert FrameEvidence.of(frame, Sample(contrast="bright")) is one
    assert FrameEvidence.of(frame, Sample(contrast="dark")) is not one
    other, _ = draw(SHAPE, grid(SHAPE, 32, 16))
    assert FrameEvidence.of(other, Sample(contrast="bright")) is not one


def test_all_samples_share_what_the_network_says(drawn, monkeypatch):
    frame, _ = drawn
    maps = LazyMaps.of(frame).maps
    monkeypatch.setattr("samstar_rl.foreground.network.particle_probability", None)
    for contrast in ("bright", "dark"):
        assert FrameEvidence.of(frame, Sample(contrast=contrast)).foreground.area_px >= 0
    assert LazyMaps.of(frame).maps is maps


def test_it_dies_with_the_frame_at_once():
    frame, masks = draw(SHAPE, grid(SHAPE, 32, 16))
    evidence = FrameEvidence.of(frame, Sample())
    evidence.likeness(found(frame, masks).table)
    gone = [weakref.ref(one) for one in (frame, evidence, evidence.foreground)]
    gc.disable()
    try:
        del frame, evidence
        assert [one() for one in gone] == [None] * 3
    finally:
        gc.enable()


def test_a_mask_is_described_once_in_any_company(drawn, monkeypatch):
    frame, masks = drawn
    segmentation = found(frame, masks)
    described, judged = [], []

    class Counting(frame_evidence.MaskDescriber):
        def __call__(self, ids):
            described.extend(ids.tolist())
            return super().__call__(ids)

    def counting_views(pyramid, table):
        judged.extend(table.ids.tolist())
        return polar_views(pyramid, table)

    monkeypatch.setattr(frame_evidence, "MaskDescriber", Counting)
    monkeypatch.setattr(frame_evidence, "polar_views", counting_views)
    evidence = FrameEvidence.of(frame, Sample())
    few = evidence.likeness(segmentation.part(np.array([2, 0])).table)
    everything = evidence.likeness(segmentation.table)
    np.testing.assert_array_equal(few, everything[[2, 0]])
    evidence.columns(segmentation.table, "purity")
    evidence.columns(segmentation.table, "purity", "rim_support")
    assert sorted(described) == sorted(judged) == list(range(len(masks)))


def test_the_offset_that_is_asked_first_decides_nothing():
    bank = SyntheticBank(load_task("particles"), n_streams=1, n_frames=1)
    proposals = bank.proposals(0, bank.prompts[0])
    ids = np.arange(len(proposals))

    def judge(evidence, offset):
        settings = Settings(stability_score_offset=offset)
        found = Segmentation(proposals.frame_id, settings, proposals, ids, ids)
        return evidence.likeness(found.table)

    one, other = (FrameEvidence(bank.frame(0), Sample()) for _ in range(2))
    forth = [judge(one, offset) for offset in (0.5, 2.0)]
    back = [judge(other, offset) for offset in (2.0, 0.5)]
    np.testing.assert_array_equal(forth, back[::-1])
    assert not np.array_equal(*forth)


def test_what_is_known_of_masks_dies_with_them(drawn):
    frame, masks = drawn
    evidence = FrameEvidence.of(frame, Sample())
    segmentation = found(frame, masks)
    evidence.likeness(segmentation.table)
    evidence.sides(segmentation.table)
    assert len(evidence._of_stores) == 1
    del segmentation
    gc.collect()
    assert len(evidence._of_stores) == 0


def test_a_frame_travels_without_what_is_known_of_it(drawn):
    frame, _ = drawn
    FrameEvidence.of(frame, Sample())
    arrived = copy.deepcopy(frame)
    assert frame.known and not arrived.known
    np.testing.assert_array_equal(arrived.image, frame.image)


def test_all_who_train_on_a_bank_share_what_is_known_of_its_masks(monkeypatch):
    task = load_task("particles")
    bank = SyntheticBank(task, n_streams=1, n_frames=1)
    judged: list[tuple[int, int]] = []

    def counting_views(pyramid, table):
        judged.extend((id(table.store), number) for number in table.ids.tolist())
        return polar_views(pyramid, table)

    monkeypatch.setattr(frame_evidence, "polar_views", counting_views)
    rng = np.random.default_rng(0)
    for frames in (BankFrames(bank, task), BankFrames(bank, task)):
        for _ in range(5):
            evaluate = FrameEvaluator(frames.source(0), Objective(task))
            evaluate(task.space.decode(rng.uniform(-1, 1, task.space.n)))
    assert judged and len(judged) == len(set(judged))
