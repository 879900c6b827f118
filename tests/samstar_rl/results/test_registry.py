"""What is written about a frame is complete, and other programs read it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from drawn_particles import draw, found
from PIL import Image

from samstar_rl.results.registry import (
    DEFAULT_FORMATS,
    FORMATS,
    MARKS,
    ForeignFileError,
    FormatError,
    is_own_result,
    load_formats,
    write_formats,
)
from samstar_rl.results.result import FrameResult
from samstar_rl.rewards import Score
from samstar_rl.settings import Settings
from samstar_rl.sources.readers.registry import read_frame

SIZE_NM = 0.0371234


def result(n_masks: int = 3, pixel_size_nm: float | None = SIZE_NM) -> FrameResult:
    # the second lies within the first
    circles = [(30, 20, 25), (33, 22, 9), (60, 40, 15)]
    frame, masks = draw((64, 80), circles, pixel_size_nm=pixel_size_nm)
    return FrameResult(
        frame, found(frame, masks[:n_masks]), Settings(), Score(0.5, {"size": 0.5}), 1, 1,
        {"total": 1.0}, "particles", "static",
    )  # fmt: skip


def test_the_chosen_formats_are_written_and_no_others(tmp_path):
    write_formats(tmp_path, result(), load_formats(["labels"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "drawn.json", "drawn.labels.tif", "drawn.overlay.png",
    ]  # fmt: skip


def test_every_format_loads_and_writes_even_an_empty_frame(tmp_path):
    pytest.importorskip("pyarrow")
    writers = load_formats(list(FORMATS))
    for n_masks in (0, 3):
        write_formats(tmp_path, result(n_masks), writers)
        for form in FORMATS.values():
            assert (tmp_path / f"drawn{form.suffix}").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_unknown_format_is_refused():
    with pytest.raises(FormatError, match=r"'svg'.*labels"):
        load_formats(["csv", "svg"])
    assert set(DEFAULT_FORMATS) <= set(FORMATS)


def test_csv_has_a_row_a_particle(tmp_path):
    given = result()
    write_formats(tmp_path, given, load_formats(["csv"]))
    table = pd.read_csv(tmp_path / "drawn.particles.csv")
    assert list(table) == list(given.segmentation.to_dataframe())
    np.testing.assert_allclose(table["area"], given.segmentation.table.area)
    assert {"frame", "predicted_iou", "stability_score", "area_nm2"} <= set(table)


def test_the_smaller_particle_is_on_top(tmp_path):
    write_formats(tmp_path, result(), load_formats(["labels"]))
    labels = tifffile.imread(tmp_path / "drawn.labels.tif")
    assert labels[22, 33] == 2 and labels[20, 20] == 1


@pytest.mark.parametrize("pixel_size_nm", [1e-3, SIZE_NM, 30_000.0, None])
def test_labels_keep_the_pixel_size(tmp_path, pixel_size_nm):
    write_formats(tmp_path, result(pixel_size_nm=pixel_size_nm), load_formats(["labels"]))
    found_nm = read_frame(tmp_path / "drawn.labels.tif").pixel_size_nm
    assert found_nm == (pixel_size_nm and pytest.approx(pixel_size_nm, rel=1e-6))


@pytest.mark.parametrize("pixel_size_nm", [SIZE_NM, None])
def test_ome_zarr_is_read_by_its_own_library(tmp_path, pixel_size_nm):
    reader = pytest.importorskip("ome_zarr.reader")
    from ome_zarr.io import parse_url

    given = result(pixel_size_nm=pixel_size_nm)
    write_formats(tmp_path, given, load_formats(["ome-zarr"]))
    path = tmp_path / "drawn.ome.zarr"
    nodes = list(reader.Reader(parse_url(path))())
    image, labels = nodes[0], nodes[-1]
    np.testing.assert_array_equal(np.asarray(image.data[0]), given.frame.image)
    np.testing.assert_array_equal(np.asarray(labels.data[0]), given.segmentation.to_labels())
    features = labels.metadata["properties"]
    assert features[2]["area"] == given.segmentation.table.area[1]
    assert features[2]["frame"] == "drawn" and "predicted_iou" in features[2]
    back = read_frame(path)
    expected = None if pixel_size_nm is None else pytest.approx(pixel_size_nm, rel=1e-6)
    assert back.pixel_size_nm == expected
    np.testing.assert_array_equal(back.image, given.frame.image)


def test_own_results_are_told_by_their_content(tmp_path):
    write_formats(tmp_path, result(), load_formats(list(FORMATS)))
    written = sorted(tmp_path.iterdir())
    assert len(written) == len(MARKS)
    assert all(is_own_result(path) for path in written)
    # the mark disturbs nobody
    with Image.open(tmp_path / "drawn.overlay.png") as picture:
        picture.load()
        assert picture.info["Software"] == "samstar_rl"
    # somebody else's under the same names
    image = np.zeros((8, 9), np.uint8)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    tifffile.imwrite(foreign / "x.labels.tif", image)
    Image.fromarray(image).save(foreign / "x.overlay.png")
    (foreign / "x.json").write_text('{"frame": "x", "score": 1}')
    (foreign / "x.coco.json").write_text('{"info": "mine", "images": []}')
    (foreign / "x.particles.csv").write_text("frame,particle\n1,2\n")
    (foreign / "x.particles.parquet").write_bytes(b"PAR1")
    (foreign / "x.ome.zarr").mkdir()
    (foreign / "x.tif").write_bytes((tmp_path / "drawn.labels.tif").read_bytes())
    assert len(list(foreign.iterdir())) == 8
    assert not any(is_own_result(path) for path in [*foreign.iterdir(), tmp_path / "missing.json"])


def test_results_of_version_01_are_known_by_their_record(tmp_path):
    write_formats(tmp_path, result(), load_formats(["labels"]))
    record = tmp_path / "drawn.json"
    content = json.loads(record.read_text())
    del content["software"]
    record.write_text(json.dumps(content))
    tifffile.imwrite(tmp_path / "drawn.labels.tif", np.zeros((8, 9), np.uint16))
    assert is_own_result(record) and is_own_result(tmp_path / "drawn.labels.tif")


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_file_of_somebody_elses_is_not_overwritten(tmp_path, form):
    path = tmp_path / f"drawn{FORMATS[form].suffix}"
    path.write_bytes(b"annotated for weeks")
    with pytest.raises(ForeignFileError, match="not overwritten"):
        write_formats(tmp_path, result(), load_formats([form]))
    assert path.read_bytes() == b"annotated for weeks"
    path.unlink()
    for _ in range(2):  # an own one is
        write_formats(tmp_path, result(), load_formats([form]))
    assert path.exists()
