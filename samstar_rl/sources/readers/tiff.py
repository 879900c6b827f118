"""Frames from TIFF files: which of their images is the micrograph, and what its samples mean."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TIFF, TiffFile, TiffPageSeries

from samstar_rl.sources.readers.planes import FrameReadError, Plane
from samstar_rl.sources.readers.tiff_pixel_size import tiff_pixel_size_nm

ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
# what tifffile turns into red, green and blue while it decompresses
JPEG = (COMPRESSION.JPEG, COMPRESSION.OJPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)
# tag 255, from before there were flags: this is a smaller version of another image
OLD_SUBFILE_TYPE, OLD_REDUCED = 255, 2
# a palette is a ramp of greys if this share of its entries lies so close to one, on 0 to 255: some
# microscopes keep a few entries for coloured annotations
RAMP_SHARE, RAMP_TOLERANCE = 0.9, 2.0
# levels of a palette that stretches or clips the contrast of intensities, as it becomes brighter
MIN_LEVELS = 32


def read_tiff(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    """Read the images of a TIFF file lazily, plane by plane.

    Parameters
    ----------
    path : Path

    Yields
    ------
    plane, number of planes in the file, pixel size in nm or None
        As a screen would show it: an image whose white is zero is inverted, a palette looked up
        (unless it only colours intensities), opacity left out.

    Raises
    ------
    FrameReadError
        If the file ends early, or is compressed by what cannot be undone here.
    """
    with TiffFile(path) as tiff:
        # tifffile logs what it finds missing, instead of raising it
        with _Complaints("tifffile") as complaints:
            everything = tiff.series
        if not everything or any("invalid page offset" in one for one in complaints.messages):
            raise FrameReadError(
                f"{path} ends before its last plane: it is damaged or still being written"
            )
        images = _images(everything, path)
        sizes_nm = [tiff_pixel_size_nm(tiff, one) for one in images]
        n_frames = sum(_count_planes(one) * _count_channels(one) for one in images)
        for one, size_nm in zip(images, sizes_nm, strict=True):
            planes = _planes(one)
            while True:
                with _naming_decoders(one, path):
                    plane = next(planes, None)
                if plane is None:
                    break
                for picture in _as_on_a_screen(plane, one, display_palette=tiff.is_imagej):
                    yield picture, n_frames, size_nm


class _Complaints(logging.Handler):
    """Collects what a library logs as an error instead of raising it, in this thread only."""

    def __init__(self, logger_name: str) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []
        self._logger = logging.getLogger(logger_name)
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of a record."""
        if record.thread == self._thread:
            self.messages.append(record.getMessage())

    def __enter__(self) -> _Complaints:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._logger.removeHandler(self)


def _images(everything: Sequence[TiffPageSeries], path: Path) -> list[TiffPageSeries]:
    """The largest images of the file: thumbnails and previews lie before or behind them.

    Among images of one size a preview is told by its colours, or by its fewer bits.
    """
    found = [one for one in everything if {"Y", "X"} <= set(one.axes) and 0 not in one.shape]
    if not found:
        raise FrameReadError(f"{path} holds no image")
    whole = [one for one in found if not _is_reduced(one)] or found
    best = max(whole, key=_rank)
    return [
        one for one in whole if _rank(one) == _rank(best) and _plane_size(one) == _plane_size(best)
    ]


def _is_reduced(series: TiffPageSeries) -> bool:
    page = series.keyframe
    old = page.tags.get(OLD_SUBFILE_TYPE)
    return (
        page.is_reduced
        or page.is_mask
        or page.photometric == PHOTOMETRIC.MASK
        or (old is not None and old.value == OLD_REDUCED)
    )


def _rank(series: TiffPageSeries) -> tuple[bool, int, bool, int]:
    height, width = _plane_size(series)
    page = series.keyframe
    grey = page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    return series.dtype.kind in "buif", height * width, grey, int(np.max(page.bitspersample))


def _plane_size(series: TiffPageSeries) -> tuple[int, int]:
    return series.shape[series.axes.index("Y")], series.shape[series.axes.index("X")]


def _count_planes(series: TiffPageSeries) -> int:
    n_samples = series.shape[series.axes.index("S")] if "S" in series.axes else 1
    return math.prod(series.shape) // (n_samples * math.prod(_plane_size(series)))


@contextmanager
def _naming_decoders(series: TiffPageSeries, path: Path) -> Iterator[None]:
    """See to it that a compression that cannot be undone does not look like damage."""
    compression = series.keyframe.compression
    try:
        if compression != COMPRESSION.NONE:
            TIFF.DECOMPRESSORS[compression]
        yield
    except (KeyError, ValueError, ImportError) as error:
        if not isinstance(error, ImportError) and "COMPRESSION" not in str(error):
            raise
        name = getattr(compression, "name", compression)
        raise FrameReadError(
            f"{path} is compressed as {name} (scheme {int(compression)}), which cannot be "
            "decoded here: save it uncompressed, or with LZW or Deflate"
        ) from error


def _planes(series: TiffPageSeries) -> Iterator[NDArray[Any]]:
    """The planes as (height, width) or (height, width, samples), in the order of the file."""
    axes = series.axes
    last = [axes.index(name) for name in ("Y", "X", "S") if name in axes]
    n_planes = _count_planes(series)
    if len(series.pages) == n_planes:  # one page after the other
        order = np.argsort(np.argsort(last))
        shape = tuple(series.shape[index] for index in sorted(last))
        for page in series.pages:
            if page is None:
                raise FrameReadError("a plane of the stack is missing")
            yield page.asarray().reshape(shape).transpose(order)
    else:  # planes that share a page: volumes, stacks of ImageJ
        values = series.asarray()
        leading = [index for index in range(len(axes)) if index not in last]
        values = values.transpose(leading + last)
        yield from values.reshape(n_planes, *values.shape[len(leading) :])


def _count_channels(series: TiffPageSeries) -> int:
    """Frames that one plane makes: several where its samples are detectors, not colours."""
    page = series.keyframe
    if "S" not in series.axes or page.photometric not in (
        PHOTOMETRIC.MINISBLACK,
        PHOTOMETRIC.MINISWHITE,
    ):
        return 1
    n_samples = series.shape[series.axes.index("S")]
    if not page.extrasamples:  # three or four samples that nobody explains are a colour
        return 1 if n_samples > 2 else n_samples
    return n_samples - sum(one in ALPHA for one in page.extrasamples)


def _as_on_a_screen(
    plane: NDArray[Any], series: TiffPageSeries, *, display_palette: bool
) -> Iterator[NDArray[Any]]:
    """Turn the samples of a plane into images that are brighter where they are larger.

    Parameters
    ----------
    plane : (H, W) or (H, W, S) array
    series : TiffPageSeries
        That it is of.
    display_palette : bool
        The palette only colours intensities, as ImageJ's lookup tables do.

    Yields
    ------
    (H, W) or (H, W, 3) array
    """
    page = series.keyframe
    kind = page.photometric
    if kind in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE):
        n_channels = _count_channels(series)
        is_colour = plane.ndim == 3 and not page.extrasamples and plane.shape[2] > 2
        channels = [plane]
        if plane.ndim == 3 and not is_colour:
            channels = [plane[..., channel] for channel in range(n_channels)]
        n_bits = int(np.max(page.bitspersample))
        for channel in channels:
            yield _inverted(channel, n_bits) if kind == PHOTOMETRIC.MINISWHITE else channel
    elif kind == PHOTOMETRIC.PALETTE:
        indices = plane[..., 0] if plane.ndim == 3 else plane
        if display_palette or page.colormap is None:
            yield indices
        else:
            yield _looked_up(indices, page.colormap)
    elif kind == PHOTOMETRIC.SEPARATED and plane.ndim == 3 and plane.shape[2] >= 4:
        # cyan, magenta, yellow and black as red, green and blue
        full = np.iinfo(plane.dtype).max if plane.dtype.kind in "ui" else 1
        yield (full - plane[..., :3].astype(np.float64)) * (full - plane[..., 3:4]) / full
    elif kind == PHOTOMETRIC.YCBCR and page.compression in JPEG:
        yield plane
    elif plane.ndim == 3 and (kind in LIGHTNESS_FIRST or plane.shape[2] < 3):
        yield plane[..., 0]
    else:
        yield plane


# kinds of colour whose first sample is how bright a pixel is
LIGHTNESS_FIRST = (
    PHOTOMETRIC.YCBCR,
    PHOTOMETRIC.CIELAB,
    PHOTOMETRIC.ICCLAB,
    PHOTOMETRIC.ITULAB,
    PHOTOMETRIC.LOGLUV,
)


def _inverted(plane: NDArray[Any], n_bits: int) -> NDArray[Any]:
    """White is zero: what a screen shows."""
    if plane.dtype.kind == "f":
        return np.nanmin(plane) + np.nanmax(plane) - plane
    if plane.dtype.kind == "u":
        return plane.dtype.type((1 << n_bits) - 1) - plane
    return ~plane  # of bits, and of signed integers


def _looked_up(indices: NDArray[Any], palette: NDArray[Any]) -> NDArray[Any]:
    """The colours of a palette; the indices themselves where its entries only become brighter."""
    colours = np.asarray(palette, dtype=np.int64)
    if colours.max(initial=0) > 255:
        colours = colours >> 8
    if _is_ramp(colours):
        return indices
    return colours.T[indices.astype(np.intp)].astype(np.uint8)


def _is_ramp(colours: NDArray[np.int64]) -> bool:
    """Whether the indices are intensities already, as in the 8-bit files of many microscopes."""
    grey = (colours[0] == colours[1]) & (colours[1] == colours[2])
    steps = np.diff(colours[0])
    n_levels = len(np.unique(colours[0]))
    # of a few greys anywhere the indices say nothing
    if grey.all() and ((steps > 0).all() or ((steps >= 0).all() and n_levels >= MIN_LEVELS)):
        return True
    ramp = np.linspace(0, 255, colours.shape[1])
    return bool((grey & (abs(colours[0] - ramp) <= RAMP_TOLERANCE)).mean() >= RAMP_SHARE)
