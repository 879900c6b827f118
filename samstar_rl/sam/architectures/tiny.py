"""The embedded SAM's network: segment_anything's classes around a small convolutional encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING_STRIDE = 8


@dataclass(frozen=True)
class TinySamConfig:
    """Sizes of the network.

    Parameters
    ----------
    image_size : int
        Side of SAM's square input in px, a multiple of 32.
    channels : int
        Channels of the image embedding and of all tokens.
    widths : tuple of int
        Channels of the encoder at the strides 2, 4, 8, 16 and 32.
    depths : tuple of int
        Residual blocks at the strides 4, 8, 16 and 32.
    decoder_depth, heads, mlp_channels : int
        Of the two-way transformer.
    """

    image_size: int = 256
    channels: int = 96
    widths: tuple[int, int, int, int, int] = (24, 48, 96, 128, 160)
    depths: tuple[int, int, int, int] = (1, 3, 3, 2)
    decoder_depth: int = 2
    heads: int = 4
    mlp_channels: int = 256


def build_tiny_sam(config: TinySamConfig | None = None, *, seed: int = 0) -> Sam:
    """Build the network with random weights of a seed, in evaluation mode.

    Torch's global random state is left as it was.
    """
    config = config or TinySamConfig()
    grid = config.image_size // EMBEDDING_STRIDE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = Sam(
            image_encoder=PyramidEncoder(config),
            prompt_encoder=PromptEncoder(
                embed_dim=config.channels,
                image_embedding_size=(grid, grid),
                input_image_size=(config.image_size, config.image_size),
                mask_in_chans=16,
            ),
            mask_decoder=MaskDecoder(
                transformer_dim=config.channels,
                transformer=TwoWayTransformer(
                    depth=config.decoder_depth,
                    embedding_dim=config.channels,
                    num_heads=config.heads,
                    mlp_dim=config.mlp_channels,
                ),
                num_multimask_outputs=3,
                activation=nn.ReLU,
                iou_head_depth=3,
                iou_head_hidden_dim=128,
            ),
        )
    # the stock Gaussian matrix has one scale, 1; a small decoder learns faster from 0.5 to 4
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    matrix.mul_(torch.logspace(-1, 2, matrix.shape[1], base=2.0)[None])
    # the layout that oneDNN prefers for these convolutions on a CPU
    sam.image_encoder.to(memory_format=torch.channels_last)
    return sam.eval()


class PyramidEncoder(nn.Module):
    """A residual network of strides 2 to 32 with a feature pyramid read out at stride 8.

    Stride-4 features join with their pixels unshuffled into channels, so that the embedding keeps
    the fine edges that the mask decoder's fourfold upscaling needs.
    """

    def __init__(self, config: TinySamConfig) -> None:
        super().__init__()
        self.img_size = config.image_size  # the name by which Sam asks for it
        stem, *stages = config.widths
        channels = config.channels
        self.stem = _convolution(3, stem, stride=2)
        self.stages = nn.ModuleList(
            _stage(before, width, depth)
            for before, width, depth in zip([stem, *stages], stages, config.depths, strict=False)
        )
        self.lateral_4 = nn.Conv2d(stages[0] * 4, channels, 1)
        self.lateral_8 = nn.Conv2d(stages[1], channels, 1)
        self.lateral_16 = nn.Conv2d(stages[2], channels, 1)
        self.lateral_32 = nn.Conv2d(stages[3], channels, 1)
        self.merge_16 = _convolution(channels, channels)
        self.readout = nn.Sequential(
            _convolution(channels, channels), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Embed normalised images (B, 3, S, S): (B, C, S / 8, S / 8)."""
        features = self.stem(image.contiguous(memory_format=torch.channels_last))
        pyramid = []
        for stage in self.stages:
            features = stage(features)
            pyramid.append(features)
        stride_4, stride_8, stride_16, stride_32 = pyramid
        merged = self.merge_16(self.lateral_16(stride_16) + _double(self.lateral_32(stride_32)))
        fine = self.lateral_4(F.pixel_unshuffle(stride_4, 2))
        embedding: Tensor = self.readout(self.lateral_8(stride_8) + fine + _double(merged))
        return embedding


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels, activation=False)
        nn.init.zeros_(self.second.get_parameter("1.weight"))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return F.relu(features + self.second(self.first(features)))


def tie_cross_attentions(sam: Sam) -> None:
    """Start queries and keys of the cross-attentions with equal projections.

    The inner product of two positional encodings then peaks where they agree, so that a prompt
    looks at its own place from the first step on. For training from scratch.
    """
    transformer = sam.mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for block in transformer.layers:
        attentions += [block.cross_attn_token_to_image, block.cross_attn_image_to_token]
    with torch.no_grad():
        for attention in attentions:
            attention.q_proj.weight.mul_(2)
            attention.k_proj.weight.copy_(attention.q_proj.weight)


def _convolution(
    channels_in: int, channels_out: int, *, stride: int = 1, activation: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels_out),
    ]
    if activation:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _stage(channels_in: int, channels_out: int, depth: int) -> nn.Sequential:
    blocks: list[nn.Module] = [ResidualBlock(channels_out) for _ in range(depth)]
    return nn.Sequential(_convolution(channels_in, channels_out, stride=2), *blocks)


def _double(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="nearest")
