"""MobileSAM's image encoder: TinyViT-5M at 1024 px, with the names of its published weights.

K. Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", ECCV 2022;
C. Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications",
arXiv 2306.14289. Their code is MIT and Apache-2.0; this is written anew after it for inference,
because no package of either is kept on PyPI by its authors. Prompt encoder and mask decoder of
MobileSAM are those of Segment Anything.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE_SIZE = 1024
_STRIDE = 16
_CHANNELS = 256
_WIDTHS = (64, 128, 160, 320)
_DEPTHS = (2, 2, 6, 2)
_HEADS = (2, 4, 5, 10)
_WINDOWS = (7, 7, 14, 7)

UNUSED_WEIGHTS = ("image_encoder.norm_head.", "image_encoder.head.")
"""Prefixes of what the checkpoints hold beside SAM: the classifier that TinyViT began as."""


def build_mobile_sam() -> Sam:
    """Build MobileSAM with random weights, in evaluation mode."""
    grid = IMAGE_SIZE // _STRIDE
    return Sam(
        image_encoder=TinyViT(),
        prompt_encoder=PromptEncoder(
            embed_dim=_CHANNELS,
            image_embedding_size=(grid, grid),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=_CHANNELS,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=_CHANNELS, num_heads=8, mlp_dim=2048
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).eval()


class TinyViT(nn.Module):
    """Convolutions at stride 4, then windowed attention at the strides 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.img_size = IMAGE_SIZE  # the name by which Sam asks for it
        self.patch_embed = PatchEmbedding(_WIDTHS[0])
        self.layers = nn.ModuleList()
        for index, width in enumerate(_WIDTHS):
            blocks: list[nn.Module] = [
                InvertedBottleneck(width)
                if index == 0
                else WindowedBlock(width, _HEADS[index], _WINDOWS[index])
                for _ in range(_DEPTHS[index])
            ]
            # Segment Anything wants stride 16, so that the last merging does not shrink
            last = index + 1 == len(_WIDTHS)
            stride = 1 if index + 2 == len(_WIDTHS) else 2
            merging = None if last else PatchMerging(width, _WIDTHS[index + 1], stride)
            self.layers.append(Stage(blocks, merging))
        self.neck = nn.Sequential(
            nn.Conv2d(_WIDTHS[-1], _CHANNELS, 1, bias=False),
            LayerNorm2d(_CHANNELS),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(_CHANNELS),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Embed normalised images (B, 3, S, S): (B, 256, S / 16, S / 16)."""
        features = self.patch_embed(image)
        for layer in self.layers:
            features = layer(features)
        embedding: Tensor = self.neck(features)
        return embedding


class NormalisedConvolution(nn.Sequential):
    """A convolution without bias and its batch normalisation, named ``c`` and ``bn``."""

    def __init__(
        self, channels_in: int, channels_out: int, size: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d(
            channels_in, channels_out, size, stride, size // 2, groups=groups, bias=False
        )
        self.add_module("c", convolution)
        self.add_module("bn", nn.BatchNorm2d(channels_out))


class PatchEmbedding(nn.Module):
    """Two convolutions of stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            NormalisedConvolution(3, width // 2, 3, stride=2),
            nn.GELU(),
            NormalisedConvolution(width // 2, width, 3, stride=2),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, C, S / 4, S / 4)."""
        features: Tensor = self.seq(image)
        return features


class Stage(nn.Module):
    """Blocks of one resolution and, but for the last stage, the way to the next."""

    def __init__(self, blocks: list[nn.Module], merging: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = merging

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        for block in self.blocks:
            features = block(features)
        return features if self.downsample is None else self.downsample(features)


class InvertedBottleneck(nn.Module):
    """A 1x1, a depthwise 3x3 and a 1x1 convolution beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 4 * width
        self.conv1 = NormalisedConvolution(width, hidden, 1)
        self.conv2 = NormalisedConvolution(hidden, hidden, 3, groups=hidden)
        self.conv3 = NormalisedConvolution(hidden, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        hidden = F.gelu(self.conv2(F.gelu(self.conv1(features))))
        return F.gelu(self.conv3(hidden) + features)


class PatchMerging(nn.Module):
    """From one stage to the next: wider, and at half the resolution where the stride is 2."""

    def __init__(self, width: int, next_width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = NormalisedConvolution(width, next_width, 1)
        self.conv2 = NormalisedConvolution(next_width, next_width, 3, stride, groups=next_width)
        self.conv3 = NormalisedConvolution(next_width, next_width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        merged: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))
        return merged


class WindowedBlock(nn.Module):
    """Attention within windows, a depthwise convolution across their borders, and an MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(width, heads, window)
        self.local_conv = NormalisedConvolution(width, width, 3, groups=width)
        self.mlp = Mlp(width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        features = features + self._attend(features)
        features = self.local_conv(features)
        tokens = features.permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)

    def _attend(self, features: Tensor) -> Tensor:
        batch, channels, height, width = features.shape
        side = self.window
        # the weights were trained with windows that zeros complete below and at the right
        padded = F.pad(features, (0, -width % side, 0, -height % side))
        down, across = padded.shape[2] // side, padded.shape[3] // side
        windows = padded.reshape(batch, channels, down, side, across, side)
        tokens = windows.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, channels)
        attended = self.attn(tokens).reshape(batch, down, across, side, side, channels)
        attended = attended.permute(0, 5, 1, 3, 2, 4).reshape(padded.shape)
        return attended[:, :, :height, :width]


class Attention(nn.Module):
    """Attention among the tokens of a window, with a bias learned for each distance."""

    attention_bias_idxs: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        places = torch.stack([rows.flatten(), columns.flatten()])
        down, across = (places[:, :, None] - places[:, None, :]).abs()
        self.register_buffer("attention_bias_idxs", down * window + across, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (W, N, C), the N tokens of W windows, to the same shape."""
        windows, count, width = tokens.shape
        # a head's query, key and value lie side by side
        mixed = self.qkv(self.norm(tokens)).reshape(windows, count, self.heads, 3, -1)
        query, key, value = mixed.permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self.attention_bias_idxs].to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        projected: Tensor = self.proj(attended.transpose(1, 2).reshape(windows, count, width))
        return projected


class Mlp(nn.Module):
    """Normalisation and two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        mapped: Tensor = self.fc2(F.gelu(self.fc1(self.norm(tokens))))
        return mapped
