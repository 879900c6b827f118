"""Names of images: no two files share a result, and nobody else's file is in the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from samstar_rl.errors import SamstarError
from samstar_rl.results.registry import result_suffixes
from samstar_rl.scripts._shared.inputs import find_images
from samstar_rl.scripts._shared.result_names import name_images, names_on_disk

SUFFIXES = result_suffixes(["labels", "csv"])


def names(paths: list[Path], out: Path) -> list[str]:
    return [image.name for image in name_images(paths, out, SUFFIXES)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.tif", "b.tif"], ["a", "b"]),
        (["a.tif", "a.png", "a.npy"], ["a", "a.png", "a.npy"]),
        (["s1/img.tif", "s2/img.tif", "s3/img.tif"], ["s1_img", "s2_img", "s3_img"]),
        (["s1/img.tif", "s2/img.png", "s1/img.png"], ["s1_img", "s2_img", "s1_img.png"]),
        (["x/s/img.tif", "y/s/img.tif"], ["s_img", "s_img.tif"]),
        (["s1/img.tif", "s2/img.tif", "s1_img.tif"], ["s1_img", "s2_img", "s1_img.tif"]),
        (["a.tif", "A.tif"], ["a", "A.tif"]),  # one name on Windows and on a Mac
        # the first may be a stack, whose planes are called like the second
        (["a.tif", "a-00001.tif"], ["a", "a-00001.tif"]),
        (["a-00001.tif", "a.tif"], ["a-00001", "a.tif"]),
        (["a-00001.tif", "a-00002.tif"], ["a-00001", "a-00002"]),
    ],
)
def test_no_two_files_share_a_name(tmp_path, paths, expected):
    assert names([tmp_path / path for path in paths], tmp_path / "out") == expected


def test_many_files_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / f"{k % 7}" / f"{k % 5}" / "img.tif" for k in range(35)]
    found = names(paths, tmp_path / "out")
    assert len({name.casefold() for name in found}) == 35


def test_names_of_other_files_results_and_of_foreign_files_are_taken(tmp_path):
    (tmp_path / "out").mkdir()
    record = {"software": "samstar_rl", "source": str(tmp_path / "elsewhere" / "a.tif")}
    (tmp_path / "out" / "a.json").write_text(json.dumps(record))
    (tmp_path / "out" / "b.labels.tif").write_bytes(b"annotated by hand")
    (tmp_path / "out" / "c-00000.json").write_text(json.dumps(record))
    found = names([tmp_path / f"{name}.tif" for name in "abcd"], tmp_path / "out")
    assert found == ["a.tif", "b.tif", "c.tif", "d"]
    # of the same file they are its own, and are written anew
    assert names([tmp_path / "elsewhere" / "a.tif"], tmp_path / "out") == ["a"]


def test_a_file_is_found_once_and_results_are_not_found(tmp_path):
    folder = tmp_path / "images"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "run.json").write_text("{}")
    image = np.zeros((8, 9), np.uint8)
    Image.fromarray(image).save(folder / "a.png")
    tifffile.imwrite(folder / "a.labels.tif", image, software="samstar_rl")
    tifffile.imwrite(folder / "b.labels.tif", image)
    (folder / "a.json").write_text('{"software": "samstar_rl"}')
    expected = [folder / "a.png", folder / "b.labels.tif"]
    assert find_images([folder, folder / "a.png", folder / ".." / "images" / "a.png"]) == expected
    assert find_images(sorted(folder.iterdir())) == expected  # D/*
    with pytest.raises(SamstarError, match="1 results of earlier runs"):
        find_images([folder / "a.labels.tif"])


def test_names_on_the_disk_begin_below_what_all_share(tmp_path):
    paths = [tmp_path / "s1" / "a.tif", tmp_path / "s2" / "b.tif"]
    assert names_on_disk(paths) == ["s1/a.tif", "s2/b.tif"]
    assert names_on_disk(paths[:1]) == ["a.tif"]
