"""Frames from files, single images or stacks, read plane by plane."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tifffile import TiffFile, TiffPageSeries

from samstar_rl.frames.frame import Frame
from samstar_rl.sources.readers.microscope import MODULES, read_microscope_file
from samstar_rl.sources.readers.pixel_size import tiff_pixel_size_nm
from samstar_rl.sources.readers.planes import FrameReadError as FrameReadError
from samstar_rl.sources.readers.planes import Plane, count_planes, iterate_planes, to_grey
from samstar_rl.sources.readers.zarr import read_zarr


def iterate_file(path: str | Path, *, pixel_size_nm: float | None = None) -> Iterator[Frame]:
    """Read the frames of an image file lazily.

    Parameters
    ----------
    path : path
        A PNG, JPEG, BMP, TIFF or NPY file, a Zarr store, or a microscope's file (`READERS` has all
        suffixes). Colour becomes luminance; stacks of any number of axes are read plane by plane
        in the order of the file.
    pixel_size_nm : float, optional
        Takes precedence over what the file states.

    Yields
    ------
    Frame
        With the file's stem as id, in stacks followed by the plane's number, and the time of the
        file's last change.

    Raises
    ------
    FrameReadError
        If the file is missing, damaged, half-written or of another kind. A damaged stack yields
        the planes before the damage.
    ImportError
        If the file needs a library of the extra `files` that is not installed.
    """
    path = Path(path)
    read = _reader(path)
    index = -1
    try:
        time = path.stat().st_mtime
        for index, (plane, n_planes, stated_nm) in enumerate(read(path)):
            frame_id = path.stem if n_planes == 1 else f"{path.stem}-{index:05d}"
            size_nm = stated_nm if pixel_size_nm is None else pixel_size_nm
            yield Frame(to_grey(plane, str(path)), size_nm, frame_id, time)
    except FileNotFoundError as error:
        raise FrameReadError(f"there is no file {path}: check the path") from error
    except (FrameReadError, ImportError):
        raise
    except Exception as error:  # every codec raises its own types on damaged files
        place = "" if index < 0 else f" after {index + 1} good frames"
        raise FrameReadError(
            f"{path} cannot be read{place}: {_first_line(error)}; expected a whole "
            f"{path.suffix.lstrip('.').upper()} image, the file is damaged or still being written"
        ) from error
    if index < 0:
        raise FrameReadError(f"{path} holds no image")


def read_frame(path: str | Path, *, pixel_size_nm: float | None = None) -> Frame:
    """Read a file of a single image.

    Raises
    ------
    FrameReadError
        As `iterate_file`, and if the file holds a stack.
    """
    frames = iterate_file(path, pixel_size_nm=pixel_size_nm)
    frame = next(frames)
    if next(frames, None) is not None:
        raise FrameReadError(f"{path} holds a stack of images: iterate it with iterate_file")
    return frame


def list_image_files(folder: str | Path) -> list[Path]:
    """List the files of a folder that can be frames, img_2 before img_10; hidden ones are left out.

    Raises
    ------
    FrameReadError
        If the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FrameReadError(f"there is no folder {folder}: check the path")
    files = (path for path in folder.iterdir() if is_image_file(path))
    return sorted(files, key=natural_key)


def is_image_file(path: Path) -> bool:
    """Whether the name is one that is read here."""
    suffix = path.suffix.lower()
    if suffix not in READERS or path.name.startswith("."):
        return False
    return path.is_dir() if suffix in FOLDER_SUFFIXES else path.is_file()


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key that compares runs of digits as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part.casefold()) for part in parts]


def _read_picture(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    with Image.open(path) as picture:
        picture.load()  # raises where the file ends early
        if picture.mode in ("P", "LA", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"):
            converted = picture.convert("RGB" if picture.mode != "LA" else "L")
            yield np.asarray(converted), 1, None
        else:
            yield np.asarray(picture), 1, None


def _read_tiff(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    with TiffFile(path) as tiff:
        with _Complaints("tifffile") as complaints:
            size_nm = tiff_pixel_size_nm(tiff)
            series = _series_of_one_shape(tiff)
        if any("invalid page offset" in complaint for complaint in complaints.messages):
            raise FrameReadError(
                f"{path} ends before its last plane: it is damaged or still being written"
            )
        n_planes = sum(_count_planes(one) for one in series)
        for one in series:
            for plane in _planes(one):
                yield plane, n_planes, size_nm


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


def _series_of_one_shape(tiff: TiffFile) -> list[TiffPageSeries]:
    """Leave out the thumbnails and previews that come after the images."""
    first = tiff.series[0]
    shape = _plane_shape(first)
    return [one for one in tiff.series if _plane_shape(one) == shape and one.dtype == first.dtype]


def _plane_shape(series: TiffPageSeries) -> tuple[int, ...]:
    """Height and width, and the samples of a colour where they come last."""
    n_axes = 3 if series.axes.endswith("YXS") else 2
    return tuple(series.shape[-n_axes:])


def _count_planes(series: TiffPageSeries) -> int:
    return int(np.prod(series.shape[: -len(_plane_shape(series))], dtype=int))


def _planes(series: TiffPageSeries) -> Iterator[Plane]:
    n_planes = _count_planes(series)
    if len(series.pages) == n_planes:
        for page in series.pages:
            if page is None:
                raise FrameReadError("a plane of the stack is missing")
            yield page.asarray().reshape(_plane_shape(series))
    else:  # planes that share a page: volumes, separate colours
        yield from series.asarray().reshape(n_planes, *_plane_shape(series))


def _read_npy(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    for plane in iterate_planes(array, str(path)):
        yield np.array(plane), count_planes(array.shape), None


# suffix -> generator of (plane, number of planes in the file, pixel size in nm or None)
READERS: dict[str, Callable[[Path], Iterator[tuple[Plane, int, float | None]]]] = {
    ".png": _read_picture,
    ".jpg": _read_picture,
    ".jpeg": _read_picture,
    ".bmp": _read_picture,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".npy": _read_npy,
    ".zarr": read_zarr,
    **dict.fromkeys(MODULES, read_microscope_file),
}
#: what looks like one file to people and is a folder on disk
FOLDER_SUFFIXES = (".zarr", ".zspy")


def _reader(path: Path) -> Callable[[Path], Iterator[tuple[Plane, int, float | None]]]:
    if path.is_dir() and path.suffix.lower() not in FOLDER_SUFFIXES:
        raise FrameReadError(f"{path} is a folder: list its files with list_image_files")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise FrameReadError(
            f"{path} is of an unknown kind: expected one of {', '.join(READERS)}; convert it"
        )
    return reader


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
