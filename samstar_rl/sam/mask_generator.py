"""`MaskGenerator`: a drop-in for `segment_anything.SamAutomaticMaskGenerator`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.amg import coco_encode_rle

from samstar_rl.errors import MissingExtraError, SamstarError
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.settings import Settings

if TYPE_CHECKING:
    from samstar_rl.sam.point_decoder import Arithmetic

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


class MaskGenerator:
    """Generate masks for whole pictures: the stock generator's arguments, records and masks.

    Parameters
    ----------
    model : Sam
    points_per_side, points_per_batch, pred_iou_thresh, stability_score_thresh, \
    stability_score_offset, box_nms_thresh, crop_n_layers, crop_nms_thresh, crop_overlap_ratio, \
    crop_n_points_downscale_factor, point_grids, min_mask_region_area, output_mode
        As in `SamAutomaticMaskGenerator`.
    arithmetic : {"folded", "stock"}
        As in `ProposalEngine`: "folded" does less work, but single pixels on a mask's rim
        may flip; "stock" gives the stock generator's masks pixel for pixel.

    Raises
    ------
    SamstarError
        For a value that is not allowed. Where crops are on and no mask survives,
        segment_anything 1.0 raises an IndexError; `generate` then returns no records.
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: list[NDArray[np.floating]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        *,
        arithmetic: Arithmetic = "folded",
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise SamstarError("give exactly one of points_per_side and point_grids")
        if output_mode not in OUTPUT_MODES:
            raise SamstarError(
                f"output_mode must be one of {', '.join(OUTPUT_MODES)}, got {output_mode!r}"
            )
        if output_mode == "coco_rle":
            try:
                import pycocotools  # noqa: F401
            except ImportError as error:
                raise MissingExtraError("output_mode='coco_rle'", "pycocotools", "coco") from error
        self.settings = Settings(
            # point_grids stand in for the regular ones
            points_per_side=Settings.points_per_side
            if points_per_side is None
            else points_per_side,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            min_mask_region_area=min_mask_region_area,
        )
        self.point_grids = point_grids
        self.output_mode = output_mode
        self.engine = ProposalEngine(
            model,
            device=str(model.device),
            arithmetic=arithmetic,
            points_per_batch=points_per_batch,
        )

    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Generate masks for a picture.

        Parameters
        ----------
        image : (H, W, 3) uint8 array

        Returns
        -------
        list of dict
            A record a mask: ``segmentation``, ``bbox`` (x, y, width, height), ``area``,
            ``predicted_iou``, ``point_coords``, ``stability_score``, ``crop_box``.
        """
        segmentation = self.engine.segment(image, self.settings, point_grids=self.point_grids)
        records = segmentation.records()
        if self.output_mode != "binary_mask":
            for record in records:
                rle = uncompressed_rle(record["segmentation"])
                record["segmentation"] = (
                    coco_encode_rle(rle) if self.output_mode == "coco_rle" else rle
                )
        return records


def uncompressed_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Run lengths down the columns, beginning with those outside, as pycocotools takes them."""
    column_major = mask.ravel(order="F")
    ends = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    runs = np.diff(ends, prepend=0, append=column_major.size).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if column_major[0] else runs}
