"""The names that the results of image files go by: no two files share one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from samstar_rl.results.registry import may_replace, source_of_record
from samstar_rl.results.result import RECORD_SUFFIX, result_path, safe_name

# how the planes of a stack are numbered behind its name
PLANE = re.compile(r"-\d{5,}$")


@dataclass(frozen=True)
class NamedImage:
    """A file to segment: its place among all, and the name that its frames go by."""

    index: int
    path: Path
    name: str


def name_images(
    paths: Sequence[Path], out: Path, suffixes: Iterable[str] = (RECORD_SUFFIX,)
) -> list[NamedImage]:
    """Name each file so that no two share a result.

    A file goes by its stem. Where files of several folders have the same, their folders stand in
    front (``s1_img``, ``s2_img``); where another one of its folder has it, the suffix stays. A name
    is taken as well if a plane of a stack of another name may have it, if results of another file
    lie in the output folder under it, or files that are nobody's results.

    Parameters
    ----------
    paths : sequence of Path
        Each once.
    out : Path
        Where results will be written; need not exist.
    suffixes : iterable of str
        Of the results of a frame.

    Returns
    -------
    list of NamedImage
        In the order of the paths.
    """
    suffixes = list(suffixes)
    folders: dict[str, set[Path]] = {}
    for path in paths:
        folders.setdefault(path.stem.casefold(), set()).add(path.absolute().parent)
    taken, stacks = set[str](), set[str]()
    named = []
    for index, path in enumerate(paths):
        path = path.absolute()
        # names that say where the file lies come first if the stem alone does not tell files apart
        ambiguous = len(folders[path.stem.casefold()]) > 1
        name = next(
            name
            for name in _candidates(path, ambiguous=ambiguous)
            if _is_free(name, taken, stacks) and _is_free_in(out, name, path, suffixes)
        )
        key = safe_name(name).casefold()
        taken.add(key)
        stacks.add(PLANE.sub("", key))
        named.append(NamedImage(index, path, name))
    return named


def names_on_disk(paths: Sequence[Path]) -> list[str]:
    """The paths from the deepest folder that holds them all, with slashes."""
    root = os.path.commonpath([path.absolute().parent for path in paths])
    return [path.absolute().relative_to(root).as_posix() for path in paths]


def _candidates(path: Path, *, ambiguous: bool) -> Iterator[str]:
    if not ambiguous:
        yield path.stem
        yield path.name
    prefix = ""
    for folder in path.parents:
        if folder.name:
            prefix = f"{folder.name}_{prefix}"
            yield f"{prefix}{path.stem}"
            yield f"{prefix}{path.name}"
    number = 2
    while True:
        yield f"{path.name}-{number}"
        number += 1


def _is_free(name: str, taken: set[str], stacks: set[str]) -> bool:
    """Whether neither the name nor a plane's of that name is another's, nor another's plane's."""
    key = safe_name(name).casefold()
    stack = PLANE.sub("", key)
    return key not in taken and (stack == key or stack not in taken) and key not in stacks


def _is_free_in(out: Path, name: str, path: Path, suffixes: Sequence[str]) -> bool:
    """Whether what lies in the folder under the name, if anything does, is of the same file."""
    if not out.is_dir():
        return True
    for frame_id in (name, f"{name}-00000"):
        if not all(may_replace(result_path(out, frame_id, suffix)) for suffix in suffixes):
            return False
        source = source_of_record(result_path(out, frame_id, RECORD_SUFFIX))
        if source is not None and source != str(path.resolve()):
            return False
    return True
