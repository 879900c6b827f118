"""The head that predicts IoUs is fitted to what masks are worth; nothing else of the SAM moves."""

import numpy as np
import pytest
import torch

from samstar_rl.fitting.evaluation import point_ious, point_result
from samstar_rl.fitting.iou_head import fit_iou_head, iou_samples
from samstar_rl.fitting.sam_trainer import TrainingConfig
from samstar_rl.fitting.samples import BatchDataset, SimulatedPool
from samstar_rl.sam.load import load_sam

CONFIG = TrainingConfig(batch_size=2, real_share=1.0, mosaic_share=0.0)


def frame(seed):
    """Bright discs on a darker background."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:200, :160]
    labels = np.zeros(rows.shape, np.int32)
    for label in range(1, 13):
        y, x, radius = rng.uniform(20, 180), rng.uniform(20, 140), rng.uniform(6, 18)
        labels[np.hypot(rows - y, columns - x) < radius] = label
    image = 90 + 60 * (labels > 0) + rng.normal(0, 8, labels.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


@pytest.fixture
def samples(tmp_path):
    pool = SimulatedPool(tmp_path, count=1, size=256, seed=0)
    views = BatchDataset(CONFIG, 256, pool, [frame(seed) for seed in range(4)])
    return iou_samples(load_sam("tiny"), (views[step] for step in range(6)))


def test_samples_are_prompts_with_the_iou_of_their_masks(samples):
    n_prompts = 6 * CONFIG.batch_size * CONFIG.prompts
    assert samples.tokens.shape == (n_prompts, 96)
    assert samples.true_iou.shape == (n_prompts, 4)
    assert samples.true_iou.min() >= 0
    assert samples.true_iou.max() > 0.8  # discs are easy
    background = samples.true_iou.amax(dim=1) == 0
    assert background[samples.weight < 1].all()


def test_the_head_that_overrates_learns_better_and_nothing_else_changes(samples):
    sam = load_sam("tiny")
    head = sam.mask_decoder.iou_prediction_head
    with torch.no_grad():
        head.layers[-1].bias.add_(0.3)
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    judged = [frame(10)]
    overrated = point_result(*point_ious(sam, judged))
    fit_iou_head(sam, samples, seed=1)
    fitted = point_result(*point_ious(sam, judged))
    assert fitted.calibration_error < 0.8 * overrated.calibration_error  # in twelve steps
    assert fitted.best_of_three_iou == overrated.best_of_three_iou
    moved = {
        name for name, value in sam.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {f"mask_decoder.iou_prediction_head.{name}" for name in head.state_dict()}


def test_the_same_seed_fits_the_same_head(samples):
    fitted = []
    for _ in range(2):
        sam = load_sam("tiny")
        fit_iou_head(sam, samples, seed=3)
        fitted.append(sam.mask_decoder.iou_prediction_head.layers[0].weight)
    assert torch.equal(*fitted)
