"""Frames from Zarr stores: a plain array, or an OME-Zarr image at its full resolution."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samstar_rl.errors import MissingExtraError
from samstar_rl.sources.readers.pixel_size import square_nm, to_nm
from samstar_rl.sources.readers.planes import FrameReadError, Plane, count_planes, iterate_planes

METADATA_FILES = (".zarray", "zarr.json")


def read_zarr(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    """Read the images of a Zarr store lazily, plane by plane.

    Parameters
    ----------
    path : Path
        A folder that ends in .zarr.

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
    array, size_nm = (node, None) if hasattr(node, "dtype") else _full_resolution(node, path)
    for plane in iterate_planes(array, str(path)):
        yield plane, count_planes(array.shape), size_nm


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


def _full_resolution(group: Any, path: Path) -> tuple[Any, float | None]:
    """The first data set of an OME-Zarr image, formats 0.4 and 0.5, and its pixel size."""
    attributes = dict(group.attrs)
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        held = ", ".join(sorted(group)) or "nothing"
        raise FrameReadError(
            f"{path} is a group ({held}) and no OME-Zarr image: give the path of one of its arrays"
        )
    first = scales[0]["datasets"][0]
    return group[first["path"]], _ome_pixel_size_nm(scales[0].get("axes", []), first)


def _ome_pixel_size_nm(axes: list[Any], dataset: Mapping[str, Any]) -> float | None:
    scales = [
        one["scale"]
        for one in dataset.get("coordinateTransformations", [])
        if one.get("type") == "scale"
    ]
    if not scales or len(axes) < 2 or not all(isinstance(axis, dict) for axis in axes):
        return None
    sizes = [
        to_nm(float(scale), str(axis.get("unit", "")))
        for axis, scale in zip(axes[-2:], scales[0][-2:], strict=True)
    ]
    height_nm, width_nm = sizes
    return None if height_nm is None or width_nm is None else square_nm(width_nm, height_nm)
