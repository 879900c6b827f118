"""A SAM for tests of everything behind the decoder: instant, and rich in awkward masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from samstar_rl.sam.architectures.tiny import TinySamConfig, build_tiny_sam


class BlobDecoder(nn.Module):
    """Stands in for a mask decoder: rippled blobs somewhere near each point.

    The masks have holes and islands, are often alike, sometimes empty or everything; predicted IoUs
    are multiples of 1/32, so that they tie with one another and with thresholds.
    """

    n_parameters = 7

    def __init__(self, channels: int, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(channels, 3 * self.n_parameters, generator=generator)
        self.weight = nn.Parameter(weight / channels**0.5)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        height, width = (4 * size for size in image_embeddings.shape[-2:])
        codes = sparse_prompt_embeddings[:, 0] + image_embeddings.mean(dim=(2, 3))
        codes = (codes @ self.weight).unflatten(1, (3, self.n_parameters))[..., None, None]
        iou, centre_x, centre_y, radius, ripple, turn, shift = (
            codes[:, :, k] for k in range(self.n_parameters)
        )
        y = torch.linspace(-1, 1, height)[:, None]
        x = torch.linspace(-1, 1, width)
        distance = (x - 1.2 * centre_x.tanh()) ** 2 + (y - 1.2 * centre_y.tanh()) ** 2
        waves = torch.sin(14 * (x * turn.cos() + y * turn.sin())) * torch.cos(9 * y + shift)
        logits = 6 * (0.1 + 0.8 * radius.sigmoid() ** 2 - distance) + 3 * ripple * waves
        iou_pred = (torch.sigmoid(2 * iou[..., 0, 0]) * 32).round() / 32
        return logits, iou_pred


def build_blob_sam(seed: int = 0):
    config = TinySamConfig(
        image_size=64,
        channels=16,
        widths=(8, 8, 16, 16, 16),
        depths=(1, 1, 1, 1),
        heads=2,
        mlp_channels=16,
    )
    sam = build_tiny_sam(config, seed=seed)
    sam.mask_decoder = BlobDecoder(config.channels, seed=seed)
    return sam


@pytest.fixture(scope="session")
def blob_sam():
    return build_blob_sam()
