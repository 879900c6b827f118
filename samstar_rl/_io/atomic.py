"""Files that are complete or absent: written under another name, then renamed into place."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samstar_rl.errors import SamstarError

TEMPORARY_SUFFIX = ".part"
RENAME_WAITS_S = (0.02, 0.05, 0.1, 0.2, 0.5)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` at the end.

    After an error, or a kill at any moment, ``path`` is as it was before. The temporary name is
    hidden and ends in .part and the suffix of ``path``, so that libraries know the format.

    Parameters
    ----------
    path : Path
        A file, or a folder that stands for one, such as a Zarr store.

    Yields
    ------
    Path
        In the same folder.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        if temporary.is_dir():
            _remove(path)  # a folder is renamed onto nothing but an empty one
        _rename(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _rename(temporary: Path, path: Path) -> None:
    """Rename, through a moment in which a virus scanner or an indexer of Windows has the file."""
    for wait_s in RENAME_WAITS_S:
        try:
            os.replace(temporary, path)
        except PermissionError:
            time.sleep(wait_s)
        else:
            return
    os.replace(temporary, path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole file, in UTF-8, or nothing."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a whole JSON file as `json_text` has it, or nothing."""
    write_text(path, json_text(content))


def write_csv(path: Path, rows: Any) -> None:
    """Write a whole pandas table as CSV without its index, or nothing."""
    with replacing(path) as temporary:
        rows.to_csv(temporary, index=False)


def write_figure(path: Path, figure: Any, *, dpi: int, **options: Any) -> None:
    """Write a whole matplotlib figure, or nothing.

    Parameters
    ----------
    path : Path
    figure : Figure
    dpi : int
        Pixels an inch.
    **options
        Of ``Figure.savefig``.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, **options)


def read_json(path: Path) -> Any:
    """Read a JSON file that `write_json` wrote.

    Raises
    ------
    SamstarError
        If it is damaged.
    OSError
        If it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON and UTF-8
        raise SamstarError(
            f"{path} is damaged ({error}): remove its folder, or restore it from a copy"
        ) from error


def json_text(content: Any) -> str:
    """JSON with one key a line.

    Raises
    ------
    SamstarError
        If a number is not finite: JSON has no such numbers.
    """
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def temporary_path(path: Path) -> Path:
    """The name under which `replacing` writes first; one per process."""
    return path.with_name(f".{path.stem}.{os.getpid()}{TEMPORARY_SUFFIX}{path.suffix}")


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left half-written; only for a folder's sole user."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}*"):
        if re.fullmatch(rf"\..*\.\d+{re.escape(TEMPORARY_SUFFIX)}(\.[^.]*)?", path.name):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
