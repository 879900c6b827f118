"""COCO: every mask whole, so that overlaps are lost nowhere.

A mask is written as polygons along the edges of its pixels, which every program reads and
pycocotools turns back into the same pixels, and as a run-length code besides (``rle``). Written
with pycocotools (extra `coco`). A file is a whole COCO data set, which ``pycocotools.coco.COCO``
opens: of one frame, or of all frames of a run (`merge_coco`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samstar_rl.errors import MissingExtraError
from samstar_rl.results.outlines import outline_polygons
from samstar_rl.results.result import SOFTWARE, FrameResult

if TYPE_CHECKING:
    from samstar_rl.segmentation.segmentation import Segmentation

# together 53 bits: what JavaScript takes for a whole number
IMAGE_ID_BITS, MAX_MASKS = 37, 1 << 16
CATEGORY = {"id": 1, "name": "particle", "supercategory": "particle"}


def write_coco(path: Path, result: FrameResult) -> None:
    """Write a frame's masks as a COCO file.

    Raises
    ------
    ImportError
        If pycocotools is not installed, naming the extra.
    """
    # in one line: a coordinate a line would be most of the file
    path.write_text(json.dumps(to_coco(result), allow_nan=False), encoding="utf-8")


def to_coco(result: FrameResult) -> dict[str, Any]:
    """A frame as a COCO data set of plain types, whose ids meet those of no other frame."""
    height, width = result.frame.shape
    # a number of the frame's name, so that the files of single frames can be put together
    digest = hashlib.sha256(result.frame.id.encode("utf-8", "surrogatepass")).digest()
    image_id = int.from_bytes(digest[:8], "big") >> (64 - IMAGE_ID_BITS)
    image = {
        "id": image_id,
        "file_name": Path(result.source or result.frame.file or result.frame.id).name,
        "height": height,
        "width": width,
        "frame": result.frame.id,
        "pixel_size_nm": result.frame.pixel_size_nm,
    }
    return {
        "info": _info(f"task {result.task}, settings by {result.tuner}"),
        "images": [image],
        "categories": [CATEGORY],
        "annotations": to_annotations(result.segmentation, image_id),
    }


def to_annotations(segmentation: Segmentation, image_id: int) -> list[dict[str, Any]]:
    """One annotation a mask, in the order of the particle table."""
    rle = _codec()
    table = segmentation.table
    found = []
    for k in range(len(segmentation)):
        mask = segmentation.mask(k)
        code = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
        found.append(
            {
                "id": image_id * MAX_MASKS + k + 1,
                "image_id": image_id,
                "category_id": CATEGORY["id"],
                "iscrowd": 0,
                "segmentation": outline_polygons(mask),
                "rle": {"size": list(code["size"]), "counts": code["counts"].decode()},
                "area": float(rle.area(code)),
                "bbox": [float(length) for length in rle.toBbox(code)],
                "score": float(table.predicted_iou[k]),
            }
        )
    return found


def merge_coco(parts: Sequence[Path], file_names: Sequence[str]) -> dict[str, Any]:
    """Put the data sets of single frames together to that of a run, with ids that count from 1.

    Parameters
    ----------
    parts : sequence of Path
        What `write_coco` wrote for each frame.
    file_names : sequence of str
        The image file of each, as it lies on the disk, from the folder that holds them all.

    Returns
    -------
    dict
        For JSON.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    description = ""
    for part, file_name in zip(parts, file_names, strict=True):
        content = json.loads(part.read_text(encoding="utf-8"))
        (image,) = content["images"]
        images.append({**image, "id": len(images) + 1, "file_name": file_name})
        for entry in content["annotations"]:
            ids = {"id": len(annotations) + 1, "image_id": len(images)}
            annotations.append({**entry, **ids})
        description = content["info"]["description"]
    return {
        "info": _info(description),
        "images": images,
        "categories": [CATEGORY],
        "annotations": annotations,
    }


def _info(description: str) -> dict[str, str]:
    return {"description": description, "contributor": SOFTWARE}


def _codec() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingExtraError("COCO", "pycocotools", "coco") from error
    return mask
