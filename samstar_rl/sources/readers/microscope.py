"""Frames from the files of microscopes and of HyperSpy, read by RosettaSciIO (extra `files`)."""

from __future__ import annotations

import importlib
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samstar_rl.errors import MissingExtraError
from samstar_rl.sources.readers.pixel_size import square_nm, to_nm
from samstar_rl.sources.readers.planes import FrameReadError, Plane, count_planes, iterate_planes
from samstar_rl.sources.readers.zarr import refuse_pickles

#: suffix -> the module of RosettaSciIO that reads it. Written out, for not every reader there is
#: safe with foreign files: the one for netCDF evaluates text that it finds in the file.
MODULES: dict[str, str] = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".emd": "emd",
    ".ser": "tia",
    ".emi": "tia",
    ".mrc": "mrc",
    ".ali": "mrc",
    ".mib": "quantumdetector",
    ".hspy": "hspy",
    ".zspy": "zspy",
    ".blo": "blockfile",
    ".tvips": "tvips",
    ".unf": "semper",
    ".rpl": "ripple",
}
#: units of what a spectrum is over, and how the names of such axes begin
ENERGIES = ("ev", "kev", "mev")
SPECTRAL_NAMES = ("energy", "wavelength", "wavenumber", "raman shift")
#: units of scattering angles
ANGLES = ("mrad", "rad", "deg", "°")
Axis = Mapping[str, Any]


def read_microscope_file(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    """Read the images of a file lazily, plane by plane.

    Of a file with several data sets those are read that are images, of the largest one's size:
    spectra, spectrum images, complex images, diffraction patterns beside micrographs and previews
    are left out.

    Parameters
    ----------
    path : Path
        With a suffix of `MODULES`.

    Yields
    ------
    plane, number of planes in the file, pixel size in nm or None

    Raises
    ------
    MissingExtraError
        If RosettaSciIO is not installed, naming the extra.
    FrameReadError
        If no data set is an image.
    """
    if path.suffix.lower() == ".zspy":
        refuse_pickles(path)
    images = _images_of_one_size(_open(path), path)
    n_planes = sum(count_planes(image["data"].shape) for image in images)
    for image in images:
        size_nm = None if _is_without_cell(image) else axes_pixel_size_nm(image["axes"][-2:])
        for plane in iterate_planes(image["data"], str(path)):
            yield plane, n_planes, size_nm


def axes_pixel_size_nm(axes: Sequence[Axis]) -> float | None:
    """Pixel size from the y and the x axis, each with ``scale`` and ``units``; None if unknown."""
    sizes = [to_nm(float(axis.get("scale", 1)), str(axis.get("units") or "")) for axis in axes]
    height_nm, width_nm = (None if size is None else abs(size) for size in sizes)
    return None if height_nm is None or width_nm is None else square_nm(width_nm, height_nm)


def _open(path: Path) -> list[dict[str, Any]]:
    kind = MODULES[path.suffix.lower()]
    # what an EMD file of Velox has besides images is proprietary, and wants a library more
    options = {"select_type": "images"} if kind == "emd" else {}
    try:
        module = importlib.import_module(f"rsciio.{kind}")
        try:
            return list(module.file_reader(str(path), lazy=True, **options))
        except (ValueError, NotImplementedError) as error:
            if "lazy" not in str(error).casefold():
                raise
            # DigitalMicrograph's colours are read at once or not at all
            return list(module.file_reader(str(path), lazy=False, **options))
    except ImportError as error:
        raise MissingExtraError(f"{path} ({error})", "RosettaSciIO", "files") from error


def _images_of_one_size(found: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    images = [one for one in found if _is_image(one)]
    micrographs = [one for one in images if not _is_diffraction(one)]
    if not images:
        held = ", ".join(_describe(one) for one in found) or "nothing"
        raise FrameReadError(f"{path} holds no image, but {held}")
    kept = micrographs or images
    size = max((one["data"].shape[-2:] for one in kept), key=math.prod)
    n_complex = sum(one["data"].dtype.kind == "c" for one in found)
    if n_complex:
        warnings.warn(
            f"{path}: {n_complex} of {len(found)} data sets are complex and were left out; take "
            "their modulus to have them read",
            stacklevel=2,
        )
    return [one for one in kept if one["data"].shape[-2:] == size]


def _is_image(one: dict[str, Any]) -> bool:
    """Whether the last two axes span an image of real values or colours, and no spectrum."""
    axes, data = one["axes"], one["data"]
    colour = (data.dtype.names or ())[:3] == ("R", "G", "B")
    return (
        data.ndim >= 2
        and (data.dtype.kind in "buif" or colour)
        and not any(axis.get("navigate", False) for axis in axes[-2:])
        and not _is_spectral(one)
    )


def _is_spectral(one: dict[str, Any]) -> bool:
    """Whether there is a spectrum at every position, wherever its axis stands."""
    axes = one["axes"]
    # an energy that is navigated has an image at each step, as in energy-filtered series
    among = [axis for axis in axes if not axis.get("navigate", False)]
    tags = _nested(one, "original_metadata", "ImageList", "TagGroup0", "ImageTags")
    if tags:  # DigitalMicrograph: the flags of its axes say the same of images and of spectra
        form = _nested(tags, "Meta Data", "Format")
        if form in ("Spectrum", "Spectrum image") or _nested(tags, "spim"):
            return True
        among = axes
    return any(
        _plain_unit(axis) in ENERGIES
        or str(axis.get("name") or "").casefold().startswith(SPECTRAL_NAMES)
        for axis in among
    )


def _is_diffraction(one: dict[str, Any]) -> bool:
    """Whether the axes are reciprocal lengths or angles."""
    units = [_plain_unit(axis) for axis in one["axes"][-2:]]
    return any("1/" in unit or "-1" in unit or "⁻¹" in unit or unit in ANGLES for unit in units)


def _plain_unit(axis: Axis) -> str:
    return re.sub(r"[\s\[\]_]", "", str(axis.get("units") or "")).casefold()


def _is_without_cell(image: dict[str, Any]) -> bool:
    """Whether it is of an MRC file whose header states no cell, from which sizes would come."""
    header = _nested(image, "original_metadata", "std_header")
    if not header or _nested(image, "original_metadata", "fei_header"):
        return False
    return any(
        float(header[length]) <= 0 or not 0 < int(header[n_cells]) < 1 << 31
        for length, n_cells in (("Xlen", "MX"), ("Ylen", "MY"))
    )


def _describe(one: dict[str, Any]) -> str:
    data = one["data"]
    kind = "spectra" if data.ndim >= 1 and _is_spectral(one) else f"{data.dtype} data"
    return f"{kind} of the shape {data.shape}"


def _nested(one: Any, *keys: str) -> Any:
    for key in keys:
        one = one.get(key) if isinstance(one, Mapping) else None
    return one
