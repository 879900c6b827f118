"""Lengths with units as pixel sizes in nm, where they can be such."""

from __future__ import annotations

import warnings

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
# what a micrograph's pixel cannot be larger or smaller than: 1 mm and 1 fm
MAX_NM, MIN_NM = 1e6, 1e-6
# pixels are called square up to this relative difference
SQUARE_TOLERANCE = 0.01


def to_nm(value: float, unit: str) -> float | None:
    """Convert a length to nm; None where the unit is unknown (pixels, inches, 1/nm).

    EMD files write units as ``[n_m]``, C programs end them with a zero.
    """
    name = unit.replace("\0", "").strip().strip("[]").replace("_", "").casefold()
    if len(name) > 2:
        name = name.removesuffix("s").replace("metre", "meter")
    factor = NM_PER_UNIT.get(name)
    return None if factor is None else value * factor


def square_nm(width_nm: float, height_nm: float) -> float | None:
    """The edge of square pixels in nm.

    None where they are not square (with a warning), or are what no pixel of a micrograph is:
    above 1 mm, below 1 fm, no number.
    """
    if not (MIN_NM <= width_nm <= MAX_NM and MIN_NM <= height_nm <= MAX_NM):
        return None
    if abs(width_nm - height_nm) > SQUARE_TOLERANCE * width_nm:
        warnings.warn(
            f"pixels of {width_nm:.4g} nm x {height_nm:.4g} nm are not square; the pixel size is "
            "treated as unknown, resample the image or give --pixel-size",
            stacklevel=2,
        )
        return None
    return width_nm
