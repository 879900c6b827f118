from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from samstar_rl.sources.readers.registry import (
    FrameReadError,
    iterate_file,
    list_image_files,
    read_frame,
)

STACK = np.random.default_rng(0).integers(1, 255, (3, 40, 50)).astype(np.uint16)


def write(path: Path, array: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix in (".tif", ".tiff"):
        # three planes of 16 bits are a colour to tifffile, unless it is told otherwise
        colour = array.ndim == 3 and array.shape[-1] in (3, 4)
        tifffile.imwrite(path, array, photometric="rgb" if colour else "minisblack")
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".npy", ".PNG"])
def test_an_image_comes_back_as_written(tmp_path, suffix, dtype):
    path = write(tmp_path / f"name{suffix}", STACK[0].astype(dtype))
    frame = read_frame(path)
    np.testing.assert_array_equal(frame.image, STACK[0])
    assert frame.id == "name"
    assert frame.pixel_size_nm is None
    assert frame.time == pytest.approx(path.stat().st_mtime)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_float_images_keep_missing_pixels(tmp_path, suffix):
    image = STACK[0].astype(np.float32)
    image[3, 4] = np.nan
    path = write(tmp_path / f"a{suffix}", image)
    np.testing.assert_array_equal(read_frame(path).image, image)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_stacks_are_iterated_plane_by_plane(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", STACK)
    frames = list(iterate_file(path))
    assert [frame.id for frame in frames] == ["a-00000", "a-00001", "a-00002"]
    np.testing.assert_array_equal([frame.image for frame in frames], STACK)
    with pytest.raises(FrameReadError, match="stack"):
        read_frame(path)


def test_a_stack_is_read_lazily(tmp_path):
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(5000, 1000, 1000))
    try:
        assert next(islice(iterate_file(path), 2, None)).id == "large-00002"
    finally:
        path.unlink()


@pytest.mark.parametrize("axes", ["TZCYX", "ZCYX"])
def test_every_plane_of_a_hyperstack_is_a_frame(tmp_path, axes):
    planes = np.arange(12 * 30 * 20, dtype=np.uint16).reshape(2, 2, 3, 30, 20)
    array = planes if axes == "TZCYX" else planes[0]
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata={"axes": axes})
    frames = list(iterate_file(tmp_path / "a.ome.tif"))
    np.testing.assert_array_equal(
        [frame.image for frame in frames], array.reshape(-1, *array.shape[-2:])
    )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_becomes_luminance(tmp_path, suffix, channels):
    colour = np.zeros((40, 50, channels), np.uint8)
    colour[..., 1] = 200
    frame = read_frame(write(tmp_path / f"a{suffix}", colour))
    np.testing.assert_allclose(frame.image, 0.587 * 200, rtol=1e-6)


def test_a_thumbnail_behind_the_image_is_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(STACK[0])
        tiff.write(STACK[0][::4, ::4])
    assert read_frame(tmp_path / "a.tif").shape == (40, 50)


def ome(path: Path, size: float, unit: str) -> None:
    tifffile.imwrite(
        path,
        STACK[0],
        ome=True,
        metadata={
            "PhysicalSizeX": size,
            "PhysicalSizeXUnit": unit,
            "PhysicalSizeY": size,
            "PhysicalSizeYUnit": unit,
        },
    )


def imagej(path: Path, size: float, unit: str) -> None:
    tifffile.imwrite(
        path, STACK[0], imagej=True, resolution=(1 / size, 1 / size), metadata={"unit": unit}
    )


def per_centimetre(path: Path, size: float, unit: str) -> None:
    assert unit == "cm"
    tifffile.imwrite(path, STACK[0], resolution=(1 / size, 1 / size), resolutionunit="CENTIMETER")


@pytest.mark.parametrize(
    ("writer", "size", "unit", "expected_nm"),
    [
        (ome, 0.35, "nm", 0.35),
        (ome, 0.0012, "µm", 1.2),
        (imagej, 2.5, "nm", 2.5),
        (imagej, 0.02, "um", 20.0),
        (imagej, 0.02, "\\u00B5m", 20.0),
        (imagej, 3.0, "pixel", None),
        (per_centimetre, 1e-6, "cm", 10.0),
        (per_centimetre, 1 / 118, "cm", None),  # 300 dpi is a printer's
    ],
)
def test_pixel_sizes_are_read_from_tiff_metadata(tmp_path, writer, size, unit, expected_nm):
    writer(tmp_path / "a.tif", size, unit)
    found_nm = read_frame(tmp_path / "a.tif").pixel_size_nm
    assert found_nm == (expected_nm if expected_nm is None else pytest.approx(expected_nm, 1e-6))
    assert read_frame(tmp_path / "a.tif", pixel_size_nm=7.5).pixel_size_nm == 7.5


def test_pixels_that_are_not_square_are_reported(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", STACK[0], imagej=True, resolution=(1, 2), metadata={"unit": "nm"}
    )
    with pytest.warns(UserWarning, match="not square"):
        assert read_frame(tmp_path / "a.tif").pixel_size_nm is None


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("kind", ["a.png", "a.jpg", "a.npy", "a.tif", "stack.tif", "ij.tif"])
def test_half_a_file_never_passes_as_a_whole_one(tmp_path, kind, compression):
    path = tmp_path / kind
    if kind == "ij.tif":
        tifffile.imwrite(path, STACK, imagej=True)
    elif kind.endswith(".tif"):
        array = STACK if kind == "stack.tif" else STACK[0]
        tifffile.imwrite(path, array, compression=compression, photometric="minisblack")
    else:
        write(path, STACK[0] if kind == "a.npy" else STACK[0].astype(np.uint8))
    whole, images = path.read_bytes(), [frame.image for frame in iterate_file(path)]
    for length in np.linspace(0, len(whole) * 0.98, 30, dtype=int):
        path.write_bytes(whole[:length])
        good = []
        with pytest.raises(FrameReadError, match=str(path)):
            good.extend(frame.image for frame in iterate_file(path))
        for image, expected in zip(good, images, strict=False):
            np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"text", "unknown kind"),
        ("a.png", b"this is no picture", "damaged"),
        ("a.tif", b"II*\0 garbage garbage", "a.tif"),
        ("missing.png", None, "no file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FrameReadError, match=message):
        read_frame(tmp_path / name)


@pytest.mark.parametrize(
    "array",
    [np.zeros(7), np.zeros((5, 6), complex), np.zeros((0, 4))],
)
def test_arrays_that_are_no_images_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(FrameReadError, match=r"a\.npy"):
        read_frame(tmp_path / "a.npy")


def test_an_array_of_objects_is_refused(tmp_path):
    """Such a file holds a pickle behind its header; the header alone must be enough to refuse."""
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"whatever")
    with pytest.raises(FrameReadError, match=r"a\.npy"):
        read_frame(tmp_path / "a.npy")


def test_a_folder_is_listed_in_natural_order(tmp_path):
    for name in ("img_10.png", "img_2.png", "img_1.tif", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_image_files(tmp_path)] == [
        "img_1.tif",
        "img_2.png",
        "img_10.png",
    ]
    with pytest.raises(FrameReadError, match="no folder"):
        list_image_files(tmp_path / "missing")
    with pytest.raises(FrameReadError, match="is a folder"):
        next(iterate_file(tmp_path / "folder.png"))
