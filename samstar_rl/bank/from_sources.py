"""Frames for a bank by the name of their source: files, folders, simulated and other streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from samstar_rl.bank.build import iterate_stream
from samstar_rl.bank.labelled import labels_of
from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.sources.readers.registry import is_image_file, iterate_file, list_image_files
from samstar_rl.sources.registry import open_source
from samstar_rl.sources.simulated import SimulatedSource

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame


def open_frames(
    name: str, *, labels: Path | None, pixel_size_nm: float | None, at_most: int | None
) -> Iterable[Frame | LabelledFrame]:
    """The frames of a source, with truth where there is some. Nothing is read before iterating.

    Parameters
    ----------
    name : str
        A folder of images, a stack, or a source such as ``sim:particles?seed=1&length=64``.
    labels : path, optional
        Folder with the ground truth of a folder's images, under their names.
    pixel_size_nm : float, optional
        By default what the files say.
    at_most : int, optional
        Frames to take.

    Returns
    -------
    iterable of Frame or LabelledFrame

    Raises
    ------
    SamstarError
        If there is no such source, or it never ends.
    """
    if is_image_file(Path(name)):  # a Zarr store is a folder, too
        return islice(iterate_file(name, pixel_size_nm=pixel_size_nm), at_most)
    if Path(name).is_dir():
        return islice(_iterate_folder(Path(name), labels, pixel_size_nm), at_most)
    source = open_source(name, pixel_size_nm=pixel_size_nm)
    if isinstance(source, SimulatedSource):
        if source.stream.length is None and at_most is None:
            raise SamstarError(
                f"{name} never ends: give a length ({name}?length=64) or --max-frames"
            )
        return islice(iterate_stream(source.stream), at_most)
    return islice(iterate_stream(source), at_most)


def _iterate_folder(
    folder: Path, labels: Path | None, pixel_size_nm: float | None
) -> Iterator[Frame | LabelledFrame]:
    for path in list_image_files(folder):
        for frame in iterate_file(path, pixel_size_nm=pixel_size_nm):
            yield frame if labels is None else LabelledFrame(frame, labels_of(path, labels))


def count_frames(sources: Sequence[str], at_most: int | None) -> int | None:
    """How many frames to expect, None where a source does not say."""
    counts: list[int | None] = []
    for name in sources:
        if is_image_file(Path(name)):
            counts.append(None)
        elif Path(name).is_dir():
            counts.append(len(list_image_files(name)))
        else:
            stream = getattr(open_source(name), "stream", None)
            counts.append(getattr(stream, "length", None))
    limit = float("inf") if at_most is None else at_most
    if any(count is None and at_most is None for count in counts):
        return None
    return int(sum(limit if count is None else min(count, limit) for count in counts))
