"""SAM by ONNX Runtime on a CPU: the folded decoder of any SAM, the encoder of the embedded one.

The sums are those of the folded decoder in yet another order: logits are within 1e-3 of torch's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor, nn

from samstar_rl._io.onnx_export import open_session
from samstar_rl.sam import folded_decoder
from samstar_rl.sam.architectures.tiny import PyramidEncoder

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

VERSION = 2
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
        self._grid = grid
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
        }
        decoded = ["iou_pred", "queries", "tokens"]
        self._transformer = open_session(
            _Transformer(sam),
            VERSION,
            prompts,
            decoded,
            varying={name: [0] for name in ["points", *decoded]},
        )
        masks = {
            "queries": torch.zeros(2, 3 + decoder.num_mask_tokens, channels),
            "tokens": torch.zeros(2, grid[0] * grid[1], channels),
            "chosen": torch.tensor([1, 3, 4]),
        }
        self._upscaler = open_session(
            _Upscaler(decoder),
            VERSION,
            masks,
            ["logits"],
            varying={name: [0] for name in [*masks, "logits"]},
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

    def transform(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the two-way transformer.

        Parameters
        ----------
        features : (1, C, h, w) tensor
        points : (P, 2, C) tensor
            Prompt tokens.

        Returns
        -------
        iou_pred : (P, 3) tensor
        queries : (P, 7, C) tensor
        tokens : (P, h * w, C) tensor
        """
        given = {"features": features.numpy(), "points": points.numpy()}
        iou_pred, queries, tokens = map(torch.from_numpy, self._transformer.run(None, given))
        return iou_pred, queries, tokens

    def upscale(self, queries: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
        """Compute masks from what `transform` gives, as `folded_decoder.upscale_masks` does.

        Parameters
        ----------
        queries : (P, 7, C) tensor
        tokens : (P, h * w, C) tensor
        chosen : (K,) int tensor
            Numbers of the masks wanted, counted through all 4 P.

        Returns
        -------
        (K, 4 h, 4 w) tensor
            Logits.
        """
        given = {"queries": queries.numpy(), "tokens": tokens.numpy(), "chosen": chosen.numpy()}
        (logits,) = self._upscaler.run(None, given)
        # As `folded_decoder.arrange_children`. Two columns of grandchildren stay side by side:
        # moved as one number, that takes a third of the time.
        height, width = self._grid
        pairs = torch.from_numpy(logits).reshape(-1, height, width, 2, 2, 2, 2)
        images = torch.view_as_complex(pairs).permute(0, 1, 3, 5, 2, 4).contiguous()
        return torch.view_as_real(images).reshape(-1, 4 * height, 4 * width)


class _Transformer(nn.Module):
    position: Tensor
    no_mask: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.decoder = sam.mask_decoder
        self.register_buffer("position", sam.prompt_encoder.get_dense_pe().detach().clone())
        no_mask = sam.prompt_encoder.no_mask_embed.weight.detach().clone()
        self.register_buffer("no_mask", no_mask.reshape(1, -1, 1, 1))

    def forward(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, tokens = folded_decoder.run_transformer(
            self.decoder, features, self.position, self.no_mask, points
        )
        return self.decoder.iou_prediction_head(queries[:, 0])[:, 1:], queries, tokens


class _Upscaler(nn.Module):
    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, queries: Tensor, tokens: Tensor, chosen: Tensor) -> Tensor:
        return folded_decoder.mask_logits(self.decoder, queries, tokens).flatten(0, 1)[chosen]
