"""SAM's mask decoder for many prompts at once, with the image-side projections folded away.

`segment_anything.modeling.MaskDecoder` repeats the image embedding for every prompt and projects
all its tokens to keys, queries and values of each attention. A prompt has only a handful of tokens,
so it is far cheaper to carry the projections over to their side:

    softmax((q Wq) (x Wk)^T) (x Wv) = softmax(((q Wq) Wk^T) x^T) x Wv

with the image tokens ``x`` untouched. The results equal the stock decoder's up to float rounding
(about 1e-5 on the logits); the weights are the stock module's own, so any SAM can be decoded so.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor
from torch.nn import functional as F


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
    queries : (B * P, 1 + n_masks + T, C) tensor
        IoU token, mask tokens, prompt tokens.
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
    attended = tokens_to_image(
        transformer.final_attn_token_to_image, queries + query_pe, image_tokens, image_pe
    )
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
    key_weight = attention.k_proj.weight.unflatten(0, (heads, -1))
    folded = torch.einsum("mthd,hdc->mhtc", per_head * per_head.shape[-1] ** -0.5, key_weight)
    folded = folded.reshape(images, -1, channels)
    weights = (folded @ (image_tokens + image_pe).transpose(1, 2)).softmax(dim=-1)
    context = (weights @ image_tokens).view(prompts, heads, tokens, channels)
    value_weight = attention.v_proj.weight.unflatten(0, (heads, -1))
    values = torch.einsum("mhtc,hdc->mthd", context, value_weight).flatten(2)
    return attention.out_proj(values + attention.v_proj.bias)


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
    query_weight = attention.q_proj.weight.unflatten(0, (heads, -1))
    query_bias = attention.q_proj.bias.unflatten(0, (heads, -1))
    folded = torch.einsum("mthd,hdc->mhtc", per_head, query_weight)
    offset = torch.einsum("mthd,hd->mht", per_head, query_bias)
    scores = folded.reshape(images, -1, channels) @ (image_tokens + image_pe).transpose(1, 2)
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
    mask_decoder: MaskDecoder,
    queries: Tensor,
    image_tokens: Tensor,
    grid: tuple[int, int],
    chosen: Tensor | None = None,
) -> Tensor:
    """Compute masks from the transformer's output.

    A transposed convolution of kernel and stride 2 is a linear map from one token to its 2x2
    children, so that the whole upscaling stays a matrix product with the channels last.

    Parameters
    ----------
    mask_decoder : MaskDecoder
    queries : (M, 1 + n_masks + T, C) tensor
    image_tokens : (M, h * w, C) tensor
    grid : tuple of int
        h and w.
    chosen : (K,) int tensor, optional
        Numbers of the masks wanted, counted through all M * n_masks; by default all.

    Returns
    -------
    (M, n_masks, 4 h, 4 w) or (K, 4 h, 4 w) tensor
        Logits.
    """
    logits = mask_logits(mask_decoder, queries, image_tokens)
    if chosen is not None:
        return arrange_children(logits.flatten(0, 1)[chosen], grid)
    return arrange_children(logits, grid)


def mask_logits(mask_decoder: MaskDecoder, queries: Tensor, image_tokens: Tensor) -> Tensor:
    """Compute the logits of `upscale_masks` in the order of tokens and children.

    Parameters
    ----------
    mask_decoder : MaskDecoder
    queries, image_tokens : Tensor
        As for `upscale_masks`.

    Returns
    -------
    (M, n_masks, 16 h w) tensor
    """
    prompts, _, channels = image_tokens.shape
    first, norm, activation, second, last_activation = mask_decoder.output_upscaling
    children = _children(image_tokens.reshape(-1, channels), first)
    children = children.reshape(-1, first.weight.shape[1])
    children = F.layer_norm(children, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    # before they are told apart: ONNX Runtime then makes one step of product and activation
    features = last_activation(_children(activation(children), second))
    hyper = torch.stack(
        [
            head(queries[:, 1 + token])
            for token, head in enumerate(mask_decoder.output_hypernetworks_mlps)
        ],
        dim=1,
    )
    return hyper @ features.reshape(prompts, -1, hyper.shape[-1]).transpose(1, 2)


def arrange_children(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """Logits (..., 16 h w) in the order of tokens and children as images (..., 4 h, 4 w)."""
    height, width = grid
    # (row, column) x (child row, child column) x (grandchild row, grandchild column)
    images = logits.reshape(-1, height, width, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    return images.reshape(*logits.shape[:-1], 4 * height, 4 * width)


def _children(tokens: Tensor, layer: torch.nn.ConvTranspose2d) -> Tensor:
    """Apply a 2x2 transposed convolution to tokens (N, C): (N, 4 C'), row-major children."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    bias = None if layer.bias is None else layer.bias.repeat(4)
    return F.linear(tokens, weight, bias)
