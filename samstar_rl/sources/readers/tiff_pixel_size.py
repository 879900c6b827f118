"""The pixel size that the headers of a TIFF file state."""

from __future__ import annotations

import math
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tifffile import RESUNIT, TiffFile, TiffPageSeries

from samstar_rl.errors import SamstarError
from samstar_rl.sources.readers.pixel_size import NM_PER_UNIT, square_nm, to_nm

# TIFF's own resolution field is meant for printers; no microscope has pixels above this
MAX_PRINTED_NM = 20_000.0
# DigitalMicrograph's tags
DM_UNITS, DM_SCALES = (65003, 65004), (65009, 65010)
# width in px of the display by which Zeiss' programs count where they do not say otherwise
ZEISS_DISPLAY_PX = 1024
NM_PER_INCH = 2.54e7

Sizes = tuple[float, float]
# what the program states that wrote the file, and is no length: nothing else is asked then
NO_LENGTH: Sizes = (math.nan, math.nan)


def tiff_pixel_size_nm(tiff: TiffFile, series: TiffPageSeries) -> float | None:
    """Read the pixel size of one of the images of an open TIFF file.

    Understood are OME-XML (a size for each image), the headers of Thermo Fisher (FEI), Zeiss, JEOL,
    DigitalMicrograph, TVIPS, Olympus SIS and ImageJ, the text file that JEOL's SEMs write beside
    the image, and TIFF's own resolution in pixels per centimetre (per inch is what image editors
    invent for printing).

    Parameters
    ----------
    tiff : TiffFile
    series : TiffPageSeries
        The image.

    Returns
    -------
    float or None
        Edge of a pixel in nm; None where the file does not say, says what cannot be, or says that
        pixels are not square (with a warning).
    """
    for read in READERS:
        try:
            sizes_nm = read(tiff, series)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError):
            continue  # a header that is not what it claims to be states nothing
        if sizes_nm is NO_LENGTH:
            return None
        if sizes_nm is not None and all(0 < size < math.inf for size in sizes_nm):
            return square_nm(*sizes_nm)
    return None


def _ome(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    if not tiff.ome_metadata:
        return None
    # nothing but attributes of elements is taken from the XML
    images = ElementTree.fromstring(tiff.ome_metadata).findall("{*}Image")
    if len(images) == len(tiff.series):  # in the same order
        images = [images[[one is series for one in tiff.series].index(True)]]
    elif len(images) > 1:  # some are in other files
        images = [image for image in images if image.get("Name") == series.name]
    (image,) = images
    pixels = image.find("{*}Pixels")
    if pixels is None:
        return None
    width_nm, height_nm = (
        to_nm(float(pixels.attrib[key]), pixels.get(f"{key}Unit", "µm"))
        if key in pixels.attrib
        else None
        for key in ("PhysicalSizeX", "PhysicalSizeY")
    )
    if width_nm is not None and height_nm is None and "PhysicalSizeY" not in pixels.attrib:
        warnings.warn(
            f"{tiff.filename} states the size of a pixel along x alone, {width_nm:.4g} nm: it is "
            "taken for y, too",
            stacklevel=2,
        )
        height_nm = width_nm
    return _both(width_nm, height_nm)


def _fei(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    metadata = tiff.fei_metadata
    if not metadata:
        return None
    for section in ("Scan", "EScan", "IScan"):
        if "PixelWidth" in metadata.get(section, {}):
            scan = metadata[section]
            return float(scan["PixelWidth"]) * 1e9, float(scan["PixelHeight"]) * 1e9
    beam, image = metadata["IRBeam"], metadata["Image"]
    return (
        float(beam["HFW"]) / float(image["ResolutionX"]) * 1e9,
        float(beam["VFW"]) / float(image["ResolutionY"]) * 1e9,
    )


def _zeiss(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    """The image's own pixels, which its width gives as well; others are the display's."""
    metadata = tiff.sem_metadata
    if not metadata:
        return None
    width_px = series.shape[series.axes.index("X")]
    if (size_nm := _zeiss_length_nm(metadata.get("ap_image_pixel_size"))) is None:
        whole_nm = _zeiss_length_nm(metadata.get("ap_width"))
        size_nm = None if whole_nm is None else whole_nm / width_px
    if size_nm is None:
        shown_nm = _zeiss_length_nm(metadata.get("ap_pixel_size"))
        if shown_nm is None:
            shown_nm = float(metadata[""][3]) * 1e9
        size_nm = shown_nm * ZEISS_DISPLAY_PX / width_px
    return _both(size_nm, size_nm)


def _zeiss_length_nm(entry: tuple[Any, ...] | None) -> float | None:
    """A length of the header, such as ``("Width", 114.3, "µm")``."""
    if entry is None:
        return None
    text = " ".join(str(part) for part in entry[1:])
    match = re.fullmatch(r"\s*([-+.\deE]+)\s*(\S+)\s*", text)
    return None if match is None else to_nm(float(match[1]), match[2])


def _jeol(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    """JEOL's TEMs state the resolution on the detector, and the magnification in XML."""
    page = series.keyframe
    if not str(page.tags.valueof("Make", "")).startswith("JEOL"):
        return None
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", page.description).strip()
    root = ElementTree.fromstring(text)
    mode = root.findtext(".//{*}EosMode"), root.findtext(".//{*}ImageFormingSystem/{*}ModeString")
    if mode != ("eosTEM", "MAG"):
        return NO_LENGTH  # a diffraction pattern, or scanned
    magnification = float(root.findtext(".//{*}ImageFormingSystem/{*}SelectorValue") or 0)
    return _both(
        *(size / magnification for size in _printed_nm(series, (RESUNIT.INCH, RESUNIT.CENTIMETER)))
    )


def _digital_micrograph(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    tags = series.keyframe.tags
    if not all(code in tags for code in DM_SCALES):
        return None
    sizes_nm = (
        to_nm(float(tags.valueof(scale)), str(tags.valueof(unit, "")))
        for scale, unit in zip(DM_SCALES, DM_UNITS, strict=True)
    )
    return _both(*sizes_nm) or NO_LENGTH


def _tvips(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    metadata = tiff.tvips_metadata or {}
    return (float(metadata["PixelSizeX"]), float(metadata["PixelSizeY"]))


def _olympus(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    metadata = tiff.sis_metadata or {}
    return (float(metadata["pixelsizex"]) * 1e9, float(metadata["pixelsizey"]) * 1e9)


def _imagej(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    if not tiff.imagej_metadata:
        return None
    unit = str(tiff.imagej_metadata.get("unit", ""))
    # ImageJ writes the micro sign as the six characters \u00B5
    unit = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), unit)
    return _both(*(to_nm(1 / per_px, unit) for per_px in _resolution(series)))


def _text_beside(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    """JEOL's SEMs write NAME.txt, where the scale bar's length stands in px and in words."""
    path = Path(tiff.filehandle.path).with_suffix(".txt")
    if not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(1 << 16).decode("latin-1")
    entries = dict(re.findall(r"^\$+(\w+)[ \t]+(.*?)\s*$", text, re.MULTILINE))
    length = re.fullmatch(r"([.\d]+)\s*(\D+)", entries["SM_MICRON_MARKER"])
    if length is None:
        return None
    bar_nm = to_nm(float(length[1]), length[2])
    # the bar is as long as on the full image, of which a smaller one may have been saved
    full_px = float(entries.get("CM_FULL_SIZE", "").split()[0] or 0)
    share = full_px / series.shape[series.axes.index("X")] if full_px else 1.0
    size_nm = None if bar_nm is None else bar_nm / float(entries["SM_MICRON_BAR"]) * share
    return _both(size_nm, size_nm)


def _centimetres(tiff: TiffFile, series: TiffPageSeries) -> Sizes | None:
    width_nm, height_nm = _printed_nm(series, (RESUNIT.CENTIMETER,))
    return (width_nm, height_nm) if max(width_nm, height_nm) <= MAX_PRINTED_NM else None


# from the most explicit statement to the least
READERS: tuple[Callable[[TiffFile, TiffPageSeries], Sizes | None], ...] = (
    _ome,
    _fei,
    _zeiss,
    _jeol,
    _digital_micrograph,
    _tvips,
    _olympus,
    _imagej,
    _text_beside,
    _centimetres,
)


def _resolution(series: TiffPageSeries) -> tuple[float, float]:
    """Pixels per unit along x and y."""
    tags = series.keyframe.tags
    (x_num, x_den), (y_num, y_den) = tags["XResolution"].value, tags["YResolution"].value
    return x_num / x_den, y_num / y_den


def _printed_nm(series: TiffPageSeries, units: tuple[RESUNIT, ...]) -> Sizes:
    """Size of a pixel by TIFF's own resolution, where that is in one of the units."""
    unit = series.keyframe.tags["ResolutionUnit"].value
    if unit not in units:
        raise SamstarError(f"the resolution is in {unit}")
    unit_nm = NM_PER_INCH if unit == RESUNIT.INCH else NM_PER_UNIT["cm"]
    x, y = _resolution(series)
    return unit_nm / x, unit_nm / y


def _both(width_nm: float | None, height_nm: float | None) -> Sizes | None:
    return None if width_nm is None or height_nm is None else (width_nm, height_nm)
