"""The folded decoder gives what segment_anything's own gives."""

import numpy as np
import pytest
import torch

from samstar_rl.sam.architectures.tiny import TinySamConfig, build_tiny_sam
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.folded_decoder import (
    masks_near_outlines,
    point_tokens,
    predict_masks,
    run_transformer,
    upscale_masks,
)
from samstar_rl.sam.load import load_sam
from samstar_rl.simulator import SimulatedStream


@pytest.fixture(scope="module")
def sam():
    return build_tiny_sam(TinySamConfig(image_size=128, channels=64), seed=3)


def random_prompts(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coords = torch.rand(count, 2, 2, generator=generator) * size
    labels = torch.tensor([[1, -1], [2, 3], [0, -1]]).repeat(count, 1)[:count]
    return coords, labels


@torch.no_grad()
def test_point_tokens_equal_the_prompt_encoder(sam):
    coords, _ = random_prompts(5, 128)
    points = coords[:, :1]
    ours = point_tokens(
        sam.prompt_encoder,
        torch.cat([points, torch.zeros(5, 1, 2)], dim=1),
        torch.tensor([[1, -1]] * 5),
    )
    stock, _ = sam.prompt_encoder(
        points=(points, torch.ones(5, 1, dtype=torch.int)), boxes=None, masks=None
    )
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-6)


@torch.no_grad()
def test_box_tokens_equal_the_prompt_encoder(sam):
    corners = torch.tensor([[[10.0, 20.0], [60.0, 90.0]]])
    ours = point_tokens(sam.prompt_encoder, corners, torch.tensor([[2, 3]]))
    stock, _ = sam.prompt_encoder(points=None, boxes=corners.reshape(1, 4), masks=None)
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("images", [1, 2])
def test_masks_and_ious_equal_the_stock_decoder(sam, images):
    prompts = 6
    embedding = torch.randn(images, 64, 16, 16, generator=torch.Generator().manual_seed(1))
    coords, labels = random_prompts(images * prompts, 128)
    sparse = point_tokens(sam.prompt_encoder, coords, labels)
    dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    pe = sam.prompt_encoder.get_dense_pe()
    masks, iou_pred = predict_masks(sam.mask_decoder, embedding, pe, dense, sparse)
    for image in range(images):
        of_image = slice(image * prompts, (image + 1) * prompts)
        stock_masks, stock_iou = sam.mask_decoder.predict_masks(
            image_embeddings=embedding[image : image + 1],
            image_pe=pe,
            sparse_prompt_embeddings=sparse[of_image],
            dense_prompt_embeddings=dense.expand(prompts, -1, 16, 16),
        )
        torch.testing.assert_close(masks[of_image], stock_masks, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(iou_pred[of_image], stock_iou, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_weight(sam):
    embedding = torch.randn(2, 64, 16, 16)
    coords, labels = random_prompts(6, 128)
    sparse = point_tokens(sam.prompt_encoder, coords, labels)
    dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    masks, iou_pred = predict_masks(
        sam.mask_decoder, embedding, sam.prompt_encoder.get_dense_pe(), dense, sparse
    )
    sam.zero_grad()
    (masks.square().mean() + iou_pred.square().mean()).backward()
    without = [
        name
        for name, parameter in sam.mask_decoder.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    # a key bias of the attention to the image shifts all scores alike: it never had an effect
    assert all(name.endswith("k_proj.bias") for name in without), f"no gradient reaches {without}"
    sam.zero_grad()


def transformed(sam, embedding, coords):
    """Queries and image tokens of points on one image."""
    labels = torch.tensor([1, -1]).expand(len(coords), -1)
    return run_transformer(
        sam.mask_decoder,
        embedding,
        sam.prompt_encoder.get_dense_pe(),
        sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1),
        point_tokens(sam.prompt_encoder, coords, labels),
    )


def near_outlines(sam, queries, tokens, grid, wanted):
    """The wanted ones of the last three masks of each prompt, and the share looked at closely."""
    masks = masks_near_outlines(sam.mask_decoder, queries, tokens, grid, wanted)
    images = np.empty((int(wanted.sum()), 4 * grid[0], 4 * grid[1]), dtype=np.float32)
    masks.fill(images, wanted)
    return images, len(masks.tokens) / (len(tokens) * grid[0] * grid[1])


@torch.no_grad()
def test_where_nothing_is_decided_all_logits_are_computed(sam):
    embedding = torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(1))
    queries, tokens = transformed(sam, embedding, random_prompts(5, 128)[0])
    wanted = torch.ones(5, 3, dtype=torch.bool)
    wanted[[0, 2, 2], [1, 0, 2]] = False
    found, share = near_outlines(sam, queries, tokens, (16, 16), wanted)
    assert share == 1
    expected = upscale_masks(sam.mask_decoder, queries, tokens, (16, 16))[:, 1:][wanted]
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_decoder_without_layers_leaves_each_prompt_its_image_tokens():
    sam = build_tiny_sam(TinySamConfig(image_size=128, channels=64, decoder_depth=0), seed=3)
    embedding = torch.randn(2, 64, 16, 16, generator=torch.Generator().manual_seed(1))
    _, tokens = transformed(sam, embedding, random_prompts(6, 128)[0])
    assert tokens.shape == (6, 256, 64)
    torch.testing.assert_close(tokens[2], tokens[0])
    assert not torch.allclose(tokens[3], tokens[0])


@torch.no_grad()
@pytest.mark.parametrize("preset", ["particles", "morphology"])
def test_no_mask_changes_by_what_is_not_computed(preset):
    sam = load_sam("tiny")
    frame = next(iter(SimulatedStream(preset, seed=2, size=256, length=1))).frame
    coords = torch.rand(48, 2, 2, generator=torch.Generator().manual_seed(3)) * 256
    grid = sam.prompt_encoder.image_embedding_size
    queries, tokens = transformed(sam, ProposalEngine(sam).embed(frame).features, coords)
    wanted = torch.ones(len(coords), 3, dtype=torch.bool)
    found, share = near_outlines(sam, queries, tokens, grid, wanted)
    assert share < 0.5
    expected = upscale_masks(sam.mask_decoder, queries, tokens, grid)[:, 1:].flatten(0, 1).numpy()
    for cut in (-1, 0, 1):
        differing = (found > cut) != (expected > cut)
        assert np.abs(expected - cut)[differing].max(initial=0) < 1e-4
