from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samstar_rl.frames.frame import Frame
from samstar_rl.results.coco import read_coco_masks, to_coco, write_coco
from samstar_rl.results.result import FrameResult
from samstar_rl.rewards import Score
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings

pytest.importorskip("pycocotools")


def result_of(masks: np.ndarray) -> FrameResult:
    frame = Frame(np.random.default_rng(0).normal(size=masks.shape[1:]), 0.5, "a/b.tif")
    segmentation = Segmentation.from_masks(masks, frame)
    score = Score(0.5, {"size": 0.5})
    return FrameResult(frame, segmentation, Settings(), score, 1, 1, {}, "particles", "static")


@given(st.integers(0, 10_000), st.integers(0, 6), st.floats(0.05, 0.95))
def test_overlapping_masks_come_back_pixel_by_pixel(seed, n_masks, density):
    masks = np.random.default_rng(seed).random((n_masks, 13, 17)) < density
    content = json.loads(json.dumps(to_coco(result_of(masks)), allow_nan=False))
    assert [entry["area"] for entry in content["annotations"]] == masks.sum((1, 2)).tolist()


def test_overlaps_are_lost_nowhere(tmp_path):
    yy, xx = np.mgrid[:40, :50]
    centres = [(15, 15), (18, 18), (15, 30), (16, 16)]
    masks = np.array([(yy - y) ** 2 + (xx - x) ** 2 < 80 for y, x in centres])
    assert (masks.sum(0) > 2).any()
    write_coco(tmp_path / "a.coco.json", result_of(masks))
    np.testing.assert_array_equal(read_coco_masks(tmp_path / "a.coco.json"), masks)


def test_cocos_own_library_opens_the_file(tmp_path):
    from pycocotools.coco import COCO

    masks = np.zeros((2, 30, 40), bool)
    masks[0, 5:15, 10:30] = masks[1, 10:20, 20:25] = True
    write_coco(tmp_path / "a.coco.json", result_of(masks))
    data = COCO(str(tmp_path / "a.coco.json"))
    (image,) = data.loadImgs(data.getImgIds())
    assert (image["height"], image["width"], image["pixel_size_nm"]) == (30, 40, 0.5)
    for mask, annotation in zip(masks, data.loadAnns(data.getAnnIds()), strict=True):
        np.testing.assert_array_equal(data.annToMask(annotation), mask)
    assert data.anns[1]["bbox"] == [10.0, 5.0, 20.0, 10.0]


def test_a_frame_without_particles_is_written(tmp_path):
    write_coco(tmp_path / "a.coco.json", result_of(np.zeros((0, 8, 9), bool)))
    assert read_coco_masks(tmp_path / "a.coco.json").shape == (0, 8, 9)
