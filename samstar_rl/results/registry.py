"""What `samstar segment --format` can write: one module a format, a writer each.

A writer is a function of a path and a `FrameResult`; what it writes appears complete or not
at all. How overlaps are treated is said here, once: label images (`labels`, `ome-zarr`) have one
label a pixel and paint the larger particles first, so that the smaller one is on top; `coco` keeps
every mask whole; tables (`csv`, `parquet`) are of the whole masks, whatever covers them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
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
    WRITERS,
    FrameResult,
    result_path,
)

Write = Callable[[Path, FrameResult], None]


class FormatError(SamstarError):
    """A format was asked for that does not exist."""


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
        """Import the writer."""
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


def write_formats(folder: Path, result: FrameResult, writers: dict[str, Write]) -> None:
    """Write a frame in some formats, then its picture, and last its record.

    A frame whose record NAME.json exists is complete.

    Parameters
    ----------
    folder : Path
        Exists.
    result : FrameResult
    writers : dict
        From `load_formats`.
    """
    last: dict[str, Any] = {key: WRITERS[key] for key in (OVERLAY_SUFFIX, RECORD_SUFFIX)}
    for suffix, write in (writers | last).items():
        with atomic.replacing(result_path(folder, result.frame.id, suffix)) as path:
            write(path, result)
