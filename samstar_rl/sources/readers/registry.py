"""Frames from files, single images or stacks, read plane by plane."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from samstar_rl.frames.frame import Frame
from samstar_rl.sources.readers.hdf5 import read_hdf5
from samstar_rl.sources.readers.microscope import MODULES, read_microscope_file
from samstar_rl.sources.readers.planes import FrameReadError as FrameReadError
from samstar_rl.sources.readers.planes import Plane, count_planes, iterate_planes, to_grey
from samstar_rl.sources.readers.tiff import read_tiff
from samstar_rl.sources.readers.zarr import is_zarr_node, read_zarr


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
    read = READERS.get(path.suffix.lower())
    if path.is_dir() and path.suffix.lower() not in FOLDER_SUFFIXES:
        if not is_zarr_node(path):
            raise FrameReadError(f"{path} is a folder: list its files with list_image_files")
        read = read_zarr
    if read is None:
        raise FrameReadError(
            f"{path} is of an unknown kind: expected one of {', '.join(READERS)}; convert it"
        )
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
    except MemoryError as error:
        raise FrameReadError(
            f"{path} is too large for the memory of this computer: cut or bin it first"
        ) from error
    except Exception as error:  # every codec raises its own types on damaged files
        place = "" if index < 0 else f" after {index + 1} good frames"
        raise FrameReadError(
            f"{path} cannot be read{place}: {_first_line(error)}; {_cure(path, error)}"
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
    """Whether it is of a kind that is read here: by its name, or as a folder of Zarr's."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return False
    if suffix in FOLDER_SUFFIXES or suffix not in READERS:
        return is_zarr_node(path)
    return path.is_file()


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key that compares runs of digits as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part.casefold()) for part in parts]


def _cure(path: Path, error: Exception) -> str:
    """What to do about a file that a reader has refused: not all of them are damaged."""
    kind = path.suffix.lstrip(".").upper()
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(8)
        by_content = [name for magic, name in MAGIC.items() if head.startswith(magic)]
        if by_content and path.suffix.lower() not in SUFFIXES_OF[by_content[0]]:
            return f"expected a {kind} image, its content is {by_content[0]}: rename the file"
        if isinstance(error, NotImplementedError) or _is_whole_hdf5(path, head):
            return f"this variant of {kind} is not known here: export the image as TIFF"
    return f"expected a whole {kind} image, the file is damaged or still being written"


def _is_whole_hdf5(path: Path, head: bytes) -> bool:
    if not head.startswith(HDF5_MAGIC):
        return False
    try:
        import h5py

        with h5py.File(path):
            return True
    except (OSError, ImportError):
        return False


def _read_picture(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    try:
        with warnings.catch_warnings():
            # Pillow warns at half of what it refuses
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise FrameReadError(
            f"{path} is too large: {_first_line(error)}; pictures of up to {limit:.0f} megapixels "
            "are read: bin it, cut it into parts, or save it as TIFF"
        ) from error
    with picture:
        picture.load()  # raises where the file ends early
        if picture.mode in ("P", "LA", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"):
            converted = picture.convert("RGB" if picture.mode != "LA" else "L")
            yield np.asarray(converted), 1, None
        else:
            yield np.asarray(picture), 1, None


def _read_npy(path: Path) -> Iterator[tuple[Plane, int, float | None]]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    for plane in iterate_planes(array, str(path)):
        yield np.array(plane), count_planes(array.shape), None


HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# how files of some kinds begin
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x93NUMPY": "NPY",
    HDF5_MAGIC: "HDF5",
}
SUFFIXES_OF = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
    "NPY": (".npy",),
    "HDF5": (".emd", ".hspy", ".h5", ".hdf5"),
}

# suffix -> generator of (plane, number of planes in the file, pixel size in nm or None)
READERS: dict[str, Callable[[Path], Iterator[tuple[Plane, int, float | None]]]] = {
    ".png": _read_picture,
    ".jpg": _read_picture,
    ".jpeg": _read_picture,
    ".bmp": _read_picture,
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".npy": _read_npy,
    ".zarr": read_zarr,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    **dict.fromkeys(MODULES, read_microscope_file),
}
#: what looks like one file to people and is a folder on disk
FOLDER_SUFFIXES = (".zarr", ".zspy")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
