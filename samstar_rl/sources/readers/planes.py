"""Planes of arrays: what every reader of files and arrays shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError

# what the two sRGB-like weights of red, green and blue are in ITU-R BT.601
LUMINANCE = (0.299, 0.587, 0.114)

Plane = NDArray[np.generic]


class FrameReadError(SamstarError):
    """A file is missing, damaged, half-written, or not of a kind that is read here."""


def is_colour(shape: tuple[int, ...]) -> bool:
    """Whether the last axis holds red, green, blue and perhaps opacity."""
    return len(shape) >= 3 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4


def count_planes(shape: tuple[int, ...]) -> int:
    """Images in an array of this shape."""
    return int(np.prod(shape[: -_plane_axes(shape)], dtype=int))


def iterate_planes(array: Any, name: str) -> Iterator[Plane]:
    """Take an array apart into its images, one at a time.

    Parameters
    ----------
    array : array_like with ``shape`` and indexing
        NumPy, memory-mapped, dask, Zarr or HDF5: a plane is read when it is asked for.
    name : str
        For errors.

    Yields
    ------
    (H, W) or (H, W, 3) array
        In the order of the leading axes.

    Raises
    ------
    FrameReadError
        If there are fewer than two axes, or an axis is empty.
    """
    shape = tuple(array.shape)
    n_axes = _plane_axes(shape)
    if len(shape) < n_axes or 0 in shape:
        raise FrameReadError(
            f"{name} holds an array of the shape {shape}: expected (height, width), "
            "(frames, height, width) or (height, width, 3)"
        )
    for index in np.ndindex(shape[:-n_axes]):
        yield _as_plane(array[index])


def _as_plane(values: Any) -> Plane:
    """One image as a plain array: masked pixels become NaN, HyperSpy's colours a last axis."""
    if hasattr(values, "compute"):  # dask's own conversion forgets masks
        values = values.compute()
    if isinstance(values, np.ma.MaskedArray) and values.mask.any():
        values = np.ma.filled(values.astype(np.float32), np.nan)
    plane = np.asarray(values)
    if plane.dtype.names is not None and plane.dtype.names[:3] == ("R", "G", "B"):
        plane = structured_to_unstructured(plane)
    return plane


def to_grey(plane: Plane, name: str) -> NDArray[np.float32]:
    """Colour to luminance, and every real type to float32.

    Raises
    ------
    FrameReadError
        If the values are not real numbers.
    """
    if plane.dtype.kind not in "buif":
        raise FrameReadError(
            f"{name} holds {plane.dtype} values: expected real numbers; take the modulus of a "
            "complex image"
        )
    if plane.ndim == 3:
        plane = plane[..., :3] @ np.asarray(LUMINANCE)
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which conversion understands
        return np.asarray(plane, dtype=np.float32)


def _plane_axes(shape: tuple[int, ...]) -> int:
    return 3 if is_colour(shape) else 2
