"""Frames from the files of microscopes and of HyperSpy, read by RosettaSciIO (extra `files`)."""

from __future__ import annotations

import importlib
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
Axis = Mapping[str, Any]


def read_microscope_file(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    """Read the images of a file lazily, plane by plane.

    Of a file with several data sets those are read that are images, of the first one's size:
    spectra and previews are left out.

    Parameters
    ----------
    path : Path
        With a suffix of `MODULES`.

    Yields
    ------
    plane, number of planes in the file, pixel size in nm or None

    Raises
    ------
    ImportError
        If RosettaSciIO is not installed, naming the extra.
    FrameReadError
        If no data set is an image.
    """
    if path.suffix.lower() == ".zspy":
        refuse_pickles(path)
    images = _images_of_one_size(_open(path), path)
    n_planes = sum(count_planes(image["data"].shape) for image in images)
    for image in images:
        size_nm = axes_pixel_size_nm(image["axes"][-2:])
        for plane in iterate_planes(image["data"], str(path)):
            yield plane, n_planes, size_nm


def axes_pixel_size_nm(axes: Sequence[Axis]) -> float | None:
    """Pixel size from the y and the x axis, each with ``scale`` and ``units``; None if unknown."""
    sizes = [to_nm(float(axis.get("scale", 1)), str(axis.get("units") or "")) for axis in axes]
    height_nm, width_nm = (None if size is None else abs(size) for size in sizes)
    if not height_nm or not width_nm:
        return None
    return square_nm(width_nm, height_nm)


def _open(path: Path) -> list[dict[str, Any]]:
    try:
        module = importlib.import_module(f"rsciio.{MODULES[path.suffix.lower()]}")
        read: list[dict[str, Any]] = module.file_reader(str(path), lazy=True)
    except ImportError as error:
        raise MissingExtraError(f"{path} ({error})", "RosettaSciIO", "files") from error
    return read


def _images_of_one_size(found: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    images = [one for one in found if _is_image(one)]
    if not images:
        shapes = ", ".join(str(one["data"].shape) for one in found) or "nothing"
        raise FrameReadError(f"{path} holds no image, but data of the shapes {shapes}")
    size = images[0]["data"].shape[-2:]
    return [one for one in images if one["data"].shape[-2:] == size]


def _is_image(one: dict[str, Any]) -> bool:
    """Whether the last two axes span an image, and not the energies of a spectrum."""
    axes = one["axes"]
    return one["data"].ndim >= 2 and not any(axis.get("navigate", False) for axis in axes[-2:])
