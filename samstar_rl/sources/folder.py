"""Frames from a folder, and from the files that come into it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from samstar_rl.frames.frame import Frame
from samstar_rl.sources.base import Fault, SourceBase, SourceError
from samstar_rl.sources.readers.files import (
    FrameReadError,
    iterate_file,
    list_image_files,
    natural_key,
)


class FolderSource(SourceBase):
    """The image files of a folder in natural order and, while watching, those that come later.

    The folder is polled, which also works on network drives, and only this machine's clock is
    trusted. A file is read once, when its size and time have not changed for a while, so that one
    that is still being copied is left alone. One that cannot be read even then is tried again,
    then reported as a `Fault`; should it change later, it gets its chances anew.

    Parameters
    ----------
    path : path
    watch : bool
        Go on waiting for new files; otherwise end after those that are there.
    settle_s : float
        How long a file must be unchanged before it is read.
    poll_s : float
        Pause between looks at the folder.
    attempts : int
        How often an unreadable file is tried.
    pixel_size_nm : float, optional
        Takes precedence over what the files state.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        watch: bool = True,
        settle_s: float = 0.5,
        poll_s: float = 0.25,
        attempts: int = 3,
        pixel_size_nm: float | None = None,
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self.watch = watch
        self.settle_s = settle_s
        self.poll_s = poll_s
        self.attempts = attempts
        self.pixel_size_nm = pixel_size_nm
        self._files: dict[str, _WatchedFile] = {}
        self._owners: dict[str, str] = {}
        if not self.path.is_dir():
            raise SourceError(f"there is no folder {self.path}: check the path, or make it first")

    def __iter__(self) -> Iterator[Frame]:
        while not self.stopped:
            settled = self._look()
            for file in settled:
                yield from self._read(file)
                if self.stopped:
                    return
            if not self.watch and all(file.finished for file in self._files.values()):
                return
            if not settled:
                self.wait(self.poll_s)

    def _look(self) -> list[_WatchedFile]:
        """Look at the folder once: the files that are ready to be read, in natural order."""
        now = time.monotonic()
        present = {path.name: path for path in self._list()}
        for name in set(self._files) - set(present):
            if not self._files[name].finished:
                del self._files[name]  # renamed or removed before it was read
        for name, path in present.items():
            self._files.setdefault(name, _WatchedFile(path)).observe(now)
        settled = [
            file
            for file in self._files.values()
            if not file.finished and now - file.unchanged_since >= self.settle_s
        ]
        return sorted(settled, key=lambda file: natural_key(file.path))

    def _list(self) -> list[Path]:
        try:
            return list_image_files(self.path)
        except (OSError, FrameReadError):
            return []  # a network drive that is away for a moment

    def _read(self, file: _WatchedFile) -> Iterator[Frame]:
        """Yield what of the file was not yielded yet; postpone or report it when it is damaged."""
        name = self._frame_name(file.path)
        if self.skip(name):
            file.finished = True
            return
        frames = iterate_file(file.path, pixel_size_nm=self.pixel_size_nm)
        try:
            for index, frame in enumerate(frames):
                frame = replace(frame, id=name + frame.id.removeprefix(file.path.stem))
                if index >= file.n_yielded and not self.skip(frame.id):
                    yield frame
                file.n_yielded = max(file.n_yielded, index + 1)
                if self.stopped:
                    return
        except FrameReadError as error:
            file.postpone()
            if file.n_attempts >= self.attempts:
                file.finished = True
                self.on_fault(Fault(file.path.name, str(error)))
        else:
            file.finished = True

    def _frame_name(self, path: Path) -> str:
        """The stem, or the whole name where another file has the same stem."""
        owner = self._owners.setdefault(path.stem, path.name)
        return path.stem if owner == path.name else path.name


class _WatchedFile:
    """What is known of one file of a watched folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp: tuple[int, int] | None = None
        self.unchanged_since = 0.0
        self.n_attempts = 0
        self.n_yielded = 0
        self.finished = False

    def observe(self, now: float) -> None:
        """Note whether the file has changed since it was last looked at."""
        try:
            status = self.path.stat()
        except OSError:
            return
        stamp = (status.st_size, status.st_mtime_ns)
        if stamp == self.stamp:
            return
        gave_up = self.finished and self.n_attempts > 0
        if gave_up or not self.finished:
            self.finished, self.n_attempts = False, 0
        self.stamp, self.unchanged_since = stamp, now

    def postpone(self) -> None:
        """Note that reading failed; it must settle again before the next attempt."""
        self.n_attempts += 1
        self.unchanged_since = time.monotonic()
