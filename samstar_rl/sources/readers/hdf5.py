"""Frames from HDF5 files of acquisitions: asyncroscopy's ``image/*`` and NSID's ``Channel_*``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from samstar_rl.errors import MissingExtraError
from samstar_rl.sources.readers.pixel_size import square_nm, to_nm
from samstar_rl.sources.readers.planes import (
    FrameReadError,
    Plane,
    count_planes,
    is_colour,
    iterate_planes,
)

# kinds of NSID's data sets whose last two axes are no image
NO_IMAGES = ("SPECTRUM", "SPECTRAL_IMAGE", "LINE_PLOT", "POINT_CLOUD", "IMAGE_4D")


def read_hdf5(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    """Read the images of an acquisition lazily, plane by plane.

    Those under ``image`` are read, one a detector; where there are none, those under
    ``Channel_000``, ``Channel_001``, ... of NSID. Of several, those of the first one's size.

    Parameters
    ----------
    path : Path

    Yields
    ------
    plane, number of planes in the file, pixel size in nm or None

    Raises
    ------
    MissingExtraError
        If h5py is not installed.
    FrameReadError
        If there is no such image.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("HDF5 files", "h5py", "files") from error
    with h5py.File(path, "r") as file:
        images = _find_images(file, h5py.Dataset, path)
        first = images[0].shape
        size = first[:2] if len(first) == 3 and is_colour(first) else first[-2:]
        images = [one for one in images if one.shape[-2:] == size or one.shape[:2] == size]
        n_planes = sum(count_planes(one.shape) for one in images)
        for image in images:
            size_nm = _pixel_size_nm(image, file)
            for plane in iterate_planes(image, str(path)):
                yield plane, n_planes, size_nm


def _find_images(file: Any, kind: Any, path: Path) -> list[Any]:
    found: list[tuple[str, Any]] = []

    def note(name: str, item: Any) -> None:
        """Take arrays of numbers, but not the scales of others' axes."""
        if isinstance(item, kind) and item.dtype.kind in "buifc" and not item.is_scale:
            found.append((name, item))

    file.visititems(note)
    by_detector = [item for name, item in found if re.match(r"(.*/)?image(/|$)", name)]
    channels = [item for name, item in found if re.search(r"(^|/)Channel_\d+(/|$)", name)]
    images = [item for item in by_detector or channels if _is_image(item)]
    if not images:
        shapes = ", ".join(f"{name} {item.shape}" for name, item in found) or "no arrays"
        raise FrameReadError(
            f"{path} holds no image under image/ or Channel_*, which are read here, but {shapes}"
        )
    return images


def _is_image(item: Any) -> bool:
    kind = _text(item.attrs.get("data_type", ""))
    real = item.dtype.kind != "c"
    return real and item.ndim >= 2 and kind.upper().rpartition(".")[2] not in NO_IMAGES


def _pixel_size_nm(image: Any, file: Any) -> float | None:
    """From ``pixel_size_m`` or ``fov_m`` of the data set or the file, or the scales of its axes."""
    for attributes in (image.attrs, image.parent.attrs, file.attrs):
        if "pixel_size_m" in attributes:
            size_nm = 1e9 * _number(attributes["pixel_size_m"])
            return square_nm(size_nm, size_nm)
        if "fov_m" in attributes:
            size_nm = 1e9 * _number(attributes["fov_m"]) / image.shape[-1]
            return square_nm(size_nm, size_nm)
    sizes = [_spacing_nm(dimension) for dimension in list(image.dims)[-2:]]
    if len(sizes) < 2 or sizes[0] is None or sizes[1] is None:
        return None
    return square_nm(sizes[1], sizes[0])


def _spacing_nm(dimension: Any) -> float | None:
    """The step of an axis from the scale that is attached to it."""
    if len(dimension) == 0:
        return None
    scale = dimension[0]
    values = np.asarray(scale[:2], np.float64)
    if values.shape != (2,):
        return None
    size_nm = to_nm(float(values[1] - values[0]), _text(scale.attrs.get("units", "")))
    return None if not size_nm else abs(size_nm)


def _number(value: Any) -> float:
    values = np.asarray(value, np.float64).ravel()
    return float(values[0]) if values.size else float("nan")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
