"""COCO: every mask whole, as a run-length code, so that overlaps are lost nowhere.

Written with pycocotools (extra `coco`). A file holds one frame and is a whole COCO data set, which
``pycocotools.coco.COCO`` opens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from samstar_rl._io import atomic
from samstar_rl.errors import MissingExtraError
from samstar_rl.results.result import SOFTWARE, FrameResult
from samstar_rl.segmentation.segmentation import Segmentation

CATEGORY = {"id": 1, "name": "particle", "supercategory": "particle"}


def write_coco(path: Path, result: FrameResult) -> None:
    """Write a frame's masks as a COCO file.

    Raises
    ------
    ImportError
        If pycocotools is not installed, naming the extra.
    """
    path.write_text(atomic.json_text(to_coco(result)), encoding="utf-8")


def to_coco(result: FrameResult) -> dict[str, Any]:
    """A frame as a COCO data set of plain types."""
    height, width = result.frame.shape
    image = {
        "id": 1,
        "file_name": result.frame.id,
        "height": height,
        "width": width,
        "pixel_size_nm": result.frame.pixel_size_nm,
    }
    return {
        "info": {
            "description": f"task {result.task}, settings by {result.tuner}",
            "contributor": SOFTWARE,
        },
        "images": [image],
        "categories": [CATEGORY],
        "annotations": to_annotations(result.segmentation),
    }


def to_annotations(segmentation: Segmentation) -> list[dict[str, Any]]:
    """One annotation a mask, in the order of the particle table; ids count from 1."""
    rle = _codec()
    table = segmentation.table
    found = []
    for k in range(len(segmentation)):
        code = rle.encode(np.asfortranarray(segmentation.mask(k), dtype=np.uint8))
        found.append(
            {
                "id": k + 1,
                "image_id": 1,
                "category_id": CATEGORY["id"],
                "iscrowd": 0,
                "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode()},
                "area": float(rle.area(code)),
                "bbox": [float(length) for length in rle.toBbox(code)],
                "score": float(table.predicted_iou[k]),
            }
        )
    return found


def read_coco_masks(path: Path) -> np.ndarray:
    """The masks of a file that `write_coco` wrote, (K, H, W) bool, in their order."""
    content = json.loads(path.read_text(encoding="utf-8"))
    (image,) = content["images"]
    rle = _codec()
    masks = [rle.decode(entry["segmentation"]).astype(bool) for entry in content["annotations"]]
    return np.array(masks, dtype=bool).reshape(-1, image["height"], image["width"])


def _codec() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingExtraError("COCO", "pycocotools", "coco") from error
    return mask
