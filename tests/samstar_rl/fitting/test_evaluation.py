"""Recall of proposals."""

import numpy as np
import pytest

from samstar_rl.fitting.evaluation import proposal_recall
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam


def test_recall_counts_the_instances_that_a_proposal_matches():
    rows, columns = np.mgrid[:128, :160]
    labels = np.zeros((128, 160), np.int32)
    for k, (y, x) in enumerate([(32, 30), (40, 100), (95, 60), (90, 128)]):
        labels[np.hypot(rows - y, columns - x) < 16] = k + 1
    noise = np.random.default_rng(0).normal(0, 6, labels.shape)
    image = (np.where(labels > 0, 190, 60) + noise).clip(0, 255).astype(np.uint8)
    labels[:3] = 9  # a rim that nothing shows
    labels[124:, 0] = 7  # too small to be judged
    engine = ProposalEngine(load_sam("tiny"))
    result = proposal_recall(engine, [(image, labels)], zooms=(1, 2), prompts=24)
    assert result.instances == 5
    assert result.recall["1"] == result.recall["as needed"] == pytest.approx(4 / 5)
    assert result.frame_recall == result.recall


def test_frames_without_instances_are_refused():
    engine = ProposalEngine(load_sam("tiny"))
    with pytest.raises(ValueError, match="no frame holds an instance"):
        proposal_recall(engine, [(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.int32))])
