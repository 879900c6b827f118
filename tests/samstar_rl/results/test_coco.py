from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from coco_masks import read_coco_masks
from hypothesis import given
from hypothesis import strategies as st

from samstar_rl.frames.frame import Frame
from samstar_rl.results.coco import merge_coco, to_coco, write_coco
from samstar_rl.results.outlines import outline_polygons
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
    annotations = data.loadAnns(data.getAnnIds())
    for mask, annotation in zip(masks, annotations, strict=True):
        np.testing.assert_array_equal(data.annToMask(annotation), mask)
    assert annotations[0]["bbox"] == [10.0, 5.0, 20.0, 10.0]


def decoded(polygons: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    from pycocotools import mask

    return mask.decode(mask.merge(mask.frPyObjects(polygons, *shape))).astype(bool)


@given(st.integers(0, 10_000), st.integers(1, 24), st.integers(1, 24), st.floats(0.05, 0.95))
def test_polygons_are_the_same_pixels(seed, height, width, density):
    """With holes, parts, and pixels that meet at a corner."""
    mask = np.random.default_rng(seed).random((height, width)) < density
    polygons = outline_polygons(mask)
    assert all(len(one) >= 8 and len(one) % 2 == 0 for one in polygons)
    if mask.any():
        np.testing.assert_array_equal(decoded(polygons, mask.shape), mask)
    else:
        assert polygons == []


def test_a_ring_is_one_polygon():
    yy, xx = np.mgrid[:60, :60]
    distance = (yy - 30) ** 2 + (xx - 30) ** 2
    mask = (distance < 600) & (distance > 150)
    (polygon,) = outline_polygons(mask)
    np.testing.assert_array_equal(decoded([polygon], mask.shape), mask)


def test_files_of_single_frames_have_ids_that_do_not_meet(tmp_path):
    masks = np.zeros((2, 30, 40), bool)
    masks[0, 5:15, 10:30] = masks[1, 10:20, 20:25] = True
    given = result_of(masks)
    paths = []
    for name in ("a", "b", "c"):
        frame = replace(given.frame, id=name)
        paths.append(tmp_path / f"{name}.coco.json")
        write_coco(paths[-1], replace(given, frame=frame, source=f"/data/{name}.tif"))
    contents = [json.loads(path.read_text()) for path in paths]
    image_ids = [one["images"][0]["id"] for one in contents]
    ids = [entry["id"] for one in contents for entry in one["annotations"]]
    assert len(set(image_ids)) == 3 and len(set(ids)) == 6 and max(ids) < 1 << 53
    assert [one["images"][0]["file_name"] for one in contents] == ["a.tif", "b.tif", "c.tif"]
    # and together they are one data set
    (tmp_path / "all.json").write_text(json.dumps(merge_coco(paths, ["x/a.tif", "b.tif", "c.tif"])))
    from pycocotools.coco import COCO

    data = COCO(str(tmp_path / "all.json"))
    assert sorted(data.imgs) == [1, 2, 3] and sorted(data.anns) == [1, 2, 3, 4, 5, 6]
    assert data.imgs[1]["file_name"] == "x/a.tif"
    np.testing.assert_array_equal(data.annToMask(data.anns[4]).astype(bool), masks[1])
    for entry in data.anns.values():
        assert entry["iscrowd"] == 0 and isinstance(entry["segmentation"], list)


def test_datumaro_takes_the_file(tmp_path):
    """Where it is installed: it wants older versions of Pillow and pandas than this project."""
    datumaro = pytest.importorskip("datumaro")
    from PIL import Image

    masks = np.zeros((2, 30, 40), bool)
    masks[0, 5:15, 10:30] = masks[1, 10:20, 20:25] = True
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images" / "default").mkdir(parents=True)
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "images" / "default" / "a.png")
    given = replace(result_of(masks), source="a.png")
    write_coco(tmp_path / "annotations" / "instances_default.json", given)
    (item,) = datumaro.Dataset.import_from(str(tmp_path), "coco_instances")
    polygons = [one for one in item.annotations if type(one).__name__ == "Polygon"]
    assert [decoded([one.points], (30, 40)).sum() for one in polygons] == masks.sum((1, 2)).tolist()


def test_a_frame_without_particles_is_written(tmp_path):
    write_coco(tmp_path / "a.coco.json", result_of(np.zeros((0, 8, 9), bool)))
    assert read_coco_masks(tmp_path / "a.coco.json").shape == (0, 8, 9)
