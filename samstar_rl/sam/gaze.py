"""Look at a frame prompt by prompt, in the order of their worth, until prompts or budget run out.

`look` is what `ProposalEngine.propose` does for settings with a number of prompts. What it decodes
depends on the frame, the zoom and the model alone; a smaller number of prompts, or a lower budget,
decodes the first ones of a larger one: prompts are taken in batches of a fixed size, and which of
them are skipped depends on earlier batches only. (A last batch that is cut short rounds
differently: predicted IoUs move by about 1e-7.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.sam.mask_collector import Collection, Crop, CropCollector, Decoded
from samstar_rl.sam.prompt_order import SKIPPED_IN_MASKS, PromptPlan
from samstar_rl.sam.upsampling import LogitUpsampler
from samstar_rl.segmentation.proposals import Effort, Floor, StoppedBy

if TYPE_CHECKING:
    from samstar_rl.sam.embedding import Embedding
    from samstar_rl.sam.point_decoder import PointDecoder

BATCH = 32
"""Prompts chosen together."""
SURE_IOU, SURE_STABILITY = 0.88, 0.9
"""Predicted IoU and low-resolution stability from which a mask spares prompts that lie in it ..."""
MOST_OF_VIEW = 0.25
"""... unless it takes more of its view than this: what lies in a background must be looked at."""
SAME_MASK = 0.95
"""Low-resolution IoU above which a mask is the same as an earlier and better one of its view."""

Index = NDArray[np.intp]
Low = NDArray[np.float32]


@dataclass(frozen=True)
class Looked:
    """What `look` found: masks in prompt order, and what they cost."""

    collection: Collection
    prompt_index: NDArray[np.int32]
    effort: Effort


def look(
    plan: PromptPlan,
    open_views: Callable[[Sequence[int]], Sequence[Embedding]],
    decoder: PointDecoder,
    *,
    n_prompts: int,
    view_cost: float,
    cost_limit: float | None,
    floor: Floor,
    offsets: tuple[float, ...],
) -> Looked:
    """Decode the plan's prompts in order.

    Parameters
    ----------
    plan : PromptPlan
    open_views : callable
        Encodes the views of these numbers side by side; called once for each view that is needed.
    decoder : PointDecoder
    n_prompts : int
        To decode at most.
    view_cost : float
        Cost of encoding a view, in prompts.
    cost_limit : float, optional
        The budget: decoding ends before the prompt that would exceed it.
    floor : Floor
        Masks below it are left out.
    offsets : tuple of float
        Stability offsets to compute columns for.

    Returns
    -------
    Looked
    """
    threshold = decoder.sam.mask_threshold
    collection = Collection()
    views = {0: _View(plan, 0, open_views([0])[0], decoder, threshold)}
    waiting: list[Callable[[], None]] = []
    covered = np.zeros(len(plan.xy), dtype=bool)
    decoded: list[int] = []
    costs: list[float] = []
    cost, position = view_cost, 0
    stopped_by: StoppedBy = "n_prompts"
    # What a mask spares must not depend on the caller's floor.
    low_floor = Floor(min(floor.iou_pred, SURE_IOU))
    while len(decoded) < n_prompts:
        # Choose the next prompts; those that lie in masks found before are left out.
        batch, position = _next_batch(plan, covered, position)
        if not batch:
            stopped_by = "nothing left"
            break
        affordable: list[int] = []
        opened = set(views)
        for prompt in batch[: n_prompts - len(decoded)]:
            number = int(plan.view[prompt])
            cost += 1.0 if number in opened else 1.0 + view_cost
            if cost_limit is not None and cost > cost_limit:
                stopped_by = "budget"
                break
            opened.add(number)
            affordable.append(prompt)
            costs.append(cost)
        # Encode what is looked at for the first time, and decode, view by view as they come.
        numbers = plan.view[affordable].tolist()
        unseen = [number for number in dict.fromkeys(numbers) if number not in views]
        for number, embedding in zip(unseen, open_views(unseen), strict=True):
            views[number] = _View(plan, number, embedding, decoder, threshold)
        running = []
        for number, group in groupby(affordable, key=lambda prompt: int(plan.view[prompt])):
            prompts, view = np.array(list(group)), views[number]
            points = view.crop.points_px[prompts]
            running.append((view, decoder.begin(view.embedding, points, prompts, low_floor)))
        # Bring the masks before these to full size meanwhile.
        for collect in waiting:
            collect()
        # Choose what is new, and note which later prompts lie in it.
        waiting = []
        for view, decoding in running:
            masks = decoding.finish()
            view.cover(plan, covered, masks.iou_pred, masks.low, position)
            new = view.seen.new(masks.low > threshold, masks.iou_pred)
            kept = new & ((masks.iou_pred > floor.iou_pred) | (floor.iou_pred <= 0))
            chosen = np.flatnonzero(kept)
            waiting.append(partial(view.collect, collection, masks, chosen, floor, offsets))
        decoded += affordable
        if stopped_by == "budget":
            break
    for collect in waiting:
        collect()
    rank = np.full(len(plan.xy), -1, dtype=np.int32)
    rank[decoded] = np.arange(len(decoded))
    effort = Effort(
        np.array(costs, dtype=np.float64),
        plan.view[decoded].astype(np.int32),
        view_cost,
        len(plan.boxes) - 1,
        stopped_by,
        cost_limit,
    )
    return Looked(collection, rank[np.array(collection.point, dtype=np.intp)], effort)


def _next_batch(
    plan: PromptPlan, covered: NDArray[np.bool_], position: int
) -> tuple[list[int], int]:
    """The next prompts that are not spared, and where the search for others goes on."""
    batch: list[int] = []
    while position < len(plan.xy) and len(batch) < BATCH:
        if not (covered[position] and plan.stage[position] in SKIPPED_IN_MASKS):
            batch.append(position)
        position += 1
    return batch, position


class _View:
    """An encoded view, by its number in the plan, with all that its masks need."""

    def __init__(
        self,
        plan: PromptPlan,
        number: int,
        embedding: Embedding,
        decoder: PointDecoder,
        threshold: float,
    ) -> None:
        x0, y0, x1, y1 = plan.boxes[number].tolist()
        self.embedding = embedding
        self.crop = Crop(number, (x0, y0, x1, y1), plan.xy - [x0, y0])
        self.seen = SeenMasks()
        self._threshold = threshold
        self._stock = decoder.arithmetic == "stock"
        self._upsampler = LogitUpsampler(decoder.sam, embedding.input_size, embedding.picture_size)
        self._input_side = decoder.sam.image_encoder.img_size

    def cover(
        self,
        plan: PromptPlan,
        covered: NDArray[np.bool_],
        iou_pred: NDArray[np.float32],
        low: Low,
        position: int,
    ) -> None:
        """Mark the plan's prompts from `position` on that lie in masks that are sure."""
        later = position + np.flatnonzero(~covered[position:])
        x, y = self.crop.points_px[later].T
        height, width = self.embedding.picture_size
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        later, x, y = later[inside], x[inside], y[inside]
        if len(later) == 0 or len(low) == 0:
            return
        high = _areas(_packed(low > self._threshold + 1))
        wide = np.maximum(_areas(_packed(low > self._threshold - 1)), 1)
        sure = (iou_pred >= SURE_IOU) & (high / wide >= SURE_STABILITY)
        seen = np.prod([side / self._input_side for side in self.embedding.input_size])
        sure &= high < MOST_OF_VIEW * seen * low.shape[1] * low.shape[2]
        # pixels of the logits, which span the padded input
        pitch = self._input_side / low.shape[1]
        rows = (y * self.embedding.input_size[0] / height / pitch).astype(np.intp)
        columns = (x * self.embedding.input_size[1] / width / pitch).astype(np.intp)
        there = low[np.flatnonzero(sure)[:, None], rows, columns]
        covered[later] = (there > self._threshold).any(axis=0)

    def collect(
        self,
        collection: Collection,
        masks: Decoded,
        chosen: Index,
        floor: Floor,
        offsets: tuple[float, ...],
    ) -> None:
        """Bring the chosen masks to full size and keep them."""
        if len(chosen) == 0:
            return
        collector = CropCollector(
            collection,
            self.crop,
            self._upsampler,
            threshold=self._threshold,
            offsets=offsets,
            floor=floor,
            stock=self._stock,
        )
        # most often all of them
        low = masks.low if len(chosen) == len(masks.low) else masks.low[chosen]
        collector.collect(Decoded(masks.point[chosen], masks.iou_pred[chosen], low))


class SeenMasks:
    """The masks of one view at low resolution, to tell new ones from copies."""

    def __init__(self) -> None:
        self._bits: list[NDArray[np.uint64]] = []
        self._areas: list[int] = []
        self._iou_pred: list[float] = []

    def new(self, masks: NDArray[np.bool_], iou_pred: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which masks are no copies of earlier and better ones; these are remembered.

        Parameters
        ----------
        masks : (N, h, w) bool array
            In their order, h * w a multiple of 64.
        iou_pred : (N,) float32 array

        Returns
        -------
        (N,) bool array
        """
        if len(masks) == 0:
            return np.zeros(0, dtype=bool)
        bits = _packed(masks)
        areas = _areas(bits)
        first = len(self._bits)
        known = np.array(self._bits + list(bits)).reshape(-1, bits.shape[1])
        known_areas = np.array(self._areas + areas.tolist())
        known_iou = np.array(self._iou_pred + iou_pred.tolist())
        is_new = np.ones(len(masks), dtype=bool)
        remembered = np.ones(len(known), dtype=bool)
        for k in range(len(masks)):
            # IoU is at most the ratio of the areas: few are left to compare
            ratio = np.minimum(areas[k], known_areas[: first + k]) > SAME_MASK * np.maximum(
                areas[k], known_areas[: first + k]
            )
            near = np.flatnonzero(
                ratio & remembered[: first + k] & (known_iou[: first + k] >= known_iou[first + k])
            )
            shared = _areas(known[near] & bits[k])
            if (shared > SAME_MASK * (known_areas[near] + areas[k] - shared)).any():
                is_new[k] = remembered[first + k] = False
        for k in np.flatnonzero(is_new).tolist():
            self._bits.append(bits[k])
            self._areas.append(int(areas[k]))
            self._iou_pred.append(float(iou_pred[k]))
        return is_new


def _packed(masks: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Masks (N, h, w), h * w a multiple of 64, a bit a pixel: (N, h w / 64)."""
    return np.packbits(masks).view(np.uint64).reshape(len(masks), -1)


def _areas(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Pixels that are set of each mask, (N,)."""
    return np.asarray(np.bitwise_count(bits).sum(axis=1, dtype=np.int64))
