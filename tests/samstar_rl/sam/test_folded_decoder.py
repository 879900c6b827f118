"""The folded decoder gives what segment_anything's own gives."""

import pytest
import torch

from samstar_rl.sam.architectures.tiny import TinySamConfig, build_tiny_sam
from samstar_rl.sam.folded_decoder import point_tokens, predict_masks


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
