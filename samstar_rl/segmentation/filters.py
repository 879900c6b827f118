"""From proposals and settings to a segmentation: SAM's own filters, then the gates.

`filter_proposals` is what training and searches call thousands of times a second. It touches no
pixel that it has seen before: thresholds on sorted arrays, one suppression of boxes, descriptors
and overlaps looked up. What it keeps, and in which order, is exactly what the stock generator
keeps. Duplicates between tiles fall here, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import batched_nms, nms

from samstar_rl.errors import SamstarError
from samstar_rl.masks.particle_table import equivalent_diameters_px
from samstar_rl.segmentation.segmentation import Segmentation

if TYPE_CHECKING:
    from samstar_rl.evidence.frame_evidence import FrameEvidence
    from samstar_rl.masks.store import Ids
    from samstar_rl.segmentation.proposals import Proposals, Ranking
    from samstar_rl.settings import Settings

# above this many boxes torchvision's batched_nms takes another way, whose order may differ
SINGLE_NMS_MAX_BOXES = 1000

PIECE_INSIDE = 0.9
"""Share of a mask of a tile that lies in one of larger context, above which it is its piece."""
PIECES_FILL = 0.5
"""Share of that mask which pieces cover together, above which they are particles."""


class Gauge(TypedDict):
    """What the gates need to know of a frame's sample, as `PhysicsReward.gauge` gives it."""

    length_unit_px: float
    evidence: FrameEvidence


def filter_proposals(
    proposals: Proposals,
    settings: Settings,
    *,
    length_unit_px: float = 1.0,
    evidence: FrameEvidence | None = None,
) -> Segmentation:
    """Choose among a frame's proposals.

    First as the stock generator does: predicted IoU, stability, masks cut by a crop, duplicates
    within each crop, between crops, small regions. Then the gates, and last `max_overlap`: going
    from the best mask to the worst, one is dropped if it shares more than that part of the smaller
    area with a mask kept before. The best is that of the highest predicted IoU; where
    `min_plausibility` is set, so that plausibilities are known, of the highest product of both.

    Parameters
    ----------
    proposals : Proposals
    settings : Settings
    length_unit_px : float
        Length of the task's unit in px, for the gates that are lengths.
    evidence : FrameEvidence, optional
        Of the frame, which says how plausible masks are; only needed for `min_plausibility`.

    Returns
    -------
    Segmentation

    Raises
    ------
    ProposalsError
        If the settings ask for masks or stability offsets that the proposals do not hold.
    SamstarError
        If they set `min_plausibility` and nobody says how plausible masks are.
    """
    proposals.check(settings)
    kept = _select(proposals, settings)
    mask_ids = kept
    if settings.min_mask_region_area > 0 and len(kept):
        kept, mask_ids = _clean_regions(proposals, settings, kept)
    passing = _passing_gates(proposals, settings, mask_ids, length_unit_px)
    if len(passing) < len(kept):
        kept, mask_ids = kept[passing], mask_ids[passing]
    quality: NDArray[np.floating] = proposals.iou_pred[kept]
    if settings.min_plausibility > 0:
        found = Segmentation(proposals.frame_id, settings, proposals, kept, mask_ids)
        if evidence is None:
            raise SamstarError(
                "min_plausibility needs to know the sample: segment with a task, or pass "
                "**PhysicsReward(task).gauge(frame); min_plausibility=0 turns this gate off"
            )
        probability = evidence.likeness(found.table)
        plausible = np.flatnonzero(probability >= settings.min_plausibility)
        kept, mask_ids = kept[plausible], mask_ids[plausible]
        quality = quality[plausible] * probability[plausible]
    if settings.max_overlap < 1 and len(kept) > 1:
        apart = _apart(proposals, settings.max_overlap, mask_ids, quality)
        kept, mask_ids = kept[apart], mask_ids[apart]
    return Segmentation(proposals.frame_id, settings, proposals, kept, mask_ids)


def _select(proposals: Proposals, settings: Settings) -> Ids:
    """Indices of the proposals that pass SAM's filters, in its order."""
    ranking = proposals.ranking
    column = proposals.offset_column(settings.stability_score_offset)
    passing = ranking.whole
    if settings.pred_iou_thresh > 0:
        # comparisons are made in float32, as torch does
        passing = passing & (ranking.iou_pred > np.float32(settings.pred_iou_thresh))
    if settings.stability_score_thresh > 0:
        stability = ranking.stability[column]
        passing = passing & (stability >= np.float32(settings.stability_score_thresh))
    kept = ranking.order[_suppress(ranking, np.flatnonzero(passing), settings.box_nms_thresh)]
    if len(proposals.crop_boxes) == 1:
        return kept
    if settings.n_prompts is None:
        return _suppress_between_crops(proposals, kept, settings.crop_nms_thresh)
    return _without_fragments(
        proposals, _suppress_between_views(proposals, kept, settings.crop_nms_thresh)
    )


def _suppress(ranking: Ranking, ranks: Ids, iou_thresh: float) -> Ids:
    """Non-maximum suppression of boxes within each crop, the stock's `batched_nms` in its order."""
    keep = ranking.suppression.keep(ranks, iou_thresh)
    if len(ranks) <= SINGLE_NMS_MAX_BOXES:
        return keep
    counts = np.diff(np.searchsorted(ranks, ranking.starts))
    for crop in np.flatnonzero(counts > SINGLE_NMS_MAX_BOXES).tolist():
        # batched_nms then sorts once more, unstably: masks of equal score may change places.
        # Its input there is in the order of the proposals, not in ours.
        start, stop = np.searchsorted(keep, ranking.starts[crop : crop + 2])
        of_crop = keep[start:stop]
        in_order = of_crop[np.argsort(ranking.order[of_crop])]
        scores = torch.from_numpy(ranking.iou_pred[in_order])
        keep[start:stop] = in_order[scores.sort(descending=True)[1].numpy()]
    return keep


def _suppress_between_crops(proposals: Proposals, kept: Ids, iou_thresh: float) -> Ids:
    """Masks of small crops are preferred to those of large ones."""
    if len(kept) == 0:
        return kept
    crops = torch.from_numpy(proposals.crop_box[kept])
    areas = (crops[:, 2] - crops[:, 0]) * (crops[:, 3] - crops[:, 1])
    boxes = torch.from_numpy(proposals.box_xyxy[kept]).float()
    keep = batched_nms(boxes, 1 / areas, torch.zeros(len(boxes)), iou_thresh)
    return kept[keep.numpy()]


def _suppress_between_views(proposals: Proposals, kept: Ids, iou_thresh: float) -> Ids:
    """Of masks that agree the one of the larger context stays; in one context, the better one."""
    if len(kept) == 0:
        return kept
    order = np.lexsort((-proposals.iou_pred[kept], -_context_px(proposals, kept)))
    boxes = torch.from_numpy(proposals.box_xyxy[kept[order]]).float()
    falling = torch.arange(len(order), 0, -1, dtype=torch.float32)
    return kept[order[nms(boxes, falling, iou_thresh).numpy()]]


def _without_fragments(proposals: Proposals, kept: Ids) -> Ids:
    """Drop what lies in a mask of larger context, unless such pieces fill that mask.

    A textured sphere looked at closely falls into pieces that cover some of it; an agglomerate into
    particles that cover it.
    """
    context = _context_px(proposals, kept)
    if len(kept) < 2 or context.min() == context.max():
        return kept
    areas = proposals.area_px[kept]
    one, other = proposals.masks.meeting(kept)
    larger = np.where(context[one] > context[other], one, other)
    smaller = np.where(context[one] > context[other], other, one)
    nested = (context[one] != context[other]) & (areas[smaller] < areas[larger])
    larger, smaller = larger[nested], smaller[nested]
    shared = proposals.masks.shared(kept[larger], kept[smaller])
    inside = shared >= PIECE_INSIDE * areas[smaller]
    larger, smaller = larger[inside], smaller[inside]
    filled = np.bincount(larger, areas[smaller], minlength=len(kept)) / np.maximum(areas, 1)
    dropped = smaller[filled[larger] < PIECES_FILL]
    return np.delete(kept, dropped)


def _context_px(proposals: Proposals, kept: Ids) -> NDArray[np.int64]:
    """Area of the view in which each mask was found."""
    views = proposals.crop_box[kept]
    return (views[:, 2] - views[:, 0]) * (views[:, 3] - views[:, 1])


def _clean_regions(proposals: Proposals, settings: Settings, kept: Ids) -> tuple[Ids, Ids]:
    """Fill small holes, remove small islands, and suppress what became a duplicate by it."""
    mask_ids, changed = proposals.regions.clean(kept, settings.min_mask_region_area)
    if not changed.any() and len(kept) <= SINGLE_NMS_MAX_BOXES:
        # no box has changed: nothing to suppress, nothing to reorder
        return kept, mask_ids
    masks = proposals.masks
    inclusive = masks.boxes[mask_ids] - [0, 0, 1, 1]
    boxes = np.where(masks.areas[mask_ids, None] > 0, inclusive, 0).astype(np.float32)
    keep = batched_nms(
        torch.from_numpy(boxes),
        torch.from_numpy((~changed).astype(np.float32)),
        torch.zeros(len(boxes)),
        max(settings.box_nms_thresh, settings.crop_nms_thresh),
    ).numpy()
    return kept[keep], mask_ids[keep]


def _passing_gates(
    proposals: Proposals, settings: Settings, mask_ids: Ids, length_unit_px: float
) -> NDArray[np.intp]:
    """Positions of the masks within the gates.

    Cheap gates come first: descriptors are computed for what passes those.
    """
    least_px, most_px = (d * length_unit_px for d in (settings.min_diameter, settings.max_diameter))
    gates = [
        ("equivalent_diameter_area", least_px, most_px),
        ("aspect_ratio", 0.0, settings.max_aspect_ratio),
        ("circularity", settings.min_circularity, np.inf),
        ("solidity", settings.min_solidity, np.inf),
        ("contrast", settings.min_contrast, np.inf),
    ]
    passing = np.arange(len(mask_ids))
    for name, low, high in gates:
        if not (low > 0 or high < np.inf):
            continue
        ids = mask_ids[passing]
        if name == "equivalent_diameter_area":
            values = equivalent_diameters_px(proposals.masks.areas[ids])
        else:
            values = proposals.descriptors.column(name, ids)
        if name == "contrast":
            values = np.abs(values)
        passing = passing[(values >= low) & (values <= high)]
    return passing


def _apart(
    proposals: Proposals, max_overlap: float, mask_ids: Ids, quality: NDArray[np.floating]
) -> NDArray[np.intp]:
    """Positions of the masks that overlap no better one by more than allowed."""
    ranks = np.argsort(-quality, kind="stable")
    ranked, masks = mask_ids[ranks], proposals.masks
    allowed = max_overlap * np.maximum(masks.areas[ranked], 1)
    first, second = masks.meeting(ranked)
    limits = np.minimum(allowed[first], allowed[second])
    shared = masks.known_shared(ranked[first], ranked[second])
    while True:
        conflicts = np.flatnonzero(shared > limits)
        conflicts = conflicts[np.argsort(first[conflicts], kind="stable")]
        # each that stays drops all worse ones it is at odds with
        stays = [True] * len(ranked)
        better, worse = first[conflicts].tolist(), second[conflicts].tolist()
        for head, other in zip(better, worse, strict=True):
            if stays[head]:
                stays[other] = False
        free = np.array(stays)
        # only pairs of masks that would both stay need counting
        unknown = np.flatnonzero((shared < 0) & free[first] & free[second])
        if len(unknown) == 0:
            return np.sort(ranks[free])
        shared[unknown] = masks.shared(ranked[first[unknown]], ranked[second[unknown]])
