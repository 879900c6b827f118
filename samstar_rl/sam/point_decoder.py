"""Decode the points of a picture: predicted IoU of every mask, logits of those worth having.

On a CPU the folded decoder works through few prompts at a time, so that their image tokens stay in
a core's cache, and on as many such groups at once as torch has threads, each on one thread: for
tensors of this size that is two to three times faster than all threads on one operation. The
groups do not depend on the number of threads, and so neither does any result. ONNX Runtime
computes them there, two to three times as fast as torch and far steadier where other programs
take a core; torch does on other devices, at other precisions, and in the stock arithmetic.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from samstar_rl.errors import SamstarError
from samstar_rl.sam import folded_decoder as decoder
from samstar_rl.sam.backends.onnx_sam import OnnxSam
from samstar_rl.sam.mask_collector import Decoded
from samstar_rl.segmentation.proposals import Floor

if TYPE_CHECKING:
    from samstar_rl.sam.embedding import Embedding

Arithmetic = Literal["folded", "stock"]
Precision = Literal["float32", "bfloat16", "float16"]
Backend = Literal["auto", "torch", "onnxruntime"]

logger = logging.getLogger(__name__)

VIEWS = 8
"""Views encoded together where not every thread encodes one of its own."""

TOKEN_BYTES = 3 << 20
"""Image tokens of the prompts that a core decodes together: what its cache holds."""


@dataclass(frozen=True)
class _Part:
    """What a group of prompts gives.

    Attributes
    ----------
    iou_pred : (P, 3) float tensor
    above : (P, 3) bool tensor
        Which masks are above the floor.
    fill : callable
        Writes the logits of these into images (N, h, w) of their number N.
    """

    iou_pred: Tensor
    above: Tensor
    fill: Callable[[NDArray[np.float32]], object]


@dataclass(frozen=True)
class Decoding:
    """Points that are being decoded, and the (h, w) that logits have."""

    points: NDArray[np.intp]
    size: tuple[int, int]
    parts: Sequence[Callable[[], _Part]]

    def finish(self) -> Decoded:
        """Wait for the masks above the floor."""
        parts = [part() for part in self.parts]
        above = np.concatenate([part.above.cpu().numpy() for part in parts])
        iou_pred = np.concatenate([part.iou_pred.cpu().numpy() for part in parts])
        rows = np.nonzero(above)[0]
        low = np.empty((len(rows), *self.size), dtype=np.float32)
        done = 0
        for part in parts:
            n_masks = int(part.above.sum())
            part.fill(low[done : done + n_masks])
            done += n_masks
        return Decoded(self.points[rows], iou_pred[above], low)


class PointDecoder:
    """Decode points with one SAM.

    Parameters
    ----------
    sam : Sam
    arithmetic : {"folded", "stock"}
    precision : {"float32", "bfloat16", "float16"}
    backend : {"auto", "torch", "onnxruntime"}
        As for `ProposalEngine`.

    Raises
    ------
    SamstarError
        If ONNX Runtime is asked for what only torch does.
    """

    def __init__(
        self, sam: Sam, *, arithmetic: Arithmetic, precision: Precision, backend: Backend = "auto"
    ) -> None:
        self.sam = sam
        self.arithmetic = arithmetic
        self.precision = precision
        self._resize = ResizeLongestSide(sam.image_encoder.img_size)
        may_be_onnx = (sam.device.type, arithmetic, precision) == ("cpu", "folded", "float32")
        if backend == "onnxruntime" and not may_be_onnx:
            raise SamstarError(
                "backend='onnxruntime' computes on a CPU, in the folded arithmetic and in float32; "
                f"asked for were {sam.device.type}, {arithmetic} and {precision}: take "
                "backend='torch'"
            )
        self._backend_asked_for = backend
        self._exported: OnnxSam | None = None
        self._opening = threading.Lock()
        self.backend: Backend = "onnxruntime" if may_be_onnx and backend != "torch" else "torch"

    @property
    def encodes_beside(self) -> bool:
        """As `ProposalEngine.encodes_beside`."""
        if self.sam.device.type != "cpu":
            return True
        exported = self._onnx
        return exported is not None and exported.encodes and torch.get_num_threads() > 1

    @torch.no_grad()
    def encode(self, picture: NDArray[np.uint8]) -> tuple[Tensor, tuple[int, int]]:
        """Encode a picture (H, W, 3): its features (1, C, h, w), and the size that SAM saw."""
        images, input_size = self._prepared(picture)
        return self._encoded(images), input_size

    @torch.no_grad()
    def encode_many(
        self, pictures: Sequence[NDArray[np.uint8]]
    ) -> list[tuple[Tensor, tuple[int, int]]]:
        """Encode pictures side by side, as `encode` does each."""
        if self._pool is not None and len(pictures) > 1:
            return list(self._pool.map(self.encode, pictures))
        if self.sam.device.type == "cpu":
            return [self.encode(picture) for picture in pictures]
        prepared = [self._prepared(picture) for picture in pictures]
        features = [
            self._encoded(torch.cat([images for images, _ in prepared[start : start + VIEWS]]))
            for start in range(0, len(prepared), VIEWS)
        ]
        parts = torch.cat(features).split(1) if features else ()
        return [(part, size) for part, (_, size) in zip(parts, prepared, strict=True)]

    def _prepared(self, picture: NDArray[np.uint8]) -> tuple[Tensor, tuple[int, int]]:
        """A picture as the encoder takes it, (1, 3, S, S), and its size without padding."""
        resized = self._resize.apply_image(picture)
        height, width = resized.shape[:2]
        if self.sam.device.type != "cpu":
            images = torch.as_tensor(resized, device=self.sam.device).permute(2, 0, 1)
            return self.sam.preprocess(images.contiguous()[None]), (height, width)
        side = self.sam.image_encoder.img_size
        padded = np.zeros((1, 3, side, side), dtype=np.float32)
        for channel, levels in enumerate(self._levels):
            padded[0, channel, :height, :width] = levels.take(resized[:, :, channel])
        return torch.from_numpy(padded), (height, width)

    @cached_property
    def _levels(self) -> NDArray[np.float32]:
        """What `Sam.preprocess` makes of each level of a channel, (3, 256).

        To look it up takes a tenth of the time, and wakes none of torch's threads.
        """
        levels = torch.arange(256.0)[None, :, None]
        normalised = (levels - self.sam.pixel_mean) / self.sam.pixel_std
        return np.asarray(normalised[:, :, 0].numpy())

    def _encoded(self, images: Tensor) -> Tensor:
        exported = self._onnx
        if exported is not None and exported.encodes:
            return exported.encode(images)
        with self.autocast():
            return self.sam.image_encoder(images).float()

    def begin(
        self,
        embedding: Embedding,
        points_px: NDArray[np.float64],
        points: NDArray[np.intp],
        floor: Floor,
    ) -> Decoding:
        """Begin to decode a batch; masks below the floor of predicted IoU do not come out.

        Parameters
        ----------
        embedding : Embedding
        points_px : (P, 2) float64 array
            In the picture.
        points : (P,) int array
            What the points are called in `Decoded`.
        floor : Floor

        Returns
        -------
        Decoding
            Whose `finish` waits for the masks.
        """
        height, width = embedding.features.shape[-2:]
        size = decoder.SIDE * height, decoder.SIDE * width
        if self.arithmetic == "stock":
            return Decoding(points, size, [partial(self._stock_part, embedding, points_px, floor)])
        together = len(points)
        if self.sam.device.type == "cpu":
            together = max(1, TOKEN_BYTES // (4 * embedding.features.nelement()))
        parts: list[Callable[[], _Part]] = [
            partial(self._folded_part, embedding, points_px[start : start + together], floor)
            for start in range(0, len(points), together)
        ]
        if self._pool is not None:
            parts = [self._pool.submit(part).result for part in parts]
        return Decoding(points, size, parts)

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which SAM works at the precision asked for."""
        if self.precision == "float32":
            return nullcontext()
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]
        return torch.autocast(self.sam.device.type, dtype=dtype)

    @property
    def _onnx(self) -> OnnxSam | None:
        """The exported networks, made when first asked for; None where torch computes."""
        with self._opening:
            if self.backend == "onnxruntime" and self._exported is None:
                try:
                    self._exported = OnnxSam(self.sam, torch.get_num_threads())
                except Exception as error:  # of the exporter, of ONNX Runtime: a dozen types
                    if self._backend_asked_for == "onnxruntime":
                        raise SamstarError(
                            f"this SAM does not export to ONNX Runtime ({error}): take "
                            "backend='torch'"
                        ) from error
                    logger.warning("torch computes, ONNX Runtime cannot: %s", error)
                    self.backend = "torch"
            return self._exported

    @cached_property
    def _pool(self) -> ThreadPoolExecutor | None:
        """One thread of Python for each of torch's; None where that gains nothing."""
        n_threads = torch.get_num_threads()
        if self.sam.device.type != "cpu" or n_threads == 1:
            return None
        # OpenMP keeps the number of threads for each thread of its own
        return ThreadPoolExecutor(
            n_threads, "samstar-decode", initializer=torch.set_num_threads, initargs=(1,)
        )

    @torch.no_grad()
    def _stock_part(
        self, embedding: Embedding, points_px: NDArray[np.float64], floor: Floor
    ) -> _Part:
        coords = self._input_coords(embedding, points_px)[:, None, :]
        labels = torch.ones(coords.shape[:2], dtype=torch.int, device=coords.device)
        sparse, dense = self.sam.prompt_encoder(points=(coords, labels), boxes=None, masks=None)
        low, iou_pred = self.sam.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self.sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        above = iou_pred > _least(floor)
        return _Part(iou_pred, above, partial(np.copyto, src=low[above].cpu().numpy()))

    @torch.no_grad()
    def _folded_part(
        self, embedding: Embedding, points_px: NDArray[np.float64], floor: Floor
    ) -> _Part:
        # each point, and the padding that SAM adds to it
        coords = self._input_coords(embedding, points_px)
        pairs = torch.stack([coords, torch.zeros_like(coords)], dim=1)
        labels = torch.tensor([1, -1], device=coords.device).expand(len(coords), -1)
        tokens = decoder.point_tokens(self.sam.prompt_encoder, pairs, labels)
        least = _least(floor)
        if (exported := self._onnx) is not None:
            iou_pred, masks = exported.decode(embedding.features, tokens, least)
        else:
            prompt_encoder = self.sam.prompt_encoder
            with self.autocast():
                iou_pred, masks = decoder.decode_points(
                    self.sam.mask_decoder,
                    embedding.features,
                    prompt_encoder.get_dense_pe(),
                    prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1),
                    tokens,
                    torch.tensor(least, device=coords.device),
                )
        above = iou_pred > least
        fill = partial(masks.fill, wanted=above[above.any(dim=1)])
        return _Part(iou_pred, above, fill)

    def _input_coords(self, embedding: Embedding, points_px: NDArray[np.float64]) -> Tensor:
        coords = self._resize.apply_coords(points_px, embedding.picture_size)
        return torch.as_tensor(coords, device=self.sam.device)


def one_ahead(decodings: Iterator[Decoding]) -> Iterator[Decoding]:
    """Begin the next decoding before the last one is handed out, to be collected meanwhile."""
    waiting = next(decodings, None)
    while waiting is not None:
        following = next(decodings, None)
        yield waiting
        waiting = following


def _least(floor: Floor) -> float:
    """Masks are above the floor whose predicted IoU is; the stock generator filters none at 0."""
    return floor.iou_pred if floor.iou_pred > 0 else -math.inf
