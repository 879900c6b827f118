"""Frames from one file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from samstar_rl.sources.base import Fault, SourceBase, SourceError
from samstar_rl.sources.readers.registry import FrameReadError, is_image_file, iterate_file

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame


class FileSource(SourceBase):
    """The planes of one file.

    Parameters
    ----------
    path : path
    pixel_size_nm : float, optional
        Takes precedence over what the file states.
    """

    def __init__(self, path: str | Path, *, pixel_size_nm: float | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self.pixel_size_nm = pixel_size_nm
        if not is_image_file(self.path) and not self.path.is_file():
            raise SourceError(f"there is no file {self.path}: check the path")

    def __iter__(self) -> Iterator[Frame]:
        frames = iterate_file(self.path, pixel_size_nm=self.pixel_size_nm)
        while not self.stopped:
            try:
                frame = next(frames)
            except StopIteration:
                return
            except FrameReadError as error:
                self.on_fault(Fault(self.path.name, str(error)))
                return
            if not self.skip(frame.id):
                yield replace(frame, file=self.path.name)
