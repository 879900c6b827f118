"""Fit what predicts the IoU of a SAM's masks anew, on frames that the SAM was not trained on.

A network of few frames comes to know them by heart, and the head that predicts the IoU of its
masks learned on those: on others it trusts them too much. The head is three small layers on one
token of each prompt, so that it is fitted in seconds once the tokens are there; no mask changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F

from samstar_rl.fitting.samples import network_input
from samstar_rl.sam.folded_decoder import point_tokens, run_transformer, upscale_masks

EPOCHS, BATCH_SIZE = 12, 256
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.05
#: Errors below this weigh by their square, others as they are: what counts is their mean.
BETA = 0.05


@dataclass(frozen=True, eq=False)
class IouSamples:
    """Prompts, as the head sees them.

    Parameters
    ----------
    tokens : (K, C) float tensor
        What the decoder's IoU token has become.
    true_iou : (K, n_masks) float tensor
        Of all masks with the instance at the prompt, at the size of SAM's input; 0 on background.
    weight : (K,) float tensor
    """

    tokens: Tensor
    true_iou: Tensor
    weight: Tensor


@torch.no_grad()
def iou_samples(sam: Sam, batches: Iterable[dict[str, Tensor]]) -> IouSamples:
    """Decode the prompts of batches as `BatchDataset` gives them.

    Parameters
    ----------
    sam : Sam
        In evaluation mode, on the CPU.
    batches : iterable of dict

    Returns
    -------
    IouSamples
    """
    prompt_encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    tokens, true_iou, weight = [], [], []
    for batch in batches:
        images, valid = network_input(sam, batch)
        prompts = batch["coords_px"].flatten(0, 1), batch["prompt_labels"].flatten(0, 1)
        queries, image_tokens = run_transformer(
            decoder,
            sam.image_encoder(images),
            prompt_encoder.get_dense_pe(),
            prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1),
            point_tokens(prompt_encoder, *prompts),
        )
        logits = upscale_masks(decoder, queries, image_tokens, prompt_encoder.image_embedding_size)
        found = F.interpolate(logits, valid.shape[-2:], mode="bilinear", align_corners=False) > 0
        found &= valid.repeat_interleave(batch["instance"].shape[1], dim=0).unsqueeze(1)
        truth = batch["labels"].unsqueeze(1) == batch["instance"][:, :, None, None]
        truth = truth.flatten(0, 1).unsqueeze(1)
        shared, union = (one.flatten(2).sum(dim=-1) for one in (found & truth, found | truth))
        tokens.append(queries[:, 0])
        true_iou.append(shared / union.clamp_min(1))
        weight.append(batch["weight"].flatten())
    return IouSamples(torch.cat(tokens), torch.cat(true_iou), torch.cat(weight))


def fit_iou_head(sam: Sam, samples: IouSamples, *, seed: int = 0) -> None:
    """Fit the head to samples, in place, from the weights that it has.

    Parameters
    ----------
    sam : Sam
    samples : IouSamples
        Of frames that the SAM was not trained on.
    seed : int
        Of the order of the samples.
    """
    head = sam.mask_decoder.iou_prediction_head
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    n_batches = -(-len(samples.tokens) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=EPOCHS * n_batches, pct_start=0.1
    )
    for _ in range(EPOCHS):
        order = torch.randperm(len(samples.tokens), generator=generator)
        for batch in order.tensor_split(n_batches):
            found, true = head(samples.tokens[batch]), samples.true_iou[batch]
            error = F.smooth_l1_loss(found, true, reduction="none", beta=BETA).mean(dim=1)
            weight = samples.weight[batch]
            loss = (weight * error).sum() / weight.sum().clamp_min(1e-6)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
