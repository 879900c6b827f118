"""The pixel size that a file's metadata states, in nm."""

from __future__ import annotations

import math
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

from tifffile import TiffFile

#: in the singular: `to_nm` understands plurals, and "metre" as well as "meter"
NM_PER_UNIT = {
    "pm": 1e-3,
    "picometer": 1e-3,
    "å": 0.1,
    "a": 0.1,
    "angstrom": 0.1,
    "ångström": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "µm": 1e3,
    "μm": 1e3,
    "um": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "m": 1e9,
    "meter": 1e9,
}
CENTIMETRE = 3
# TIFF's own resolution field is meant for printers; no microscope has pixels above this
MAX_PLAUSIBLE_NM = 20_000.0
# pixels are called square up to this relative difference
SQUARE_TOLERANCE = 0.01

Sizes = tuple[float, float]


def tiff_pixel_size_nm(tiff: TiffFile) -> float | None:
    """Read the pixel size from the metadata of an open TIFF file.

    Understood are OME-XML, ImageJ, Thermo Fisher (FEI) and Zeiss SEM headers, and TIFF's own
    resolution in pixels per centimetre (per inch is what image editors invent for printing).

    Parameters
    ----------
    tiff : TiffFile

    Returns
    -------
    float or None
        Edge of a pixel in nm; None where the file does not say, or says that pixels are not square
        (with a warning).
    """
    for read in READERS:
        try:
            sizes_nm = read(tiff)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError):
            continue  # a header that is not what it claims to be states nothing
        if sizes_nm is not None and all(0 < size < math.inf for size in sizes_nm):
            return square_nm(*sizes_nm)
    return None


def to_nm(value: float, unit: str) -> float | None:
    """Convert a length to nm; None where the unit is unknown (pixels, inches)."""
    name = unit.strip().casefold()
    if len(name) > 2:
        name = name.removesuffix("s").replace("metre", "meter")
    factor = NM_PER_UNIT.get(name)
    return None if factor is None else value * factor


def square_nm(width_nm: float, height_nm: float) -> float | None:
    """The edge of square pixels; None, with a warning, where they are not square."""
    if abs(width_nm - height_nm) > SQUARE_TOLERANCE * width_nm:
        warnings.warn(
            f"pixels of {width_nm:.4g} nm x {height_nm:.4g} nm are not square; the pixel size is "
            "treated as unknown, resample the image or give --pixel-size",
            stacklevel=2,
        )
        return None
    return width_nm


def _ome(tiff: TiffFile) -> Sizes | None:
    if not tiff.ome_metadata:
        return None
    # nothing but attributes of one element is taken from the XML
    pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
    if pixels is None:
        return None
    lengths = [
        to_nm(float(pixels.attrib[f"PhysicalSize{axis}"]), pixels.get(unit_key, "µm"))
        for axis, unit_key in (("X", "PhysicalSizeXUnit"), ("Y", "PhysicalSizeYUnit"))
    ]
    return _both(*lengths)


def _imagej(tiff: TiffFile) -> Sizes | None:
    if not tiff.imagej_metadata:
        return None
    unit = _unescaped(str(tiff.imagej_metadata.get("unit", "")))
    return _both(*(to_nm(1 / per_px, unit) for per_px in _resolution(tiff)))


def _fei(tiff: TiffFile) -> Sizes | None:
    if not tiff.fei_metadata:
        return None
    scan = tiff.fei_metadata["Scan"]
    return float(scan["PixelWidth"]) * 1e9, float(scan["PixelHeight"]) * 1e9


def _zeiss(tiff: TiffFile) -> Sizes | None:
    if not tiff.sem_metadata:
        return None
    _, value, unit = tiff.sem_metadata["ap_image_pixel_size"]
    size_nm = to_nm(float(value), unit)
    return _both(size_nm, size_nm)


def _centimetres(tiff: TiffFile) -> Sizes | None:
    unit = tiff.pages.first.tags.get("ResolutionUnit")
    if unit is None or unit.value != CENTIMETRE:
        return None
    width_nm, height_nm = (NM_PER_UNIT["cm"] / per_cm for per_cm in _resolution(tiff))
    return (width_nm, height_nm) if max(width_nm, height_nm) <= MAX_PLAUSIBLE_NM else None


# from the most explicit statement to the least
READERS: tuple[Callable[[TiffFile], Sizes | None], ...] = (
    _ome,
    _fei,
    _zeiss,
    _imagej,
    _centimetres,
)


def _resolution(tiff: TiffFile) -> tuple[float, float]:
    """Pixels per unit along x and y."""
    tags = tiff.pages.first.tags
    (x_num, x_den), (y_num, y_den) = tags["XResolution"].value, tags["YResolution"].value
    return x_num / x_den, y_num / y_den


def _both(width_nm: float | None, height_nm: float | None) -> Sizes | None:
    return None if width_nm is None or height_nm is None else (width_nm, height_nm)


def _unescaped(unit: str) -> str:
    r"""ImageJ writes the micro sign as the six characters \u00B5."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), unit)
