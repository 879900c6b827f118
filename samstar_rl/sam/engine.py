"""From a frame and prompt settings to proposals: every mask SAM returns, before any filter.

The order of the proposals is the stock generator's: crop by crop, point by point, three masks a
point. Whatever filters later needs no SAM any more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.amg import build_point_grid, generate_crop_boxes

from samstar_rl.errors import SamstarError
from samstar_rl.foreground.network import LazyMaps
from samstar_rl.frames.frame import Frame
from samstar_rl.frames.intensity import unit_to_rgb
from samstar_rl.masks.particle_table import Scene
from samstar_rl.sam.device import choose_device
from samstar_rl.sam.embedding import Embedding
from samstar_rl.sam.gaze import Looked, look
from samstar_rl.sam.mask_collector import Collection, Crop, CropCollector
from samstar_rl.sam.point_decoder import Arithmetic, Backend, PointDecoder, Precision, one_ahead
from samstar_rl.sam.prompt_order import PromptPlan, plan_prompts
from samstar_rl.sam.upsampling import LogitUpsampler
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.segmentation.proposals import Effort, Floor, Proposals, ProposalsError
from samstar_rl.settings import STABILITY_OFFSETS, PromptSettings, Settings

if TYPE_CHECKING:
    from samstar_rl.evidence.frame_evidence import FrameEvidence
    from samstar_rl.segmentation.segmentation import Segmentation

__all__ = ["Embedding", "Floor", "ProposalEngine", "Proposals", "ProposalsError"]

RGB = NDArray[np.uint8]

VIEW_COSTS = {"tiny": 36.0, "vit_t": 21.0, "vit_b": 268.0, "vit_l": 824.0, "vit_h": 1645.0}
"""What encoding a view costs, in prompts decoded. Of the embedded SAM the ratio of their times, 57
to 1.6 ms; of the others that of their operations, as torch's FlopCounterMode counts them in the
encoder and, for a prompt, in the stock decoder."""


class ProposalEngine:
    """Turn frames into proposals with one SAM.

    Parameters
    ----------
    sam : Sam
    device : str
        Where SAM works, "cpu" or "cuda".
    precision : {"float32", "bfloat16", "float16"}
        Of the two-way transformer and the encoder. Other than float32 the results are inexact; the
        benchmark prints by how much.
    arithmetic : {"folded", "stock"}
        "stock" decodes and upsamples exactly as the stock generator does and gives its masks pixel
        for pixel; "folded" computes the same sums in another order, with less work: logits
        move by about 1e-5, so that rare single pixels on a mask's rim may flip. Far from a mask's
        outline one logit stands for 16 (`folded_decoder.masks_near_outlines`).
    points_per_batch : int
        Prompts decoded together.
    backend : {"auto", "torch", "onnxruntime"}
        What computes. ONNX Runtime works on CPUs, in the folded arithmetic and in float32, where it
        is faster and steadier, logits being within 1e-3 of torch's; networks are exported at their
        first use and kept in the user's cache. "auto" takes it wherever it works.

    Raises
    ------
    SamstarError
        For an unknown option, or one that the stock arithmetic does not have.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
        arithmetic: Arithmetic = "folded",
        points_per_batch: int = 64,
        backend: Backend = "auto",
    ) -> None:
        for name, given, allowed in (
            ("precision", precision, get_args(Precision)),
            ("arithmetic", arithmetic, get_args(Arithmetic)),
            ("backend", backend, get_args(Backend)),
        ):
            if given not in allowed:
                raise SamstarError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")
        if points_per_batch < 1:
            raise SamstarError(f"points_per_batch must be at least 1, got {points_per_batch}")
        if arithmetic == "stock" and precision != "float32":
            raise SamstarError(
                f"the stock arithmetic is exact: it takes precision='float32', got {precision!r}"
            )
        self.sam = sam.to(choose_device(device))
        self.precision = precision
        self.arithmetic = arithmetic
        self.points_per_batch = points_per_batch
        self.name: str | None = getattr(sam, "samstar_name", None)
        self.sha256: str | None = getattr(sam, "samstar_sha256", None)
        self.view_cost: float = VIEW_COSTS.get(self.name or "tiny", VIEW_COSTS["vit_b"])
        self._decoder = PointDecoder(
            self.sam, arithmetic=arithmetic, precision=precision, backend=backend
        )

    @property
    def backend(self) -> Backend:
        """What computes: "torch" or "onnxruntime"."""
        return self._decoder.backend

    @property
    def encodes_beside(self) -> bool:
        """Whether encoding a frame beside other work on it makes both ready sooner.

        It does on a GPU, and on a CPU of several cores where ONNX Runtime encodes; torch's threads
        wait for one another when they get no core.
        """
        return self._decoder.encodes_beside

    @torch.no_grad()
    def embed(self, image: Frame | RGB) -> Embedding:
        """Encode a frame, or an (H, W, 3) uint8 picture, in one pass of SAM's encoder."""
        started = time.perf_counter()
        if isinstance(image, Frame):
            scene = Scene(image.image, LazyMaps.of(image).unit)
        elif image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
            scene = Scene(image)
        else:
            raise SamstarError(
                f"expected a Frame or an (H, W, 3) uint8 picture, got {image.dtype} of shape "
                f"{image.shape}: make a Frame of other arrays"
            )
        rgb = _picture_of(image, scene)
        features, input_size = self._decoder.encode(rgb)
        seconds = time.perf_counter() - started
        return Embedding(features, input_size, (rgb.shape[0], rgb.shape[1]), scene, seconds)

    def propose(
        self,
        frame: Frame | RGB,
        prompt: PromptSettings,
        *,
        embedding: Embedding | None = None,
        floor: Floor | None = None,
        offsets: Sequence[float] = STABILITY_OFFSETS,
        point_grids: Sequence[NDArray[np.floating]] | None = None,
        cost_limit: float | None = None,
    ) -> Proposals:
        """Return every mask of the frame for these prompt settings.

        With a number of prompts, copies of earlier and better masks are left out (`gaze.look`).

        Parameters
        ----------
        frame : Frame or (H, W, 3) uint8 array
        prompt : PromptSettings
        embedding : Embedding, optional
            Of the frame, if it was encoded before.
        floor : Floor, optional
            Masks below it are left out, and their computation wherever possible.
        offsets : sequence of float
            Stability offsets to compute columns for.
        point_grids : sequence of (P, 2) arrays, optional
            Points in [0, 1] for each crop layer, instead of regular grids.
        cost_limit : float, optional
            The budget of the frame, in prompts; an encoded view costs `view_cost`. It only limits
            settings with a number of prompts.

        Returns
        -------
        Proposals
        """
        started = time.perf_counter()
        encoded_seconds = embedding.seconds if embedding else 0.0
        embedding = embedding or self.embed(frame)
        looking_from = time.perf_counter()
        floor, columns = floor or Floor(), tuple(float(offset) for offset in offsets)
        collection, n_prompts = Collection(), 0
        prompt_index: NDArray[np.int32] | None = None
        effort: Effort | None = None
        if prompt.n_prompts is not None:
            looked, boxes = self._look(frame, prompt, embedding, floor, columns, cost_limit)
            collection, prompt_index, effort = looked.collection, looked.prompt_index, looked.effort
            n_prompts = len(effort.costs)
        else:
            crops = _crops(embedding.picture_size, prompt, point_grids)
            boxes = np.array([crop.box for crop in crops], dtype=np.int64)
            rgb = _picture_of(frame, embedding.scene) if len(crops) > 1 else None
            for crop in crops:
                view = embedding
                if rgb is not None and crop.index > 0:  # the whole frame is encoded already
                    x0, y0, x1, y1 = crop.box
                    view = self.embed(rgb[y0:y1, x0:x1])
                n_prompts += self._collect(collection, crop, view, floor, columns)
        return Proposals(
            frame_id=frame.id if isinstance(frame, Frame) else "image",
            prompt=prompt,
            offsets=columns,
            floor=floor,
            scene=embedding.scene,
            masks=collection.store(embedding.picture_size),
            iou_pred=np.array(collection.iou_pred, dtype=np.float32),
            stability=np.array(collection.stability, dtype=np.float32).reshape(
                len(collection.stability), len(columns)
            ),
            point_xy=np.array(collection.point_xy, dtype=np.float64).reshape(-1, 2),
            crop_index=np.array(collection.crop_index, dtype=np.int32),
            crop_boxes=boxes,
            n_prompts_decoded=n_prompts,
            view_cost=self.view_cost,
            prompt_index=prompt_index,
            effort=effort,
            seconds=time.perf_counter() - started + encoded_seconds,
            looking_seconds=time.perf_counter() - looking_from,
            pixel_size_nm=frame.pixel_size_nm if isinstance(frame, Frame) else None,
        )

    def segment(
        self,
        frame: Frame | RGB,
        settings: Settings,
        *,
        embedding: Embedding | None = None,
        length_unit_px: float = 1.0,
        evidence: FrameEvidence | None = None,
        point_grids: Sequence[NDArray[np.floating]] | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Segment a live frame: compute no more than these settings keep.

        Masks that the settings will throw away for their predicted IoU are never upscaled, nor are
        the unstable ones measured further.

        Parameters
        ----------
        frame : Frame or (H, W, 3) uint8 array
        settings : Settings
        embedding : Embedding, optional
            Of the frame, if it was encoded before.
        length_unit_px : float
            Length of the task's unit in px.
        evidence : FrameEvidence, optional
            As for `samstar_rl.segmentation.filters.filter_proposals`.
        point_grids : sequence of (P, 2) arrays, optional
            As for `propose`.
        cost_limit : float, optional
            As for `propose`.

        Returns
        -------
        Segmentation
        """
        proposals = self.propose(
            frame,
            settings.prompt,
            embedding=embedding,
            floor=Floor(settings.pred_iou_thresh, settings.stability_score_thresh),
            offsets=(settings.stability_score_offset,),
            point_grids=point_grids,
            cost_limit=cost_limit,
        )
        return filter_proposals(
            proposals, settings, length_unit_px=length_unit_px, evidence=evidence
        )

    def _look(
        self,
        frame: Frame | RGB,
        prompt: PromptSettings,
        embedding: Embedding,
        floor: Floor,
        offsets: tuple[float, ...],
        cost_limit: float | None,
    ) -> tuple[Looked, NDArray[np.int64]]:
        """Decode in prompt order; returns what was found and the boxes of all views."""
        if isinstance(frame, Frame):
            plan = PromptPlan.of(frame, prompt.zoom)
        else:
            plan = plan_prompts(embedding.scene.unit, prompt.zoom)
        rgb = _picture_of(frame, embedding.scene)

        def open_views(numbers: Sequence[int]) -> list[Embedding]:
            if list(numbers) == [0]:
                return [embedding]
            pictures = [
                np.ascontiguousarray(rgb[y0:y1, x0:x1])
                for x0, y0, x1, y1 in plan.boxes[numbers].tolist()
            ]
            started = time.perf_counter()
            encoded = self._decoder.encode_many(pictures)
            seconds = (time.perf_counter() - started) / max(len(pictures), 1)
            return [
                Embedding(features, input_size, picture.shape[:2], Scene(picture), seconds)
                for picture, (features, input_size) in zip(pictures, encoded, strict=True)
            ]

        looked = look(
            plan,
            open_views,
            self._decoder,
            n_prompts=prompt.most_prompts,
            view_cost=self.view_cost,
            cost_limit=cost_limit,
            floor=floor,
            offsets=offsets,
        )
        return looked, plan.boxes

    @torch.no_grad()
    def _collect(
        self,
        collection: Collection,
        crop: Crop,
        embedding: Embedding,
        floor: Floor,
        offsets: tuple[float, ...],
    ) -> int:
        """Decode a crop's points, collect the masks, and return how many points it were."""
        collector = CropCollector(
            collection,
            crop,
            LogitUpsampler(self.sam, embedding.input_size, embedding.picture_size),
            threshold=self.sam.mask_threshold,
            offsets=offsets,
            floor=floor,
            stock=self.arithmetic == "stock",
        )
        n_decoded = 0
        numbers = np.arange(len(crop.points_px))
        begun = (
            self._decoder.begin(embedding, crop.points_px[batch], batch, floor)
            for start in range(0, len(numbers), self.points_per_batch)
            for batch in [numbers[start : start + self.points_per_batch]]
        )
        for decoding in one_ahead(begun):
            collector.collect(decoding.finish())
            n_decoded += len(decoding.points)
        return n_decoded


def _picture_of(image: Frame | RGB, scene: Scene) -> RGB:
    """A frame as SAM takes it, (H, W, 3)."""
    return unit_to_rgb(scene.unit) if isinstance(image, Frame) else image


def _crops(
    shape: tuple[int, int],
    prompt: PromptSettings,
    point_grids: Sequence[NDArray[np.floating]] | None,
) -> list[Crop]:
    """The stock generator's crops, the whole frame first, with their points."""
    boxes, layers = generate_crop_boxes(shape, prompt.crop_n_layers, prompt.crop_overlap_ratio)
    if point_grids is None:
        point_grids = [build_point_grid(side) for side in prompt.points_per_side_by_layer]
    crops = []
    for index, (box, layer) in enumerate(zip(boxes, layers, strict=True)):
        x0, y0, x1, y1 = box
        if x0 >= x1 or y0 >= y1:
            raise SamstarError(
                f"a frame of {shape[1]} x {shape[0]} px is too small for "
                f"{prompt.crop_n_layers} crop layers: lower crop_n_layers"
            )
        # int64 sizes and float64 products, as in the stock generator
        points_px = np.asarray(point_grids[layer] * np.array([[x1 - x0, y1 - y0]]), np.float64)
        crops.append(Crop(index, (x0, y0, x1, y1), points_px))
    return crops
