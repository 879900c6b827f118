"""Runs in micro_sam's environment: time AutomaticMaskGenerator.generate after initialize.

Usage: python micro_sam_peer.py FOLDER, where image.npy and settings.json lie.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from micro_sam.instance_segmentation import AutomaticMaskGenerator
from segment_anything import SamPredictor

from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.sam.load import load_sam


def main(folder: Path) -> None:
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    rgb = to_sam_rgb(np.load(folder / "image.npy"))
    sam = load_sam("tiny")
    predictor = SamPredictor(sam)
    # what micro_sam's own get_sam_model notes down
    predictor.model_type, predictor.model_name = "vit_b", "tiny"
    generator = AutomaticMaskGenerator(
        predictor, points_per_side=settings[0]["points_per_side"], points_per_batch=64
    )
    predictor.set_image(rgb)
    features = predictor.get_image_embedding().cpu().numpy()
    embeddings = {
        "features": features,
        "input_size": predictor.input_size,
        "original_size": predictor.original_size,
    }
    generator.initialize(rgb, image_embeddings=embeddings)
    seconds, masks = [], {}
    for position, choice in enumerate(settings):
        started = time.perf_counter()
        records = generator.generate(
            pred_iou_thresh=choice["pred_iou_thresh"],
            stability_score_thresh=choice["stability_score_thresh"],
            box_nms_thresh=choice["box_nms_thresh"],
            crop_nms_thresh=choice["crop_nms_thresh"],
            min_mask_region_area=choice["min_mask_region_area"],
            output_mode="binary_mask",
        )
        seconds.append(time.perf_counter() - started)
        found = np.array([record["segmentation"] for record in records], dtype=bool)
        flat = found.reshape(len(records), rgb.shape[0] * rgb.shape[1])
        masks[str(position)] = np.packbits(flat, axis=1)
    np.savez(folder / "masks.npz", **masks)
    (folder / "seconds.json").write_text(json.dumps(seconds), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
