"""SAM by ONNX Runtime on a CPU: the folded decoder of any SAM, the encoder of the embedded one.

The sums are those of the folded decoder in yet another order: logits are within 1e-3 of torch's
where they are near a mask's outline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from samstar_rl._io.onnx_export import open_session
from samstar_rl.sam import folded_decoder
from samstar_rl.sam.architectures.tiny import PyramidEncoder
from samstar_rl.sam.folded_decoder import MasksNearOutlines

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

VERSION = 3
"""Of what is exported; to be raised with any change of the folded decoder's sums."""


class OnnxSam:
    """The networks of one SAM, exported where they are not in the cache.

    Parameters
    ----------
    sam : Sam
        On the CPU. Weights that change later are not noticed.
    n_threads : int
        That encoding one picture may use; a group of prompts is decoded by the calling thread.
    """

    def __init__(self, sam: Sam, n_threads: int) -> None:
        decoder, grid = sam.mask_decoder, sam.prompt_encoder.image_embedding_size
        channels, side = decoder.transformer_dim, sam.image_encoder.img_size
        self._encoder: InferenceSession | None = None
        # those of other SAMs than the embedded one do not export
        if isinstance(sam.image_encoder, PyramidEncoder):
            self._encoder = open_session(
                sam.image_encoder,
                VERSION,
                {"images": torch.zeros(1, 3, side, side)},
                ["features"],
                varying={"images": [0], "features": [0]},
                n_threads=n_threads,
            )
        prompts = {
            "features": torch.zeros(1, channels, *grid),
            "points": torch.zeros(2, 2, channels),
            "floor": torch.tensor(-torch.inf),
        }
        decoded = ["iou_pred", "samples", "tokens", "near", "logits"]
        self._decoder = open_session(
            _Decoder(sam),
            VERSION,
            prompts,
            decoded,
            varying={name: [0] for name in ["points", *decoded]},
        )

    @property
    def encodes(self) -> bool:
        """Whether the encoder runs here."""
        return self._encoder is not None

    def encode(self, images: Tensor) -> Tensor:
        """Embed normalised images (B, 3, S, S), where this SAM's encoder runs here."""
        assert self._encoder is not None
        (features,) = self._encoder.run(None, {"images": images.numpy()})
        return torch.from_numpy(features)

    def decode(
        self, features: Tensor, points: Tensor, floor: float
    ) -> tuple[Tensor, MasksNearOutlines]:
        """Decode prompts, as `folded_decoder.decode_points` does.

        Parameters
        ----------
        features : (1, C, h, w) tensor
        points : (P, 2, C) tensor
            Prompt tokens.
        floor : float

        Returns
        -------
        iou_pred : (P, 3) tensor
        masks : MasksNearOutlines
        """
        given = {
            "features": features.numpy(),
            "points": points.numpy(),
            "floor": np.array(floor, dtype=np.float32),
        }
        iou_pred, *masks = map(torch.from_numpy, self._decoder.run(None, given))
        return iou_pred, MasksNearOutlines(*masks)


class _Decoder(nn.Module):
    position: Tensor
    no_mask: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.decoder = sam.mask_decoder
        self.register_buffer("position", sam.prompt_encoder.get_dense_pe().detach().clone())
        no_mask = sam.prompt_encoder.no_mask_embed.weight.detach().clone()
        self.register_buffer("no_mask", no_mask.reshape(1, -1, 1, 1))

    def forward(self, features: Tensor, points: Tensor, floor: Tensor) -> tuple[Tensor, ...]:
        iou_pred, masks = folded_decoder.decode_points(
            self.decoder, features, self.position, self.no_mask, points, floor
        )
        return iou_pred, *masks
