"""Reading back what `write_coco` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def read_coco_masks(path: Path) -> np.ndarray:
    """The masks of a file, (K, H, W) bool, in their order."""
    from pycocotools import mask

    content = json.loads(path.read_text(encoding="utf-8"))
    (image,) = content["images"]
    masks = [mask.decode(entry["rle"]).astype(bool) for entry in content["annotations"]]
    return np.array(masks, dtype=bool).reshape(-1, image["height"], image["width"])
