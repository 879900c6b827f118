"""Recall of proposals."""

import numpy as np
import pytest
from drawn_particles import draw, grid

from samstar_rl.fitting.evaluation import proposal_recall
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam


def test_recall_counts_the_instances_that_a_proposal_matches():
    shape = (128, 128)
    frame, masks = draw(shape, grid(shape, 48, 30), seed=0)
    image = np.clip(255 * frame.image, 0, 255).astype(np.uint8)
    labels = sum(number * mask for number, mask in enumerate(masks, 1)).astype(np.int32)
    labels[:3] = 98  # a rim that nothing shows
    labels[124:, 0] = 99  # too small to be judged
    engine = ProposalEngine(load_sam("tiny"))
    result = proposal_recall(engine, [(image, labels)], zooms=(1, 2), prompts=24)
    assert result.instances == len(masks) + 1
    assert result.recall["1"] == result.recall["as needed"]
    assert result.recall["1"] == pytest.approx(len(masks) / (len(masks) + 1))
    assert result.frame_recall == result.recall


def test_frames_without_instances_are_refused():
    engine = ProposalEngine(load_sam("tiny"))
    with pytest.raises(ValueError, match="no frame holds an instance"):
        proposal_recall(engine, [(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.int32))])
