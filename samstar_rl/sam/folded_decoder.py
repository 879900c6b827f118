"""SAM's mask decoder for many prompts at once, with the image-side projections folded away.

`segment_anything.modeling.MaskDecoder` repeats the image embedding for every prompt and projects
all its tokens to keys, queries and values of each attention. A prompt has only a handful of tokens,
so it is far cheaper to carry the projections over to their side:

    softmax((q Wq) (x Wk)^T) (x Wv) = softmax(((q Wq) Wk^T) x^T) x Wv

with the image tokens ``x`` untouched. In the first layer all prompts of an image still share its
tokens, which are projected there once for all of them. The results equal the stock decoder's up to
float rounding (about 1e-5 on the logits); the weights are the stock module's own, so any SAM can be
decoded so.

Most of a picture is far from any mask: `masks_near_outlines` computes masks only where they may
have an outline.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import MaskDecoder, PromptEncoder
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor
from torch.nn import functional as F

SIDE = 4
"""Logits that a token makes along each axis."""
DECIDED = 32.0
"""Logits beyond which a token's neighbourhood lies inside or outside of a mask for good. Of 37,440
masks of the embedded SAM on real and simulated pictures 4 differed at 0, none by more than 3 % of
its pixels; a third of all tokens was looked at closely. The background is at -50."""


def point_tokens(prompt_encoder: PromptEncoder, coords_px: Tensor, labels: Tensor) -> Tensor:
    """Embed points and box corners as `PromptEncoder` does.

    Parameters
    ----------
    prompt_encoder : PromptEncoder
    coords_px : (M, T, 2) float tensor
        x, y of each point in the frame of SAM's input.
    labels : (M, T) int tensor
        1 object, 0 background, 2 and 3 upper left and lower right corner of a box, -1 padding.

    Returns
    -------
    (M, T, C) tensor
    """
    embedding = prompt_encoder.pe_layer.forward_with_coords(
        coords_px + 0.5, prompt_encoder.input_image_size
    )
    learned = torch.cat(
        [prompt_encoder.not_a_point_embed.weight]
        + [point.weight for point in prompt_encoder.point_embeddings]
    )
    is_point = (labels != -1).unsqueeze(-1)
    return embedding * is_point + learned[labels + 1]


def predict_masks(
    mask_decoder: MaskDecoder,
    image_embedding: Tensor,
    dense_pe: Tensor,
    dense_prompt: Tensor,
    sparse: Tensor,
) -> tuple[Tensor, Tensor]:
    """Decode the same number of prompts on each of several images.

    Parameters
    ----------
    mask_decoder : MaskDecoder
    image_embedding : (B, C, h, w) tensor
    dense_pe : (1, C, h, w) tensor
        `PromptEncoder.get_dense_pe()`.
    dense_prompt : (1, C, 1, 1) tensor
        What stands for the mask prompt; without one, `PromptEncoder.no_mask_embed`.
    sparse : (B * P, T, C) tensor
        Prompt tokens, the P prompts of an image in a row.

    Returns
    -------
    logits : (B * P, n_masks, 4 h, 4 w) tensor
        All mask tokens, the single-mask one first.
    iou_pred : (B * P, n_masks) tensor
    """
    height, width = image_embedding.shape[-2:]
    queries, image_tokens = run_transformer(
        mask_decoder, image_embedding, dense_pe, dense_prompt, sparse
    )
    iou_pred = mask_decoder.iou_prediction_head(queries[:, 0])
    return upscale_masks(mask_decoder, queries, image_tokens, (height, width)), iou_pred


def run_transformer(
    mask_decoder: MaskDecoder,
    image_embedding: Tensor,
    dense_pe: Tensor,
    dense_prompt: Tensor,
    sparse: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer.

    Parameters
    ----------
    mask_decoder : MaskDecoder
    image_embedding : (B, C, h, w) tensor
    dense_pe : (1, C, h, w) tensor
    dense_prompt : (1, C, 1, 1) tensor
        What SAM adds to the image without a mask prompt.
    sparse : (B * P, T, C) tensor
        Prompt tokens.

    Returns
    -------
    queries : (B * P, 1 + n_masks, C) tensor
        IoU token and mask tokens; nobody asks for the prompts' own.
    image_tokens : (B * P, h * w, C) tensor
    """
    transformer = mask_decoder.transformer
    learned = torch.cat([mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight])
    query_pe = torch.cat([learned.expand(sparse.shape[0], -1, -1), sparse], dim=1)
    queries = query_pe
    image_tokens = (image_embedding + dense_prompt).flatten(2).transpose(1, 2)
    image_pe = dense_pe.flatten(2).transpose(1, 2)
    for block in transformer.layers:
        queries, image_tokens = two_way_block(block, queries, query_pe, image_tokens, image_pe)
    queries, query_pe = queries[:, : len(learned)], query_pe[:, : len(learned)]
    attended = tokens_to_image(
        transformer.final_attn_token_to_image, queries + query_pe, image_tokens, image_pe
    )
    if len(image_tokens) < len(queries):  # there is no layer that told the prompts apart
        image_tokens = image_tokens.repeat_interleave(len(queries) // len(image_tokens), dim=0)
    return transformer.norm_final_attn(queries + attended), image_tokens


def two_way_block(
    block: TwoWayAttentionBlock,
    queries: Tensor,
    query_pe: Tensor,
    image_tokens: Tensor,
    image_pe: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run one layer: tokens among themselves, tokens to image, MLP, image to tokens.

    Parameters
    ----------
    block : TwoWayAttentionBlock
    queries, query_pe : (M, T, C) tensors
    image_tokens : (B or M, N, C) tensor
    image_pe : (1, N, C) tensor

    Returns
    -------
    queries : (M, T, C) tensor
    image_tokens : (M, N, C) tensor
    """
    if block.skip_first_layer_pe:
        queries = block.self_attn(q=queries, k=queries, v=queries)
    else:
        positioned = queries + query_pe
        queries = queries + block.self_attn(q=positioned, k=positioned, v=queries)
    queries = block.norm1(queries)
    attended = tokens_to_image(
        block.cross_attn_token_to_image, queries + query_pe, image_tokens, image_pe
    )
    queries = block.norm2(queries + attended)
    queries = block.norm3(queries + block.mlp(queries))
    image_tokens = block.norm4(
        image_to_tokens(
            block.cross_attn_image_to_token, queries + query_pe, queries, image_tokens, image_pe
        )
    )
    return queries, image_tokens


def tokens_to_image(
    attention: Attention, queries: Tensor, image_tokens: Tensor, image_pe: Tensor
) -> Tensor:
    """Let tokens of M = B * P prompts attend to the image.

    The key bias shifts all scores of a query alike and falls out of the softmax.

    Parameters
    ----------
    attention : Attention
    queries : (M, T, C) tensor
    image_tokens : (B or M, N, C) tensor
    image_pe : (1, N, C) tensor

    Returns
    -------
    (M, T, C) tensor
    """
    heads, prompts, tokens = attention.num_heads, queries.shape[0], queries.shape[1]
    images, _, channels = image_tokens.shape
    per_head = attention.q_proj(queries).unflatten(-1, (heads, -1))
    per_head = per_head * per_head.shape[-1] ** -0.5
    if images < prompts:
        keys = attention.k_proj(image_tokens + image_pe).unflatten(-1, (heads, -1))
        values = attention.v_proj(image_tokens).unflatten(-1, (heads, -1)).transpose(1, 2)
        # (B, heads, P T, channels of a head)
        by_head = per_head.reshape(images, -1, heads, per_head.shape[-1]).transpose(1, 2)
        weights = (by_head @ keys.permute(0, 2, 3, 1)).softmax(dim=-1)
        attended = (weights @ values).transpose(1, 2).reshape(prompts, tokens, -1)
        return attention.out_proj(attended)
    key_weight = attention.k_proj.weight.unflatten(0, (heads, -1))
    folded = torch.einsum("mthd,hdc->mhtc", per_head, key_weight).flatten(1, 2)
    weights = (folded @ (image_tokens + image_pe).transpose(1, 2)).softmax(dim=-1)
    context = (weights @ image_tokens).view(prompts, heads, tokens, channels)
    value_weight = attention.v_proj.weight.unflatten(0, (heads, -1))
    attended = torch.einsum("mhtc,hdc->mthd", context, value_weight).flatten(2)
    return attention.out_proj(attended + attention.v_proj.bias)


def image_to_tokens(
    attention: Attention, keys: Tensor, values: Tensor, image_tokens: Tensor, image_pe: Tensor
) -> Tensor:
    """Add to image tokens their attention to the tokens of M prompts.

    Parameters
    ----------
    attention : Attention
    keys, values : (M, T, C) tensors
    image_tokens : (B or M, N, C) tensor
    image_pe : (1, N, C) tensor

    Returns
    -------
    (M, N, C) tensor
    """
    heads, prompts, tokens = attention.num_heads, keys.shape[0], keys.shape[1]
    images, positions, channels = image_tokens.shape
    per_head = attention.k_proj(keys).unflatten(-1, (heads, -1))
    per_head = per_head * per_head.shape[-1] ** -0.5
    if images < prompts:
        # each head's keys beside zeros for the others: one product gives the scores of all heads
        apart = torch.eye(heads, dtype=keys.dtype, device=keys.device)
        spread = torch.einsum("mthd,hg->mhtgd", per_head, apart).reshape(
            images, -1, heads * per_head.shape[-1]
        )
        scores = spread @ attention.q_proj(image_tokens + image_pe).transpose(1, 2)
        scores = scores.view(prompts, heads, tokens, positions)
    else:
        query_weight = attention.q_proj.weight.unflatten(0, (heads, -1))
        query_bias = attention.q_proj.bias.unflatten(0, (heads, -1))
        folded = torch.einsum("mthd,hdc->mhtc", per_head, query_weight).flatten(1, 2)
        offset = torch.einsum("mthd,hd->mht", per_head, query_bias)
        scores = folded @ (image_tokens + image_pe).transpose(1, 2)
        scores = scores.view(prompts, heads, tokens, positions) + offset.unsqueeze(-1)
    # by hand: ONNX Runtime transposes all scores for a softmax that is not over the last axis
    exponentials = (scores - scores.amax(dim=2, keepdim=True)).exp()
    weights = (exponentials / exponentials.sum(dim=2, keepdim=True)).flatten(1, 2)
    out_weight = attention.out_proj.weight.unflatten(1, (heads, -1))
    value = attention.v_proj(values).unflatten(-1, (heads, -1))
    folded_value = torch.einsum("mthd,chd->mhtc", value, out_weight)
    # the weights of a head sum to 1: spread over the heads, the bias goes through them
    folded_value = (folded_value + attention.out_proj.bias / heads).flatten(1, 2)
    attended = weights.transpose(1, 2) @ folded_value
    if images == prompts:
        return image_tokens + attended
    repeated = attended.view(images, -1, positions, channels) + image_tokens.unsqueeze(1)
    return repeated.flatten(0, 1)


def upscale_masks(
    mask_decoder: MaskDecoder, queries: Tensor, image_tokens: Tensor, grid: tuple[int, int]
) -> Tensor:
    """Compute masks from the transformer's output.

    Parameters
    ----------
    mask_decoder : MaskDecoder
    queries : (M, 1 + n_masks, C) tensor
    image_tokens : (M, h * w, C) tensor
    grid : tuple of int
        h and w.

    Returns
    -------
    (M, n_masks, 4 h, 4 w) tensor
        Logits.
    """
    height, width = grid
    hyper = _hypernetworks(mask_decoder, queries, range(mask_decoder.num_mask_tokens))
    features = _upscaled(mask_decoder, image_tokens).flatten(1, 2)
    logits = (hyper @ features.transpose(1, 2)).unflatten(-1, (height, width, SIDE, SIDE))
    return logits.transpose(3, 4).reshape(*hyper.shape[:2], SIDE * height, SIDE * width)


class MasksNearOutlines(NamedTuple):
    """Logits of K masks of each of M prompts where these may have an outline.

    Attributes
    ----------
    samples : (M, K, h * w) tensor
        One logit of every token.
    tokens : (S, 2) int tensor
        Prompt and number of the tokens that were looked at closely.
    near : (S, K) bool tensor
        For which masks: those that are wanted and may have an outline there.
    logits : (S, K, SIDE * SIDE) tensor
        All logits of these, row by row.
    """

    samples: Tensor
    tokens: Tensor
    near: Tensor
    logits: Tensor

    def fill(self, images: NDArray[np.float32], wanted: Tensor) -> None:
        """Write the wanted masks, (M, K) bool, into images (N, 4 h, 4 w) of their number N."""
        # numpy: after so large a copy torch's threads would wait busily for more
        samples, logits = (part.float().cpu().numpy() for part in (self.samples, self.logits))
        tokens, near, chosen = (part.cpu().numpy() for part in (self.tokens, self.near, wanted))
        height, width = images.shape[1] // SIDE, images.shape[2] // SIDE
        grid = images.reshape(-1, height, SIDE, width, SIDE)
        grid[:] = samples[chosen].reshape(-1, height, 1, width, 1)
        number = np.cumsum(chosen).reshape(chosen.shape) - 1
        prompt, row, column = tokens[:, 0], tokens[:, 1] // width, tokens[:, 1] % width
        for mask in range(chosen.shape[1]):
            there = near[:, mask].nonzero()[0]
            closely = logits[there, mask].reshape(-1, SIDE, SIDE)
            grid[number[prompt[there], mask], row[there], :, column[there]] = closely


def masks_near_outlines(
    mask_decoder: MaskDecoder,
    queries: Tensor,
    image_tokens: Tensor,
    grid: tuple[int, int],
    wanted: Tensor,
) -> MasksNearOutlines:
    """Compute masks from the transformer's output where they may have an outline.

    A token makes SIDE x SIDE logits of a mask. One of them is computed of every token. Where it and
    those of the token's eight neighbours lie beyond `DECIDED`, all on one side, none of the others
    is looked at: an outline would have to come and go between two samples.

    Parameters
    ----------
    mask_decoder : MaskDecoder
    queries, image_tokens, grid
        As for `upscale_masks`.
    wanted : (M, K) bool tensor
        Which of the last K masks of each prompt are wanted.

    Returns
    -------
    MasksNearOutlines
    """
    n_masks = mask_decoder.num_mask_tokens
    hyper = _hypernetworks(mask_decoder, queries, range(n_masks - wanted.shape[1], n_masks))
    # two dimensions: ONNX Runtime then makes one step of product, offset and activation
    sampled = _sampled(mask_decoder, image_tokens.flatten(0, 1))
    # said in full, and so below: nothing can be inferred where no prompt is left
    sampled = sampled.view(*image_tokens.shape[:2], hyper.shape[-1])
    samples = hyper @ sampled.transpose(1, 2)
    images = samples.unflatten(-1, grid)
    highest, lowest = (sign * F.max_pool2d(sign * images, 3, 1, 1) for sign in (1, -1))
    undecided = ((highest > -DECIDED) & (lowest < DECIDED)).view(samples.shape)
    # what other masks are wanted changes none
    near = (undecided & wanted.unsqueeze(-1)).transpose(1, 2)
    tokens = near.any(dim=2).nonzero()
    prompt, number = tokens[:, 0], tokens[:, 1]
    features = _upscaled(mask_decoder, image_tokens[prompt, number])
    logits = hyper[prompt] @ features.transpose(1, 2)
    return MasksNearOutlines(samples, tokens, near[prompt, number], logits)


def decode_points(
    mask_decoder: MaskDecoder,
    image_embedding: Tensor,
    dense_pe: Tensor,
    dense_prompt: Tensor,
    sparse: Tensor,
    floor: Tensor,
) -> tuple[Tensor, MasksNearOutlines]:
    """Decode prompts on one image: the masks that SAM gives for points, all but the single one.

    Parameters
    ----------
    mask_decoder, image_embedding, dense_pe, dense_prompt, sparse
        As for `predict_masks`, of one image.
    floor : () tensor
        Masks are wanted whose predicted IoU is above it.

    Returns
    -------
    iou_pred : (P, n_masks - 1) tensor
    masks : MasksNearOutlines
        Of the M prompts of which any mask is wanted.
    """
    grid = (image_embedding.shape[-2], image_embedding.shape[-1])
    queries, image_tokens = run_transformer(
        mask_decoder, image_embedding, dense_pe, dense_prompt, sparse
    )
    iou_pred = mask_decoder.iou_prediction_head(queries[:, 0])[:, 1:].float()
    wanted = iou_pred > floor
    prompts = wanted.any(dim=1).nonzero()[:, 0]
    masks = masks_near_outlines(
        mask_decoder, queries[prompts], image_tokens[prompts], grid, wanted[prompts]
    )
    return iou_pred, masks


def _hypernetworks(mask_decoder: MaskDecoder, queries: Tensor, masks: range) -> Tensor:
    """What the features of a pixel are multiplied with for each of these masks: (M, K, C / 8)."""
    heads = mask_decoder.output_hypernetworks_mlps
    return torch.stack([heads[mask](queries[:, 1 + mask]) for mask in masks], dim=1)


def _upscaled(mask_decoder: MaskDecoder, tokens: Tensor) -> Tensor:
    """Features of all pixels of each token (..., C), row by row: (..., SIDE * SIDE, C / 8).

    A transposed convolution of kernel and stride 2 is a linear map from one token to its 2x2
    children, so that the whole upscaling stays a matrix product with the channels last.
    """
    first, norm, activation, second, last_activation = mask_decoder.output_upscaling
    children = _children(tokens.reshape(-1, tokens.shape[-1]), first)
    children = children.reshape(-1, first.weight.shape[1])
    children = F.layer_norm(children, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    # before they are told apart: ONNX Runtime then makes one step of product and activation
    features = last_activation(_children(activation(children), second))
    # (child row, child column) x (grandchild row, grandchild column)
    rows = features.reshape(-1, 2, 2, 2, 2, second.weight.shape[1]).transpose(2, 3)
    return rows.reshape(*tokens.shape[:-1], SIDE * SIDE, second.weight.shape[1])


def _sampled(mask_decoder: MaskDecoder, tokens: Tensor) -> Tensor:
    """Features of one pixel, row 1 and column 2, of each token (N, C): (N, C / 8)."""
    first, norm, activation, second, last_activation = mask_decoder.output_upscaling
    child = F.linear(tokens, first.weight[:, :, 0, 1].T, first.bias)
    child = F.layer_norm(child, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    return last_activation(F.linear(activation(child), second.weight[:, :, 1, 0].T, second.bias))


def _children(tokens: Tensor, layer: torch.nn.ConvTranspose2d) -> Tensor:
    """Apply a 2x2 transposed convolution to tokens (N, C): (N, 4 C'), row-major children."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    bias = None if layer.bias is None else layer.bias.repeat(4)
    return F.linear(tokens, weight, bias)
