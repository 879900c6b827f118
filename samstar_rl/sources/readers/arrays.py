"""Frames from what a notebook holds: arrays of any library, HyperSpy signals, frames, files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from samstar_rl.frames.frame import Frame
from samstar_rl.sources.readers.microscope import axes_pixel_size_nm
from samstar_rl.sources.readers.planes import FrameReadError, count_planes, iterate_planes, to_grey
from samstar_rl.sources.readers.registry import iterate_file


def as_frame(image: Any, *, pixel_size_nm: float | None = None) -> Frame:
    """Make one frame of an image.

    Parameters
    ----------
    image : Frame, array, HyperSpy signal or path
        As for `iterate_frames`, of a single image.
    pixel_size_nm : float, optional
        Takes precedence over what the image states.

    Raises
    ------
    FrameReadError
        If there is more than one image.
    """
    frames = iterate_frames(image, pixel_size_nm=pixel_size_nm)
    frame = next(frames)
    if next(frames, None) is not None:
        raise FrameReadError(
            "expected one image, got a stack: select one, or iterate with segment_stack"
        )
    return frame


def iterate_frames(images: Any, *, pixel_size_nm: float | None = None) -> Iterator[Frame]:
    """Make frames of images, each when it is asked for.

    Parameters
    ----------
    images : Frame, array, HyperSpy signal or path
        NumPy, dask, Zarr, HDF5 or whatever `numpy.asarray` takes, of the shape (height, width),
        (height, width, 3 or 4) or with further axes in front; pixels that are masked count as
        missing. A HyperSpy signal of images, lazy ones too, whose axes give the pixel size. A path
        is read as `iterate_file` does.
    pixel_size_nm : float, optional
        Takes precedence over what the images state.

    Yields
    ------
    Frame

    Raises
    ------
    FrameReadError
        If it is no image.
    """
    if isinstance(images, Frame):
        yield images if pixel_size_nm is None else replace(images, pixel_size_nm=pixel_size_nm)
        return
    if isinstance(images, str | Path):
        yield from iterate_file(images, pixel_size_nm=pixel_size_nm)
        return
    array, name, stated_nm = _array_of(images)
    size_nm = stated_nm if pixel_size_nm is None else pixel_size_nm
    single = count_planes(tuple(array.shape)) == 1
    for index, plane in enumerate(iterate_planes(array, name)):
        yield Frame(to_grey(plane, name), size_nm, name if single else f"{name}-{index:05d}")


def _array_of(images: Any) -> tuple[Any, str, float | None]:
    """The array, its name, and the pixel size where it is known."""
    if hasattr(images, "axes_manager"):  # HyperSpy's: navigation axes first, then y and x
        axes = images.axes_manager.signal_axes
        if len(axes) != 2:
            raise FrameReadError(
                f"the signal has {len(axes)} signal axes, an image has two: "
                "signal.as_signal2D((x, y)) makes images of it"
            )
        x, y = ({"scale": axis.scale, "units": axis.units} for axis in axes)
        title = str(images.metadata.get_item("General.title", "") or "image")
        return images.data, title, axes_pixel_size_nm([y, x])
    # dask, Zarr and HDF5 arrays can be indexed as they are: nothing is read yet. Tables, which have
    # no dtype, are indexed otherwise.
    if all(hasattr(images, name) for name in ("shape", "dtype", "__getitem__")):
        return images, "image", None
    return np.asarray(images), "image", None
