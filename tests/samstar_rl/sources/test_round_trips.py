"""Files written by the libraries themselves come back with their pixels and their pixel size."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from dm_file import write_dm
from ser_file import write_ser

from samstar_rl.sources.readers.arrays import as_frame, iterate_frames
from samstar_rl.sources.readers.pixel_size import to_nm
from samstar_rl.sources.readers.registry import (
    FrameReadError,
    iterate_file,
    list_image_files,
    read_frame,
)

hs = pytest.importorskip("hyperspy.api")
zarr = pytest.importorskip("zarr")

SIZE_NM = 0.0371234
STACK = np.random.default_rng(0).integers(1, 255, (3, 32, 32)).astype(np.uint8)


def write(path: Path, data: np.ndarray, scale: float, units: str) -> Path:
    """Let HyperSpy write a file, RosettaSciIO in whatever format the suffix names."""
    given = hs.signals.Signal2D(data)
    for axis in given.axes_manager.signal_axes:
        axis.scale, axis.units = scale, units
    for axis in given.axes_manager.navigation_axes:
        axis.units = "nm"
    given.save(path, overwrite=True)
    return path


@pytest.mark.parametrize("suffix", [".hspy", ".zspy", ".emd", ".rpl"])
@pytest.mark.parametrize(("scale", "units"), [(SIZE_NM, "nm"), (SIZE_NM * 1e-3, "µm")])
def test_what_rosettasciio_writes_comes_back(tmp_path, suffix, scale, units):
    path = write(tmp_path / f"a{suffix}", STACK, scale, units)
    frames = list(iterate_file(path))
    np.testing.assert_array_equal([frame.image for frame in frames], STACK)
    assert [frame.id for frame in frames] == ["a-00000", "a-00001", "a-00002"]
    assert frames[1].pixel_size_nm == pytest.approx(SIZE_NM, rel=1e-6)
    assert next(iterate_file(path, pixel_size_nm=2.0)).pixel_size_nm == 2.0


def test_a_block_file_is_a_stack_of_patterns(tmp_path):
    patterns = np.stack([STACK, STACK[::-1]])
    path = write(tmp_path / "a.blo", patterns, 1.0, "cm")
    found = [frame.image for frame in iterate_file(path)]
    np.testing.assert_array_equal(found, patterns.reshape(-1, 32, 32))


def test_mrc_keeps_its_pixel_size(tmp_path):
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(STACK[0].astype(np.float32))
        file.voxel_size = 10 * SIZE_NM  # in angstrom
    frame = read_frame(tmp_path / "a.mrc")
    np.testing.assert_array_equal(frame.image, STACK[0])
    assert frame.pixel_size_nm == pytest.approx(SIZE_NM, rel=1e-6)


@pytest.mark.parametrize("suffix", [".dm3", ".dm4"])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
@pytest.mark.parametrize("shape", [(32, 32), (3, 32, 32)])
def test_digitalmicrographs_images_come_back_without_their_preview(tmp_path, suffix, dtype, shape):
    given = STACK.reshape(-1)[: np.prod(shape)].reshape(shape).astype(dtype)
    write_dm(tmp_path / f"a{suffix}", given, SIZE_NM * 1e-3, "µm")
    frames = list(iterate_file(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal([frame.image for frame in frames], given.reshape(-1, 32, 32))
    assert frames[-1].pixel_size_nm == pytest.approx(SIZE_NM, rel=1e-6)


@pytest.mark.parametrize("n_images", [1, 3])
def test_a_series_of_tia_keeps_its_pixel_size(tmp_path, n_images):
    write_ser(tmp_path / "a.ser", STACK[:n_images], SIZE_NM * 1e-9)
    frames = list(iterate_file(tmp_path / "a.ser"))
    np.testing.assert_array_equal([frame.image for frame in frames], STACK[:n_images])
    assert frames[-1].pixel_size_nm == pytest.approx(SIZE_NM, rel=1e-6)


def test_reciprocal_lengths_are_no_pixel_size(tmp_path):
    path = write(tmp_path / "a.hspy", STACK, SIZE_NM, "1/nm")
    assert next(iterate_file(path)).pixel_size_nm is None


def test_a_spectrum_is_no_image(tmp_path):
    hs.signals.Signal1D(STACK).save(tmp_path / "a.hspy")
    with pytest.raises(FrameReadError, match="holds no image"):
        next(iterate_file(tmp_path / "a.hspy"))


@pytest.mark.parametrize("suffix", [".hspy", ".emd", ".mrc", ".dm4", ".ser", ".mib", ".blo"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no such thing" * 100)
    with pytest.raises(FrameReadError, match=f"a{suffix}"):
        list(iterate_file(path))


def test_a_plain_zarr_array_is_read_plane_by_plane(tmp_path):
    array = zarr.open(str(tmp_path / "a.zarr"), mode="w", shape=STACK.shape, dtype=STACK.dtype,
                      chunks=(1, 32, 32))  # fmt: skip
    array[:] = STACK
    first = next(iterate_file(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(first.image, STACK[0])
    assert first.pixel_size_nm is None and first.id == "a-00000"
    assert list_image_files(tmp_path) == [tmp_path / "a.zarr"]


def test_an_ome_zarr_image_keeps_its_pixel_size(tmp_path):
    writer = pytest.importorskip("ome_zarr.writer")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    writer.write_image(
        STACK,
        group,
        axes=[
            {"name": "z", "type": "space", "unit": "micrometer"},
            {"name": "y", "type": "space", "unit": "micrometer"},
            {"name": "x", "type": "space", "unit": "micrometer"},
        ],
        coordinate_transformations=[[{"type": "scale", "scale": [1.0] + 2 * [SIZE_NM / 1e3]}]],
        scaler=None,
    )
    frames = list(iterate_file(tmp_path / "a.zarr"))
    np.testing.assert_array_equal([frame.image for frame in frames], STACK)
    assert frames[0].pixel_size_nm == pytest.approx(SIZE_NM, rel=1e-6)


def test_a_zarr_group_that_is_no_image_says_what_it_holds(tmp_path):
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w").create_group("measurements")
    with pytest.raises(FrameReadError, match="measurements"):
        next(iterate_file(tmp_path / "a.zarr"))


def test_pickles_in_a_zarr_store_are_refused_before_they_are_read(tmp_path):
    numcodecs = pytest.importorskip("numcodecs")
    array = zarr.open(str(tmp_path / "a.zarr"), mode="w", shape=(4, 4), dtype=object,
                      object_codec=numcodecs.Pickle())  # fmt: skip
    array[:] = 1
    with pytest.raises(FrameReadError, match="pickle"):
        next(iterate_file(tmp_path / "a.zarr"))


class Counted:
    """An array that counts what is taken from it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.taken = array, array.shape, array.dtype, 0

    def __getitem__(self, index):
        self.taken += 1
        return self.array[index]


def test_stacks_in_memory_are_taken_plane_by_plane():
    counted = Counted(STACK)
    frame = next(islice(iterate_frames(counted, pixel_size_nm=SIZE_NM), 1, None))
    assert counted.taken == 2 and frame.id == "image-00001" and frame.pixel_size_nm == SIZE_NM
    np.testing.assert_array_equal(frame.image, STACK[1])


def test_dask_arrays_are_computed_plane_by_plane():
    da = pytest.importorskip("dask.array")
    computed = []

    def plane(block_id):
        computed.append(block_id[0])
        return STACK[block_id[0]][np.newaxis]

    lazy = da.map_blocks(plane, chunks=((1, 1, 1), (32,), (32,)), dtype=np.uint8, meta=STACK[:0])
    computed.clear()
    np.testing.assert_array_equal(next(iterate_frames(lazy)).image, STACK[0])
    assert computed == [0]


@pytest.mark.parametrize("lazy", [False, True])
def test_hyperspy_signals_keep_their_pixel_size(lazy):
    given = hs.signals.Signal2D(STACK)
    for axis in given.axes_manager.signal_axes:
        axis.scale, axis.units = SIZE_NM * 1e-3, "um"
    given.metadata.General.title = "gold"
    frames = list(iterate_frames(given.as_lazy() if lazy else given))
    np.testing.assert_array_equal([frame.image for frame in frames], STACK)
    assert frames[2].id == "gold-00002"
    assert frames[2].pixel_size_nm == pytest.approx(SIZE_NM, rel=1e-6)


def test_lists_frames_and_paths_are_taken_as_well(tmp_path):
    np.save(tmp_path / "a.npy", STACK[0])
    for given in (STACK[0].tolist(), as_frame(STACK[0]), tmp_path / "a.npy"):
        np.testing.assert_array_equal(as_frame(given).image, STACK[0])
    assert as_frame(as_frame(STACK[0]), pixel_size_nm=3.0).pixel_size_nm == 3.0


@pytest.mark.parametrize("lazy", [False, True])
def test_masked_pixels_are_missing(lazy):
    masked = np.ma.masked_less(STACK[0], 100)
    given = masked
    if lazy:
        given = pytest.importorskip("dask.array").from_array(masked, chunks=16)
    np.testing.assert_array_equal(np.isnan(as_frame(given).image), masked.mask)
    np.testing.assert_array_equal(as_frame(given).image[~masked.mask], masked.compressed())


def test_tables_are_taken_and_hyperspys_colours_become_luminance():
    pd = pytest.importorskip("pandas")
    np.testing.assert_array_equal(as_frame(pd.DataFrame(STACK[0])).image, STACK[0])
    colour = np.zeros((8, 9, 3), np.uint8)
    colour[..., 1] = 200
    signal = hs.signals.Signal1D(colour)
    signal.change_dtype("rgb8")
    np.testing.assert_allclose(as_frame(signal).image, 0.587 * 200, rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "nm"),
    [
        ("Å", 0.1),
        ("nanometers", 1.0),
        ("micrometre", 1e3),
        ("Meter", 1e9),
        ("px", None),
        ("s", None),
    ],
)
def test_units_are_known_by_symbol_and_name(unit, nm):
    assert to_nm(2.0, unit) == (None if nm is None else pytest.approx(2 * nm))


def test_a_stack_is_no_single_image():
    with pytest.raises(FrameReadError, match="a stack"):
        as_frame(STACK)
    for shape in ((5,), (0, 8, 9)):
        with pytest.raises(FrameReadError, match=re.escape(f"shape {shape}")):
            as_frame(np.zeros(shape))
