"""Files as other programs write them: which image is read, how bright it is, and its pixel size."""

from __future__ import annotations

import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from samstar_rl.sources.readers import registry, tiff
from samstar_rl.sources.readers.pixel_size import to_nm
from samstar_rl.sources.readers.registry import FrameReadError, iterate_file, read_frame
from samstar_rl.sources.registry import open_source

FAULTS = Path(__file__).parents[2] / "data" / "faults"
IMAGE = tifffile.imread(FAULTS / "minisblack.tif")
COLOUR = np.stack([IMAGE, IMAGE // 2, 255 - IMAGE], axis=-1)
LUMINANCE = COLOUR @ np.array([0.299, 0.587, 0.114])


def images(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in iterate_file(path)]


def size_nm(path: Path) -> float | None:
    return read_frame(path).pixel_size_nm


# ---------------------------------------------------------------- the files that failed


@pytest.mark.parametrize(
    "name", ["lzw", "grey_alpha", "miniswhite", "palette", "thumb_first", "minisblack"]
)
def test_the_same_picture_in_other_clothes(name):
    (image,) = images(FAULTS / f"{name}.tif")
    np.testing.assert_array_equal(image, IMAGE)


def test_separate_colours_are_one_frame():
    (planar,) = images(FAULTS / "rgb_planar.tif")
    np.testing.assert_array_equal(planar, images(FAULTS / "rgb_contig.tif")[0])


def test_each_image_of_an_ome_file_has_its_own_pixel_size():
    assert [one.pixel_size_nm for one in iterate_file(FAULTS / "two.ome.tif")] == [2.0, 5.0]


def test_an_mrc_header_without_a_cell_says_nothing():
    pytest.importorskip("rsciio")
    assert size_nm(FAULTS / "none.mrc") is None
    assert size_nm(FAULTS / "one_A.mrc") == pytest.approx(0.1)


# ---------------------------------------------------------------- TIFF: others of each kind


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("scheme", ["lzw", "zlib", "packbits", "lzma", "zstd", "jpeg2000", "lerc"])
def test_compressions_that_lose_nothing(tmp_path, scheme, dtype):
    given = IMAGE.astype(dtype) * (257 if dtype == "uint16" else 1)
    tifffile.imwrite(tmp_path / "a.tif", given, compression=scheme)
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [given])


@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("predictor", [False, True])
def test_lzw_with_tiles_and_predictor(tmp_path, tile, predictor):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, compression="lzw", predictor=predictor, tile=tile)
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [IMAGE])


@pytest.mark.parametrize("scheme", ["tiff_ccitt", "group3", "group4"])
def test_fax_compressions(tmp_path, scheme):
    bits = Image.fromarray(IMAGE > 100)
    bits.save(tmp_path / "a.tif", compression=scheme)
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [IMAGE > 100])


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr"])
def test_jpeg(tmp_path, mode):
    colour = Image.fromarray(COLOUR).convert(mode)
    colour.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    (image,) = images(tmp_path / "a.tif")
    assert np.abs(image - LUMINANCE).mean() < 3


@pytest.mark.parametrize(
    ("scheme", "name"), [(34661, "JBIG"), (32809, "THUNDERSCAN"), (48124, "JETRAW"), (65000, "EER")]
)
def test_a_compression_that_nobody_undoes_is_named_and_is_no_damage(tmp_path, scheme, name):
    """Some are unknown to tifffile, some to the build of imagecodecs, some want metadata."""
    tifffile.imwrite(tmp_path / "a.tif", IMAGE)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages.first.tags["Compression"].overwrite(scheme)
    with pytest.raises(FrameReadError, match=name) as error:
        images(tmp_path / "a.tif")
    assert "damaged" not in str(error.value) and "LZW" in str(error.value)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("white", ["minisblack", "miniswhite"])
def test_grey_with_opacity(tmp_path, planar, alpha, white):
    grey = (255 - IMAGE if white == "miniswhite" else IMAGE).astype(np.uint16) * 257
    given = np.stack([grey, np.full_like(grey, 65535)], axis=0 if planar == "separate" else -1)
    tifffile.imwrite(
        tmp_path / "a.tif", given, photometric=white, planarconfig=planar, extrasamples=[alpha]
    )
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [IMAGE.astype(np.float32) * 257])


def test_samples_of_several_detectors_are_frames(tmp_path):
    given = np.stack([IMAGE, IMAGE // 3], axis=-1)
    tifffile.imwrite(
        tmp_path / "a.tif", given, photometric="minisblack", extrasamples=["unspecified"]
    )
    found = list(iterate_file(tmp_path / "a.tif"))
    np.testing.assert_array_equal([one.image for one in found], [IMAGE, IMAGE // 3])
    assert [one.id for one in found] == ["a-00000", "a-00001"]


@pytest.mark.parametrize("n_samples", [3, 4])
@pytest.mark.parametrize("n_planes", [1, 2])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_in_one_or_several_planes(tmp_path, n_samples, n_planes, planar):
    given = np.concatenate([COLOUR, np.full_like(IMAGE, 255)[..., None]], -1)[..., :n_samples]
    given = given.transpose(2, 0, 1) if planar == "separate" else given
    given = np.stack([given] * n_planes) if n_planes > 1 else given
    tifffile.imwrite(tmp_path / "a.tif", given, photometric="rgb", planarconfig=planar)
    np.testing.assert_allclose(images(tmp_path / "a.tif"), [LUMINANCE] * n_planes, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "float32"])
def test_white_is_zero(tmp_path, dtype):
    given = (IMAGE > 100) if dtype == "bool" else IMAGE.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", given, photometric="miniswhite")
    (image,) = images(tmp_path / "a.tif")
    disc = IMAGE > 100
    assert image[disc].max() < image[~disc].min()
    if dtype in ("uint8", "uint16"):
        np.testing.assert_array_equal(image, np.iinfo(dtype).max - IMAGE.astype(np.float32))


def palette_of(entries: dict[int, int], n: int = 256, scale: int = 257) -> np.ndarray:
    greys = np.zeros(n, np.uint16)
    for index, value in entries.items():
        greys[index] = value * scale
    return np.stack([greys] * 3)


@pytest.mark.parametrize("scale", [256, 257])
@pytest.mark.parametrize(("disc", "ground"), [(0, 1), (7, 3), (255, 254)])
def test_a_palette_is_looked_up(tmp_path, disc, ground, scale):
    given = np.where(IMAGE > 100, disc, ground).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif",
        given,
        photometric="palette",
        colormap=palette_of({disc: 200, ground: 50}, scale=scale),
    )
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [IMAGE])


def test_a_palette_of_colours_becomes_luminance(tmp_path):
    Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.tif")
    np.testing.assert_allclose(images(tmp_path / "a.tif")[0], LUMINANCE, atol=2)


@pytest.mark.parametrize("kind", ["ramp", "gamma", "ramp with colours for annotations"])
def test_intensities_with_a_grey_palette_stay(tmp_path, kind):
    """As microscopes write them."""
    greys = np.arange(256) if kind != "gamma" else 255 * (np.arange(256) / 255) ** 0.5
    colours = np.stack([greys.astype(np.uint16) * 257] * 3)
    if kind.endswith("annotations"):
        colours[:, 250:] = np.array([[65535], [0], [0]])
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [IMAGE])


def test_a_lookup_table_of_imagej_colours_intensities(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[1] = np.arange(255, -1, -1) * 257  # ever darker
    tifffile.imwrite(
        tmp_path / "a.tif", IMAGE, imagej=True, colormap=colours, photometric="palette"
    )
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [IMAGE])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "RGBA"])
def test_other_kinds_of_colour(tmp_path, mode):
    Image.fromarray(COLOUR).convert(mode).save(tmp_path / "a.tif")
    np.testing.assert_allclose(images(tmp_path / "a.tif")[0], LUMINANCE, atol=2)


PREVIEW = np.zeros((16, 24, 3), np.uint8)


@pytest.mark.parametrize(
    "previews",
    [
        [(PREVIEW, {"photometric": "rgb"})],
        [(PREVIEW[..., 0], {"subfiletype": 1})],
        [(COLOUR, {"photometric": "rgb"})],
        [(IMAGE, {})],
        [(COLOUR, {"photometric": "rgb", "subfiletype": 1}), (PREVIEW[..., 0], {})],
    ],
    ids=["small, coloured", "reduced", "coloured", "of 8 bits", "two"],
)
@pytest.mark.parametrize("before", [True, False])
def test_previews_are_left_out(tmp_path, previews, before):
    image = IMAGE.astype(np.uint16) * 100
    pages = [*previews, (image, {})] if before else [(image, {}), *previews]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for data, options in pages:
            file.write(data, **options)
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [image])


def test_a_pyramid_is_one_image(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(IMAGE[::2, ::2], subfiletype=1)
        file.write(IMAGE)
        file.write(IMAGE[::4, ::4], subfiletype=1)
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), [IMAGE])


def test_images_of_one_size_written_one_by_one_are_a_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for factor in (1, 2, 3):
            file.write(IMAGE.astype(np.uint16) * factor, resolution=(1e7 / factor, 1e7 / factor),
                       resolutionunit="CENTIMETER")  # fmt: skip
    found = list(iterate_file(tmp_path / "a.tif"))
    assert [one.image.max() for one in found] == [200, 400, 600]
    assert [one.pixel_size_nm for one in found] == pytest.approx([1.0, 2.0, 3.0])


# ---------------------------------------------------------------- TIFF: pixel sizes


def ome(*sizes: dict[str, object]) -> bytes:
    """The description of an OME file with an image for each dictionary of sizes."""
    found = []
    for index, size in enumerate(sizes):
        attributes = " ".join(f'{key}="{value}"' for key, value in size.items())
        found.append(
            f'<Image ID="Image:{index}"><Pixels ID="Pixels:{index}" DimensionOrder="XYCZT" '
            f'Type="uint8" SizeX="96" SizeY="64" SizeC="1" SizeZ="1" SizeT="1" {attributes}>'
            f'<Channel ID="Channel:{index}:0" SamplesPerPixel="1"/>'
            f'<TiffData IFD="{index}" PlaneCount="1"/></Pixels></Image>'
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{"".join(found)}</OME>'
    ).encode()


def test_a_size_along_x_alone_stands_for_both_with_a_note(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        IMAGE,
        description=ome({"PhysicalSizeX": 0.002, "PhysicalSizeXUnit": "µm"}),
        metadata=None,
    )
    with pytest.warns(UserWarning, match="along x alone"):
        assert size_nm(tmp_path / "a.tif") == pytest.approx(2.0)


def test_an_image_without_a_size_beside_one_that_has_it(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        description = ome({}, {"PhysicalSizeX": 3, "PhysicalSizeY": 3, "PhysicalSizeXUnit": "nm",
                               "PhysicalSizeYUnit": "nm"})  # fmt: skip
        file.write(IMAGE, description=description, metadata=None)
        file.write(IMAGE, metadata=None)
    assert [one.pixel_size_nm for one in iterate_file(tmp_path / "a.tif")] == [None, 3.0]


def zeiss(**entries: str) -> list[tuple]:
    """The tag of Zeiss' SEMs: 40 unnamed numbers, then named ones."""
    unnamed = ["0", "0", "0", "3.5e-09", *["0"] * 36]
    named = [line for key, value in entries.items() for line in (key, value)]
    text = "\r\n".join([*unnamed, *named, ""]).encode("cp1252")
    return [(34118, 1, len(text), text, True)]


@pytest.mark.parametrize(
    ("entries", "expected_nm"),
    [
        ({"AP_PIXEL_SIZE": "Pixel Size = 3.5 nm",
          "AP_IMAGE_PIXEL_SIZE": "Image Pixel Size = 2.5 nm"}, 2.5),
        ({"AP_PIXEL_SIZE": "Pixel Size = 3.5 µm",
          "AP_IMAGE_PIXEL_SIZE": "Image Pixel Size = 0.0025 µm"}, 2.5),
        ({"AP_PIXEL_SIZE": "Pixel Size = 3.5 nm", "AP_WIDTH": "Width = 0.24 µm"}, 2.5),
        ({"AP_PIXEL_SIZE": "Pixel Size = 3.5 nm"}, 3.5 * 1024 / 96),
        ({"AP_MAG": "Mag = 30.00 K X"}, 3.5 * 1024 / 96),
    ],
)  # fmt: skip
def test_zeiss_pixels_are_the_images_not_the_displays(tmp_path, entries, expected_nm):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, extratags=zeiss(**entries))
    assert size_nm(tmp_path / "a.tif") == pytest.approx(expected_nm)


@pytest.mark.parametrize(("unit", "expected_nm"), [("nm", 0.7), ("n_m", 0.7), ("µm", 700.0),
                                                   ("1/nm", None)])  # fmt: skip
def test_digitalmicrographs_tags(tmp_path, unit, expected_nm):
    text = unit.encode("latin-1") + b"\0"
    tags = [(code, 2, len(text), text, True) for code in (65003, 65004)]
    tags += [(code, 12, 1, 0.7, True) for code in (65009, 65010)]
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, extratags=tags, metadata=None)
    found_nm = size_nm(tmp_path / "a.tif")
    assert found_nm == (expected_nm and pytest.approx(expected_nm))


@pytest.mark.parametrize(("mode", "expected_nm"), [("MAG", 0.5), ("DIFF", None)])
def test_jeols_tems_state_the_resolution_on_the_detector(tmp_path, mode, expected_nm):
    xml = (
        "<TemReporter><Eos><EosMode>eosTEM</EosMode></Eos><ImageFormingSystem>"
        f"<ModeString>{mode}</ModeString><SelectorValue>20000</SelectorValue>"
        "</ImageFormingSystem></TemReporter>"
    )
    tifffile.imwrite(
        tmp_path / "a.tif",
        IMAGE,
        description=xml,
        metadata=None,
        resolution=(1000, 1000),  # 10 µm a pixel on the detector
        resolutionunit="CENTIMETER",
        extratags=[(271, 2, 0, "JEOL Ltd.", True)],
    )
    assert size_nm(tmp_path / "a.tif") == (expected_nm and pytest.approx(expected_nm))


def test_jeols_sems_write_a_text_file_beside_the_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE)
    (tmp_path / "a.txt").write_text(
        "$CM_FORMAT SEM\r\n$CM_FULL_SIZE 192 128\r\n$$SM_MICRON_BAR 80\r\n"
        "$$SM_MICRON_MARKER 100nm\r\n"
    )
    assert size_nm(tmp_path / "a.tif") == pytest.approx(2 * 100 / 80)
    (tmp_path / "a.txt").write_text("notes of the day: 100nm particles")
    assert size_nm(tmp_path / "a.tif") is None


@pytest.mark.parametrize(("size", "expected"), [(1e-20, None), (2e7, None), (0.5, 0.5)])
def test_sizes_that_no_micrograph_has_are_unknown(tmp_path, size, expected):
    description = ome({f"PhysicalSize{axis}{unit}": "nm" if unit else size
                       for axis in "XY" for unit in ("", "Unit")})  # fmt: skip
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, description=description, metadata=None)
    assert size_nm(tmp_path / "a.tif") == expected


@pytest.mark.parametrize(
    ("unit", "nm"),
    [
        ("[n_m]", 1.0),
        ("n_m", 1.0),
        ("u_m", 1e3),
        ("nm\0", 1.0),
        ("n_m^-1", None),
        ("[1/n_m]", None),
    ],
)
def test_units_as_emd_and_c_write_them(unit, nm):
    assert to_nm(1.0, unit) == nm


# ---------------------------------------------------------------- pictures, and what is wrong


def test_a_picture_that_is_too_large_is_not_called_damaged(tmp_path):
    """A PNG of 20000 x 20000 px, of which the header alone is looked at."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    chunks += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(FrameReadError, match="too large") as error:
        images(tmp_path / "a.png")
    assert "damaged" not in str(error.value) and "cut it into parts" in str(error.value)


def test_large_pictures_that_are_read_are_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", IMAGE.size - 1)
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(images(tmp_path / "a.png"), [IMAGE])


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".mrc", ".emd"])
def test_a_file_under_a_wrong_name_is_not_called_damaged(tmp_path, suffix):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    path = (tmp_path / "a.png").rename(tmp_path / f"a{suffix}")
    with pytest.raises(FrameReadError, match="its content is PNG") as error:
        images(path)
    assert "damaged" not in str(error.value)


def test_memory_that_does_not_suffice_is_no_damage(tmp_path, monkeypatch):
    def read(path):
        raise MemoryError
        yield

    monkeypatch.setitem(registry.READERS, ".tif", read)
    tifffile.imwrite(tmp_path / "a.tif", IMAGE)
    with pytest.raises(FrameReadError, match="too large for the memory"):
        images(tmp_path / "a.tif")
    assert registry.READERS[".tiff"] is tiff.read_tiff


# ---------------------------------------------------------------- microscopes' files


@pytest.mark.parametrize("suffix", [".hspy", ".emd", ".rpl"])
def test_spectra_at_every_position_are_no_image(tmp_path, suffix):
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.signals.Signal1D(np.zeros((6, 8, 128), np.uint16))
    signal.axes_manager[-1].units, signal.axes_manager[-1].name = "eV", "Energy loss"
    signal.save(tmp_path / f"a{suffix}")
    with pytest.raises(FrameReadError, match=r"no image.*spectra") as error:
        images(tmp_path / f"a{suffix}")
    assert "damaged" not in str(error.value)


def test_a_spectrum_image_of_digitalmicrograph_holds_no_image(tmp_path):
    pytest.importorskip("rsciio")
    from dm_file import write_dm

    cube = np.random.default_rng(0).integers(0, 99, (256, 6, 8)).astype(np.uint16)
    axes = [(2.0, "nm"), (2.0, "nm"), (0.5, "eV")]
    for name, options in {
        "flagged": {"form": "Spectrum image", "axes": None},
        "by its axes": {"form": "Image", "axes": axes},
        "both": {"form": "Spectrum image", "axes": axes},
    }.items():
        write_dm(tmp_path / "a.dm4", cube, 2.0, "nm", **options)
        with pytest.raises(FrameReadError, match=r"no image.*spectra") as error:
            images(tmp_path / "a.dm4")
        assert "damaged" not in str(error.value), name


@pytest.mark.parametrize("suffix", [".dm3", ".dm4"])
def test_colours_of_digitalmicrograph_become_luminance(tmp_path, suffix):
    pytest.importorskip("rsciio")
    from dm_file import write_dm

    pixels = np.zeros(IMAGE.shape, dtype=[(name, "u1") for name in "BGRA"])
    for k, name in enumerate("RGB"):
        pixels[name] = COLOUR[..., k]
    write_dm(tmp_path / f"a{suffix}", pixels, 0.25, "nm")
    frame = read_frame(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(frame.image, LUMINANCE, rtol=1e-6)
    assert frame.pixel_size_nm == pytest.approx(0.25)


@pytest.mark.parametrize("size_m", [1e8, 1e-30, 0.0, -1.0])
def test_a_diffraction_pattern_of_tia_has_no_pixel_size(tmp_path, size_m):
    pytest.importorskip("rsciio")
    from ser_file import write_ser

    write_ser(tmp_path / "a.ser", IMAGE[None], size_m)
    assert size_nm(tmp_path / "a.ser") is None


@pytest.mark.parametrize("cell", [(0, 0, 0), (-64, -64, 1), (float("nan"),) * 3, (1e-30, 1e-30, 1)])
def test_cells_of_mrc_that_cannot_be(tmp_path, cell):
    pytest.importorskip("rsciio")
    mrcfile = pytest.importorskip("mrcfile")
    for suffix, image in ((".mrc", IMAGE), (".ali", np.stack([IMAGE] * 2))):
        path = tmp_path / f"a{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mrcfile.new(path, overwrite=True) as file:
                file.set_data(image.astype(np.int16))
                file.header.cella = cell
        assert [one.pixel_size_nm for one in iterate_file(path)] == [None] * (image.ndim - 1)


def velox(path: Path, data: list[np.ndarray], size_m: float = 2e-9) -> None:
    """The images of an EMD file as Velox writes them: pixels, and metadata as JSON in bytes."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        version = json.dumps({"format": "Velox", "version": "11.0"}).encode()
        file["Version"] = np.array([version])
        for index, image in enumerate(data):
            group = file.create_group(f"Data/Image/{index:032x}")
            group.create_dataset("Data", data=image[..., None], chunks=(*image.shape, 1))
            metadata = {
                "BinaryResult": {
                    "PixelSize": {"width": str(size_m), "height": str(size_m)},
                    "PixelUnitX": "m",
                    "PixelUnitY": "m",
                    "Offset": {"x": "0", "y": "0"},
                    "DetectorIndex": "0",
                    "Detector": "HAADF",
                },
                "Core": {"MetadataDefinitionVersion": "7.9"},
                "Scan": {},
                "Detectors": {"Detector-0": {"DetectorName": "HAADF"}},
                "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1500000000"}},
                "Instrument": {"InstrumentModel": "x"},
                "Optics": {"AccelerationVoltage": "2e5"},
                "Stage": {},
            }
            text = np.zeros((60000, 1), np.uint8)
            encoded = json.dumps(metadata).encode()
            text[: len(encoded), 0] = np.frombuffer(encoded, np.uint8)
            group["Metadata"] = text


@pytest.mark.parametrize("place", [0, 4, 8])
def test_a_complex_image_of_velox_is_left_out_with_a_note(tmp_path, place):
    pytest.importorskip("rsciio")
    data = [IMAGE.astype(np.uint16) + index for index in range(8)]
    parts = np.zeros(IMAGE.shape, dtype=[("realFloat", "<f4"), ("imagFloat", "<f4")])
    velox(tmp_path / "a.emd", [*data[:place], parts, *data[place:]])
    with pytest.warns(UserWarning, match="1 of 9 data sets"):
        found = list(iterate_file(tmp_path / "a.emd"))
    np.testing.assert_array_equal([one.image for one in found], data)
    assert found[0].pixel_size_nm == pytest.approx(2.0)


def test_a_file_of_nothing_but_complex_data_says_so(tmp_path):
    hs = pytest.importorskip("hyperspy.api")
    hs.signals.ComplexSignal2D(IMAGE.astype(np.complex64)).save(tmp_path / "a.hspy")
    with pytest.raises(FrameReadError, match=r"no image.*complex64") as error:
        images(tmp_path / "a.hspy")
    assert "damaged" not in str(error.value)


def test_an_hdf5_file_of_an_unknown_variant_is_not_called_damaged(tmp_path):
    pytest.importorskip("rsciio")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file["something"] = IMAGE
    with pytest.raises(FrameReadError, match=r"a\.emd") as error:
        images(tmp_path / "a.emd")
    assert "damaged" not in str(error.value)
    content = (tmp_path / "a.emd").read_bytes()
    (tmp_path / "half.emd").write_bytes(content[: len(content) // 2])
    with pytest.raises(FrameReadError, match="damaged"):
        images(tmp_path / "half.emd")


# ---------------------------------------------------------------- Zarr


def ome_zarr(path: Path, image: np.ndarray, *, whole: list[float], level: list[float]) -> None:
    """An image of one resolution with scales at both levels, in micrometres."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w")
    group.create_dataset("0", data=image, chunks=image.shape)
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"],
            "coordinateTransformations": [{"type": "scale", "scale": whole}],
            "datasets": [
                {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": level}]}
            ],
        }
    ]


@pytest.mark.parametrize(("whole", "level"), [([0.002] * 2, [1.0] * 2), ([0.5] * 2, [0.004] * 2)])
def test_the_two_scales_of_ome_zarr_multiply(tmp_path, whole, level):
    ome_zarr(tmp_path / "a.zarr", IMAGE, whole=whole, level=level)
    frame = read_frame(tmp_path / "a.zarr")
    assert frame.pixel_size_nm == pytest.approx(2.0)
    np.testing.assert_array_equal(frame.image, IMAGE)


@pytest.mark.parametrize("listed", [True, False])
def test_a_store_of_bioformats2raw_is_read_as_a_whole_and_by_image(tmp_path, listed):
    zarr = pytest.importorskip("zarr")
    store = tmp_path / "a.zarr"
    zarr.open_group(str(store), mode="w").attrs["bioformats2raw.layout"] = 3
    for name, image, scale in (("0", IMAGE, 0.002), ("1", IMAGE[::-1], 0.005), ("2", IMAGE[:9], 1)):
        ome_zarr(store / name, image, whole=[1.0] * 2, level=[scale] * 2)
    if listed:
        zarr.open_group(str(store / "OME"), mode="w").attrs["series"] = ["0", "1", "2"]
    found = list(iterate_file(store))
    np.testing.assert_array_equal([one.image for one in found], [IMAGE, IMAGE[::-1]])
    assert [one.pixel_size_nm for one in found] == pytest.approx([2.0, 5.0])
    assert size_nm(store / "1") == pytest.approx(5.0)
    np.testing.assert_array_equal(read_frame(store / "1" / "0").image, IMAGE[::-1])


def test_the_advice_for_a_plate_works(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w").attrs["plate"] = {}
    zarr.open_group(str(tmp_path / "a.zarr" / "A" / "1"), mode="w").attrs["well"] = {}
    zarr.open_group(str(tmp_path / "a.zarr" / "A"), mode="a")
    ome_zarr(tmp_path / "a.zarr" / "A" / "1" / "0", IMAGE, whole=[1.0] * 2, level=[0.001] * 2)
    with pytest.raises(FrameReadError, match="one image") as error:
        images(tmp_path / "a.zarr")
    advised = Path(str(error.value).rpartition("such as ")[2])
    assert size_nm(advised) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["", "file:"])
def test_a_store_is_a_source_that_ends(tmp_path, kind):
    ome_zarr(tmp_path / "a.zarr", IMAGE, whole=[1.0] * 2, level=[0.001] * 2)
    with open_source(f"{kind}{tmp_path / 'a.zarr'}") as source:
        found = list(source)
    np.testing.assert_array_equal([one.image for one in found], [IMAGE])
