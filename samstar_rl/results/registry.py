"""What `samstar segment --format` can write: one module a format, a writer each.

A writer is a function of a path and a `FrameResult`; what it writes appears complete or not
at all. How overlaps are treated is said here, once: label images (`labels`, `ome-zarr`) have one
label a pixel and paint the larger particles first, so that the smaller one is on top; `coco` keeps
every mask whole; tables (`csv`, `parquet`) are of the whole masks, whatever covers them.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samstar_rl._io import atomic
from samstar_rl.errors import SamstarError
from samstar_rl.results.result import (
    LABELS_SUFFIX,
    OVERLAY_SUFFIX,
    PARTICLES_SUFFIX,
    RECORD_SUFFIX,
    SOFTWARE,
    WRITERS,
    FrameResult,
    result_path,
)

Write = Callable[[Path, FrameResult], None]


class FormatError(SamstarError):
    """A format was asked for that does not exist."""


class ForeignFileError(SamstarError):
    """A file of somebody else's lies where a result should go."""


@dataclass(frozen=True)
class Format:
    """A format: the ending of its files and who writes them.

    Parameters
    ----------
    suffix : str
        Behind the frame's name.
    target : str
        ``module:function`` in this room; the module is imported when it is needed, for a
        library of an extra may stand behind it.
    """

    suffix: str
    target: str

    def load(self) -> Write:
        """Import the format's module and return its writer."""
        module, _, function = self.target.partition(":")
        write: Write = getattr(importlib.import_module(f"samstar_rl.results.{module}"), function)
        return write


#: name -> format
FORMATS: dict[str, Format] = {
    "labels": Format(LABELS_SUFFIX, "result:write_labels"),
    "csv": Format(PARTICLES_SUFFIX, "result:write_particles"),
    "ome-zarr": Format(".ome.zarr", "ome_zarr:write_ome_zarr"),
    "coco": Format(".coco.json", "coco:write_coco"),
    "parquet": Format(".particles.parquet", "parquet:write_parquet"),
}
DEFAULT_FORMATS = ("labels", "csv")


def load_formats(names: Sequence[str]) -> dict[str, Write]:
    """The writers of some formats, by the suffix of their files.

    Raises
    ------
    FormatError
        If one does not exist.
    ImportError
        If the library of an extra is missing, naming it.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise FormatError(f"no format {unknown[0]!r}: expected one of {', '.join(FORMATS)}")
    return {FORMATS[name].suffix: FORMATS[name].load() for name in dict.fromkeys(names)}


def result_suffixes(names: Sequence[str]) -> list[str]:
    """The suffixes of all files that `write_formats` writes for a frame in some formats."""
    return [*(FORMATS[name].suffix for name in names), OVERLAY_SUFFIX, RECORD_SUFFIX]


def write_formats(
    folder: Path, result: FrameResult, writers: dict[str, Write], *, picture: bool = True
) -> None:
    """Write a frame in some formats, then its picture, and last its record.

    A frame whose record NAME.json exists is complete.

    Parameters
    ----------
    folder : Path
        Exists.
    result : FrameResult
    writers : dict
        From `load_formats`.
    picture : bool
        Whether its picture is drawn.

    Raises
    ------
    ForeignFileError
        If a file that no run has written would be overwritten.
    """
    keys = (OVERLAY_SUFFIX, RECORD_SUFFIX) if picture else (RECORD_SUFFIX,)
    last: dict[str, Any] = {key: WRITERS[key] for key in keys}
    for suffix, write in (writers | last).items():
        with replacing_own(result_path(folder, result.frame.id, suffix)) as path:
            write(path, result)


@contextmanager
def replacing_own(path: Path) -> Iterator[Path]:
    """As `atomic.replacing`, for a result: a file that no run has written is never replaced.

    Raises
    ------
    ForeignFileError
        If such a file lies there.
    """
    refuse_foreign(path)
    with atomic.replacing(path) as temporary:
        yield temporary


def refuse_foreign(path: Path) -> None:
    """See to it that a result may be written there.

    Raises
    ------
    ForeignFileError
        If a file lies there that no run has written.
    """
    if not may_replace(path):
        raise ForeignFileError(
            f"{path} exists and is no result of {SOFTWARE}: it is not overwritten; move it, or "
            "choose another folder with --out"
        )


def may_replace(path: Path) -> bool:
    """Whether nothing lies there, or an own result, or an empty file that a loss of power left."""
    if not path.exists():
        return True
    return is_own_result(path) or (path.is_file() and path.stat().st_size == 0)


def is_own_result(path: Path) -> bool:
    """Whether a file is a result that `segment` or `deploy` wrote, by its name and its content.

    Parameters
    ----------
    path : Path
        Of any file or folder: one that is of no result's name is not opened.

    Returns
    -------
    bool
        False as well for what does not exist, or cannot be read. A file of such a name that
        somebody else has put there, annotations as ``x.labels.tif`` for instance, is none. Files of
        version 0.1 bear no mark: they are known by the record beside them.
    """
    suffixes = sorted((one for one in MARKS if path.name.endswith(one)), key=len)
    if not suffixes:
        return False
    suffix = suffixes[-1]
    try:
        return MARKS[suffix](path) or _is_of_first_version(path, suffix)
    except Exception:  # each kind of file has its own errors where it is none of its kind
        return False


def source_of_record(path: Path) -> str | None:
    """The file that a frame's record names as its source; None where it names none."""
    try:
        source = json.loads(path.read_bytes()).get("source")
        return None if source is None else str(source)
    except (OSError, ValueError, AttributeError):
        return None


def _labels_are_own(path: Path) -> bool:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        return bool(tiff.pages.first.software == SOFTWARE)


def _table_is_own(path: Path) -> bool:
    with path.open("rb") as file:
        return file.readline(1000).startswith(b"frame,label,bbox-0,")


def _picture_is_own(path: Path) -> bool:
    with path.open("rb") as file:
        return f"Software\0{SOFTWARE}".encode() in file.read(200)


def _json_is_own(path: Path) -> bool:
    """A record, or masks as COCO has them."""
    content = json.loads(path.read_bytes())
    return isinstance(content, dict) and SOFTWARE in (
        content.get("software"),
        (content.get("info") or {}).get("contributor"),
    )


def _parquet_is_own(path: Path) -> bool:
    with path.open("rb") as file:
        # what the file says of itself stands at its end
        file.seek(max(0, path.stat().st_size - (1 << 20)))
        return SOFTWARE.encode() in file.read()


def _store_is_own(path: Path) -> bool:
    attributes = json.loads((path / ".zattrs").read_bytes())
    return bool(attributes.get("software") == SOFTWARE)


def _is_of_first_version(path: Path, suffix: str) -> bool:
    """Whether the record of the frame, this file or the one beside it, is one of version 0.1."""
    record = path.with_name(path.name.removesuffix(suffix) + RECORD_SUFFIX)
    content = json.loads(record.read_bytes())
    known = {"frame", "n_particles", "score", "settings", "terms", "tuner"}
    return isinstance(content, dict) and "software" not in content and known <= set(content)


# suffix of a result -> whether the content of such a file is ours
MARKS: dict[str, Callable[[Path], bool]] = {
    LABELS_SUFFIX: _labels_are_own,
    PARTICLES_SUFFIX: _table_is_own,
    OVERLAY_SUFFIX: _picture_is_own,
    RECORD_SUFFIX: _json_is_own,
    FORMATS["ome-zarr"].suffix: _store_is_own,
    FORMATS["coco"].suffix: _json_is_own,
    FORMATS["parquet"].suffix: _parquet_is_own,
}
