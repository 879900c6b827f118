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
from torchvision.ops import batched_nms

from samstar_rl.errors import SamstarError
from samstar_rl.masks.box_nms import standing
from samstar_rl.masks.particle_table import equivalent_diameters_px
from samstar_rl.segmentation.segmentation import Segmentation

if TYPE_CHECKING:
    from samstar_rl.evidence.frame_evidence import FrameEvidence
    from samstar_rl.masks.store import Ids
    from samstar_rl.segmentation.proposals import Proposals, Ranking
    from samstar_rl.segmentation.segmentation import Overlapping
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
    found = Segmentation(proposals.frame_id, settings, proposals, kept, mask_ids)
    if settings.min_plausibility > 0:
        if evidence is None:
            raise SamstarError(
                "min_plausibility needs to know the sample: segment with a task, or pass "
                "**PhysicsReward(task).gauge(frame); min_plausibility=0 turns this gate off"
            )
        probability = evidence.likeness(found.table)
        plausible = (probability >= settings.min_plausibility).nonzero()[0]
        found = found.part(plausible)
        quality = quality[plausible] * probability[plausible]
    if settings.max_overlap < 1 and len(found) > 1:
        apart, overlapping = _apart(proposals, settings.max_overlap, found.mask_ids, quality)
        found = found.part(apart)
        found.__dict__["overlapping"] = overlapping
    return found


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
    kept = ranking.order[_suppress(ranking, passing.nonzero()[0], settings.box_nms_thresh)]
    if len(proposals.crop_boxes) == 1:
        return kept
    if settings.n_prompts is None:
        return _suppress_between_crops(proposals, kept, settings.crop_nms_thresh)
    return _suppress_between_views(proposals, kept, settings.crop_nms_thresh)


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
    """Of masks that agree the one of the larger context stays; in one context, the better one.

    Then what lies in a mask of larger context is dropped, unless such pieces fill that mask. A
    textured sphere looked at closely falls into pieces that cover some of it; an agglomerate into
    particles that cover it.
    """
    context = proposals.context_px[kept]
    order = np.lexsort((-proposals.iou_pred[kept], -context))
    ranked, context = kept[order], context[order]
    one, other = proposals.masks.meeting(ranked)
    if len(one) == 0:
        return ranked
    # float32 and in this order, as torchvision's nms has it, so that ties fall the same way
    boxes = proposals.box_xyxy.take(ranked, axis=0).astype(np.float32)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas = width * height
    first, second = boxes.take(one, axis=0), boxes.take(other, axis=0)
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    shared = sides[:, 0] * sides[:, 1]
    # boxes one px wide have no area by SAM's account
    overlap = shared / np.maximum(areas[one] + areas[other] - shared, np.float32(1e-9))
    over = (overlap.astype(np.float64) > iou_thresh).nonzero()[0]
    stands = standing(len(ranked), one[over], other[over])
    # the better one comes first, so that it is the one of larger context where they differ
    areas_px = proposals.area_px[ranked]
    within, around = areas_px[other], areas_px[one]
    # a mask that is inside is so with its box
    sides = sides.astype(np.float64) + 1
    nested = (context[one] != context[other]) & (within < around)
    nested &= sides[:, 0] * sides[:, 1] >= PIECE_INSIDE * within
    nested &= stands[one] & stands[other]
    pairs = nested.nonzero()[0]
    if len(pairs):
        larger, smaller = one[pairs], other[pairs]
        shared = proposals.masks.shared(ranked[larger], ranked[smaller])
        inside = shared >= PIECE_INSIDE * areas_px[smaller]
        larger, smaller = larger[inside], smaller[inside]
        pieces_px = np.bincount(larger, areas_px[smaller], minlength=len(ranked))
        filled = pieces_px / np.maximum(areas_px, 1)
        stands[smaller[filled[larger] < PIECES_FILL]] = False
    return ranked[stands]


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
) -> tuple[NDArray[np.intp], Overlapping]:
    """Positions of the masks that overlap no better one by more than allowed.

    And how those masks overlap, as `Segmentation.overlapping` says it.
    """
    ranks = (-quality).argsort(kind="stable")
    ranked, masks = mask_ids[ranks], proposals.masks
    areas = np.maximum(masks.areas[ranked], 1)
    first, second = masks.meeting(ranked)
    if len(first) == 0:
        return np.arange(len(ranks)), (first, second, np.zeros(0, dtype=np.int32))
    limits = max_overlap * np.minimum(areas[first], areas[second])
    shared = masks.known_shared(ranked[first], ranked[second])
    while True:
        conflicts = (shared > limits).nonzero()[0]
        free = standing(len(ranked), first[conflicts], second[conflicts])
        # only pairs of masks that would both stay need counting
        both = free[first] & free[second]
        unknown = ((shared < 0) & both).nonzero()[0]
        if len(unknown) == 0:
            break
        shared[unknown] = masks.shared(ranked[first[unknown]], ranked[second[unknown]])
    kept = np.sort(ranks[free])
    pairs = (both & (shared > 0)).nonzero()[0]
    if len(pairs) == 0:
        return kept, (pairs, pairs, shared[:0])
    one, other = (kept.searchsorted(ranks[end[pairs]]) for end in (first, second))
    first, second = np.concatenate([one, other]), np.concatenate([other, one])
    order = np.argsort(first * len(kept) + second)
    return kept, (first[order], second[order], np.tile(shared[pairs], 2)[order])
