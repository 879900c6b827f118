"""Calibration moves scores, never a mask; packing rounds once and for all."""

import numpy as np
import pytest
import torch

from samstar_rl.fitting.calibration import Calibration, _allowed_maps, apply_calibration, fit_affine
from samstar_rl.fitting.evaluation import innermost_pixel, point_ious, point_result, quarters
from samstar_rl.fitting.packing import pack_weights, round_to_half
from samstar_rl.sam.architectures.tiny import build_tiny_sam
from samstar_rl.sam.folded_decoder import point_tokens, predict_masks
from samstar_rl.sam.load import load_sam


@torch.no_grad()
def decode(sam):
    encoder = sam.prompt_encoder
    embedding = torch.randn(1, 96, 32, 32, generator=torch.Generator().manual_seed(0))
    coords = torch.tensor([[[40.0, 50.0], [0, 0]], [[200.0, 90.0], [0, 0]]])
    sparse = point_tokens(encoder, coords, torch.tensor([[1, -1], [1, -1]]))
    dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    return predict_masks(sam.mask_decoder, embedding, encoder.get_dense_pe(), dense, sparse)


def test_a_calibration_scales_logits_and_maps_the_predicted_iou():
    sam = build_tiny_sam(seed=2)
    masks, iou_pred = decode(sam)
    apply_calibration(sam, Calibration(slope=1.5, intercept=-0.2, sharpness=3.0))
    sharper, mapped = decode(sam)
    torch.testing.assert_close(sharper, 3 * masks, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mapped, 1.5 * iou_pred - 0.2, rtol=1e-4, atol=1e-5)


def test_allowed_maps_are_truthful_and_the_most_truthful_comes_first():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 1, (500, 3))
    modest = (true - 0.1) / 1.2
    maps = _allowed_maps(true, modest)
    slope, intercept = maps[0]
    assert np.abs(slope * modest + intercept - true).mean() < 0.01
    errors = [np.abs(a * modest + b - true).mean() for a, b in maps]
    assert errors == sorted(errors)
    assert errors[-1] <= 0.105


def test_the_truest_affine_map_keeps_the_sharpness_that_is_given():
    true = np.random.default_rng(0).uniform(0, 1, (500, 3))
    calibration = fit_affine(true, (true - 0.1) / 1.2, sharpness=6.0)
    assert calibration.slope == pytest.approx(1.2)
    assert calibration.intercept == pytest.approx(0.1)
    assert calibration.sharpness == 6.0


def test_packed_weights_are_those_that_were_judged(tmp_path):
    sam = build_tiny_sam(seed=2)
    round_to_half(sam)
    pack_weights(sam, tmp_path / "sam.safetensors")
    again = load_sam(tmp_path / "sam.safetensors")
    for name, value in sam.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(again.state_dict()[name], value), name
    assert [path.name for path in tmp_path.iterdir()] == ["sam.safetensors"]


def test_the_innermost_pixel_of_a_ring_quarter_is_inside():
    rows, columns = np.mgrid[:60, :60]
    radius = np.hypot(rows, columns)
    ring = (radius > 30) & (radius < 50)
    x, y = innermost_pixel(ring)
    assert ring[y, x]
    assert 36 < np.hypot(x, y) < 44


def test_quarters_cover_the_frame():
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    parts = list(quarters([(image, image.astype(np.int32))]))
    assert [part.shape for part, _ in parts] == [(2, 3)] * 4
    assert parts[3][0][-1, -1] == image[-1, -1]


def test_point_results_are_means_over_instances():
    true = np.array([[0.2, 0.9, 0.1], [0.4, 0.3, 0.2]])
    predicted = np.array([[0.9, 0.8, 0.1], [0.5, 0.1, 0.0]])
    result = point_result(true, predicted)
    assert result.best_of_three_iou == pytest.approx(0.65)
    assert result.selected_iou == pytest.approx(0.3)
    assert result.recall == 0.5
    assert result.calibration_error == pytest.approx(np.mean([0.7, 0.1, 0, 0.1, 0.2, 0.2]))


def test_frames_without_large_instances_cannot_be_judged():
    blank = (np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.int32))
    with pytest.raises(ValueError, match="nothing to judge"):
        point_ious(build_tiny_sam(), [blank])


def test_every_instance_is_judged_once():
    labels = np.zeros((64, 64), np.int32)
    labels[5:15, 5:15], labels[30:50, 30:50], labels[60, 60] = 1, 2, 3
    true, predicted = point_ious(build_tiny_sam(), [((labels * 50).astype(np.uint8), labels)])
    assert true.shape == predicted.shape == (2, 3)
    assert ((true >= 0) & (true <= 1)).all()
