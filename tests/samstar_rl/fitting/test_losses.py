"""Losses on masks of known overlap."""

import pytest
import torch

from samstar_rl.fitting.losses import (
    AuxiliaryHead,
    boundaries,
    centroid_offsets,
    dice,
    mask_iou,
    mask_losses,
)
from samstar_rl.fitting.sam_trainer import TrainingConfig, mask_targets


def square(size=32, low=8, high=24):
    target = torch.zeros(1, size, size)
    target[:, low:high, low:high] = 1
    return target


def as_logits(masks, sharpness=20.0):
    return (2 * masks - 1) * sharpness


def test_a_perfect_mask_costs_nothing():
    target = square()
    logits = as_logits(target).unsqueeze(1).expand(1, 4, 32, 32)
    losses = mask_losses(logits, torch.ones(1, 4), target, torch.ones(1))
    assert losses.mask.item() == pytest.approx(0, abs=1e-3)
    assert losses.iou.item() == pytest.approx(0, abs=1e-6)
    assert losses.best_iou.item() == pytest.approx(1)


def test_the_best_of_three_decides():
    target = square()
    logits = as_logits(torch.zeros(1, 4, 32, 32))
    logits[:, 2] = as_logits(target)
    losses = mask_losses(logits, torch.tensor([[0, 0, 1.0, 0]]), target, torch.ones(1))
    assert losses.best_iou.item() == pytest.approx(1)
    assert losses.selected_iou.item() == pytest.approx(1)


def test_iou_of_half_a_square():
    half = square(low=8, high=24).clone()
    half[:, 16:] = 0
    assert mask_iou(as_logits(half).unsqueeze(1), square()).item() == pytest.approx(0.5)
    assert dice(as_logits(half).unsqueeze(1), square()).item() == pytest.approx(1 / 3, abs=2e-3)


def test_a_background_prompt_has_no_mask_to_learn_but_an_iou_of_zero():
    nothing = torch.zeros(1, 32, 32)
    logits = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    losses = mask_losses(logits, torch.full((1, 4), 0.5), nothing, torch.ones(1))
    assert losses.mask.item() == 0
    assert losses.iou.item() == pytest.approx(0.45, abs=1e-6)  # smooth L1 of 0.5, beta 0.1


def test_targets_are_soft_at_half_resolution():
    labels = torch.zeros(1, 4, 4, dtype=torch.int32)
    labels[0, :3, :2] = 5
    targets = mask_targets(labels, torch.tensor([[5, -1]]))
    torch.testing.assert_close(targets[0], torch.tensor([[1.0, 0.0], [0.5, 0.0]]))
    assert not targets[1].any()


def test_boundaries_and_offsets_of_one_square():
    labels = square(16, 4, 12).int()
    rim = boundaries(labels)
    assert rim[0, 4, 6] == 1
    assert rim[0, 8, 8] == 0
    assert rim[0, 0, 0] == 0
    offsets = centroid_offsets(labels) * 8
    assert offsets[0, 0, 6, 4].item() == pytest.approx(3.5)
    assert offsets[0, 1, 11, 6].item() == pytest.approx(-3.5)


def test_the_auxiliary_head_ignores_padding():
    head = AuxiliaryHead(8)
    embedding = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(1, 32, 32, dtype=torch.int32)
    valid = torch.zeros(1, 32, 32, dtype=torch.bool)
    valid[:, :16] = True
    changed = labels.clone()
    changed[:, 24:] = 3
    before = head.loss(embedding, labels, valid)
    torch.testing.assert_close(before, head.loss(embedding, changed, valid))


def test_the_rate_warms_up_stays_and_decays():
    config = TrainingConfig(images=4000, batch_size=4, warmup_steps=100, decay_share=0.5)
    assert config.rate(0) == pytest.approx(config.learning_rate / 100)
    assert config.rate(300) == pytest.approx(config.learning_rate)
    assert config.rate(750) == pytest.approx(config.learning_rate / 2)
    assert config.rate(999) < 0.01 * config.learning_rate
