"""What the embedded SAM is trained by: masks, their predicted IoU, and dense auxiliary maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST_AREA = 8.0
AUXILIARY_MAPS = 4  # foreground, boundary, offset x and y to the instance's centroid
AUXILIARY_UPSCALING = 4
OFFSET_SCALE = 8.0  # px of the map per unit of the offset regression


@dataclass(frozen=True)
class MaskLosses:
    """Scalars of one step; `best_iou` and `selected_iou` are for the log."""

    mask: Tensor
    iou: Tensor
    best_iou: Tensor
    selected_iou: Tensor


def mask_losses(logits: Tensor, iou_pred: Tensor, target: Tensor, weight: Tensor) -> MaskLosses:
    """Judge all masks of M prompts.

    A prompt's best of the three masks learns, the others a little (so that none dies), and the
    single-mask token for itself.

    Parameters
    ----------
    logits : (M, 4, h, w) tensor
    iou_pred : (M, 4) tensor
    target : (M, h, w) tensor
        Soft masks in [0, 1]; empty for a background prompt.
    weight : (M,) tensor
        Of each prompt in the IoU loss.

    Returns
    -------
    MaskLosses
    """
    per_mask = _normalised_bce(logits, target) + dice(logits, target)
    is_object = (target.flatten(1).amax(dim=1) > 0).float()
    objects = is_object.sum().clamp_min(1)
    multi = per_mask[:, 1:]
    per_prompt = multi.amin(dim=1) + 0.1 * multi.mean(dim=1) + 0.4 * per_mask[:, 0]
    true_iou = mask_iou(logits, target)
    iou_error = F.smooth_l1_loss(iou_pred, true_iou, reduction="none", beta=0.1).mean(dim=1)
    selected = true_iou[:, 1:].gather(1, iou_pred[:, 1:].argmax(dim=1, keepdim=True))[:, 0]
    return MaskLosses(
        mask=(is_object * per_prompt).sum() / objects,
        iou=(weight * iou_error).sum() / weight.sum().clamp_min(1e-6),
        best_iou=((is_object * true_iou[:, 1:].amax(dim=1)).sum() / objects).detach(),
        selected_iou=((is_object * selected).sum() / objects).detach(),
    )


def _normalised_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Focally weighted binary cross-entropy in units of the object's area: (M, 4).

    The usual focal loss averages over the whole mask: small objects then weigh nothing, and a
    network of this size collapses to empty masks.
    """
    target = target.unsqueeze(1)
    error = F.softplus(logits) - logits * target
    with torch.no_grad():
        probability = logits.sigmoid()
        inside = target * (1 - 0.9 * probability)
        outside = (1 - target) * probability
        area = target.flatten(2).sum(dim=-1).clamp_min(SMALLEST_AREA)
        outside_area = torch.maximum(outside.flatten(2).sum(dim=-1), area)
        inside /= area[..., None, None]
        outside /= outside_area[..., None, None]
        inside += outside
    return (error * inside).flatten(2).sum(dim=-1)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss, (M, 4)."""
    probability = logits.sigmoid().flatten(2)
    target = target.flatten(1)
    shared = torch.einsum("mkn,mn->mk", probability, target)
    total = probability.sum(dim=-1) + target.sum(dim=-1, keepdim=True)
    return 1 - (2 * shared + 1) / (total + 1)


@torch.no_grad()
def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of the thresholded masks with the thresholded target, (M, 4)."""
    found = (logits > 0).flatten(2).float()
    true = (target > 0.5).flatten(1).float()
    shared = torch.einsum("mkn,mn->mk", found, true)
    union = found.sum(dim=-1) + true.sum(dim=-1, keepdim=True) - shared
    return shared / union.clamp_min(1)


class AuxiliaryHead(nn.Module):
    """Foreground, boundary and centroid offsets off the embedding; dropped after training.

    It teaches the encoder every pixel of an image at once where the prompts teach a few instances.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(channels, AUXILIARY_MAPS * AUXILIARY_UPSCALING**2, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, C, h, w) to (B, 4, 4 h, 4 w)."""
        return F.pixel_shuffle(self.maps(embedding), AUXILIARY_UPSCALING)

    def loss(self, embedding: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        """Compare the maps with instance labels.

        Parameters
        ----------
        embedding : (B, C, h, w) tensor
        labels : (B, S, S) tensor
            0 is background.
        valid : (B, S, S) bool tensor
            False on padding.

        Returns
        -------
        scalar tensor
        """
        maps = self(embedding)
        step = labels.shape[-1] // maps.shape[-1]
        labels, valid = labels[:, ::step, ::step], valid[:, ::step, ::step].float()
        foreground = (labels > 0).float()
        on_object = foreground * valid
        offsets = F.smooth_l1_loss(maps[:, 2:], centroid_offsets(labels), reduction="none")
        return (
            _masked_mean(_bce(maps[:, 0], foreground), valid)
            + _masked_mean(_bce(maps[:, 1], boundaries(labels)), valid)
            + _masked_mean(offsets.mean(dim=1), on_object)
        )


def boundaries(labels: Tensor) -> Tensor:
    """1 where a 3x3 neighbourhood holds two labels: (B, h, w) float."""
    padded = F.pad(labels.float().unsqueeze(1), (1, 1, 1, 1), mode="replicate")
    highest, lowest = F.max_pool2d(padded, 3, 1), -F.max_pool2d(-padded, 3, 1)
    return (highest != lowest).squeeze(1).float()


def centroid_offsets(labels: Tensor) -> Tensor:
    """From each pixel to its instance's centroid, (B, 2, h, w), clipped to 4 scales."""
    images, height, width = labels.shape
    span = int(labels.max()) + 1
    index = (labels.long() + torch.arange(images)[:, None, None].to(labels) * span).flatten()
    count = torch.bincount(index, minlength=images * span).clamp_min(1)
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=labels.device),
        torch.arange(width, dtype=torch.float32, device=labels.device),
        indexing="ij",
    )
    offsets = []
    for coordinate in (columns, rows):
        flat = coordinate.expand(images, -1, -1).flatten()
        mean = torch.zeros(images * span, device=labels.device).index_add_(0, index, flat) / count
        offsets.append((mean[index] - flat).view_as(labels) / OFFSET_SCALE)
    return torch.stack(offsets, dim=1).clamp(-4, 4)


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)
