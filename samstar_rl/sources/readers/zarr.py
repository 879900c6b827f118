"""Frames from Zarr stores: plain arrays, and OME-Zarr images at their full resolution."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samstar_rl.errors import MissingExtraError
from samstar_rl.sources.readers.pixel_size import square_nm, to_nm
from samstar_rl.sources.readers.planes import FrameReadError, Plane, count_planes, iterate_planes

METADATA_FILES = (".zarray", "zarr.json")
#: by one of which a folder is known as a store, or as a group or array within one
NODE_FILES = (*METADATA_FILES, ".zgroup")
# groups below each other that are searched for images: plate, row, column, field of view
MAX_DEPTH = 4


def read_zarr(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    """Read the images of a Zarr store lazily, plane by plane.

    Parameters
    ----------
    path : Path
        A store, or a group or an array within one. Of a store that bioformats2raw wrote the largest
        of its images are read.

    Yields
    ------
    plane, number of planes in the store, pixel size in nm or None

    Raises
    ------
    ImportError
        If Zarr is not installed, naming the extra.
    FrameReadError
        If the store is a group, but no OME-Zarr image, or if its chunks are pickles.
    """
    try:
        import zarr
    except ImportError as error:
        raise MissingExtraError(f"the Zarr store {path}", "zarr", "files") from error
    refuse_pickles(path)
    node = zarr.open(str(path), mode="r")
    images = [(node, None)] if hasattr(node, "dtype") else _images(node, path)
    size = max((array.shape[-2:] for array, _ in images), key=math.prod)
    images = [(array, size_nm) for array, size_nm in images if array.shape[-2:] == size]
    n_planes = sum(count_planes(array.shape) for array, _ in images)
    for array, size_nm in images:
        for plane in iterate_planes(array, str(path)):
            yield plane, n_planes, size_nm


def is_zarr_node(path: Path) -> bool:
    """Whether a folder is a Zarr store, or a group or an array within one."""
    return path.is_dir() and any((path / name).is_file() for name in NODE_FILES)


def refuse_pickles(path: Path) -> None:
    """Refuse a store whose chunks would be unpickled: reading such a one runs what it holds.

    Raises
    ------
    FrameReadError
    """
    for name in METADATA_FILES:
        for file in path.rglob(name):
            if "pickle" in _codecs(json.loads(file.read_text("utf-8"))):
                raise FrameReadError(
                    f"{path} holds pickled objects ({file.relative_to(path)}): it is not read, for "
                    "a pickle runs code; write the array with a numeric dtype"
                )


def _codecs(metadata: Mapping[str, Any]) -> set[str]:
    """Names of all codecs of an array, of Zarr's formats 2 (id) and 3 (name)."""
    keys = ("filters", "compressor", "codecs")
    entries = [entry for key in keys if (entry := metadata.get(key))]
    flat = [one for entry in entries for one in (entry if isinstance(entry, list) else [entry])]
    return {str(one.get("id") or one.get("name")).removeprefix("numcodecs.") for one in flat}


def _images(group: Any, path: Path) -> list[tuple[Any, float | None]]:
    """The full resolution of an OME-Zarr image, formats 0.4 and 0.5, or of each in a collection."""
    if (image := _full_resolution(group)) is not None:
        return [image]
    if "bioformats2raw.layout" in _ome_attributes(group):
        series = _ome_attributes(group["OME"]).get("series") if "OME" in group else None
        names = series or sorted((name for name in group if name.isdigit()), key=int)
        found = [image for name in names if (image := _full_resolution(group[name])) is not None]
        if found:
            return found
    below = list(_paths_of_images(group, MAX_DEPTH))
    held = ", ".join(below[:8] or sorted(group)) or "nothing"
    example = path / (below or [*sorted(group), "..."])[0]
    raise FrameReadError(
        f"{path} is a group ({held}) and no OME-Zarr image: give the path of one image or array in "
        f"it, such as {example}"
    )


def _paths_of_images(group: Any, depth: int) -> Iterator[str]:
    """Where below a group there are arrays, or images of several resolutions."""
    for name in sorted(group):
        node = group[name]
        if hasattr(node, "dtype") or _full_resolution(node) is not None:
            yield name
        elif depth > 1:
            yield from (f"{name}/{inner}" for inner in _paths_of_images(node, depth - 1))


def _ome_attributes(group: Any) -> Mapping[str, Any]:
    attributes = dict(group.attrs)
    found: Mapping[str, Any] = attributes.get("ome", attributes)
    return found


def _full_resolution(group: Any) -> tuple[Any, float | None] | None:
    """The first data set of an image and its pixel size; None if the group is no image."""
    if hasattr(group, "dtype") or not (scales := _ome_attributes(group).get("multiscales")):
        return None
    image = scales[0]
    first = image["datasets"][0]
    return group[first["path"]], _ome_pixel_size_nm(image.get("axes", []), image, first)


def _ome_pixel_size_nm(axes: list[Any], *levels: Mapping[str, Any]) -> float | None:
    """The size by the scales of the image and of the data set, which multiply."""
    scales = [
        one["scale"][-2:]
        for level in levels
        for one in level.get("coordinateTransformations", [])
        if one.get("type") == "scale"
    ]
    if not scales or len(axes) < 2 or not all(isinstance(axis, dict) for axis in axes):
        return None
    height, width = (math.prod(float(one) for one in along) for along in zip(*scales, strict=True))
    height_nm, width_nm = (
        to_nm(length, str(axis.get("unit", "")))
        for axis, length in zip(axes[-2:], (height, width), strict=True)
    )
    return None if height_nm is None or width_nm is None else square_nm(width_nm, height_nm)
