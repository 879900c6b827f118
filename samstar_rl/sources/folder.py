"""Frames from a folder, and from the files that come into it."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from samstar_rl.sources.base import Fault, SourceBase, SourceError
from samstar_rl.sources.readers.registry import (
    FrameReadError,
    iterate_file,
    list_image_files,
    natural_key,
)

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame

Stamp = tuple[int, int]
# in place of an image's digest: it has no content yet; it was treated before and not opened
BLANK, TREATED = b"blank", b"treated"


class FolderSource(SourceBase):
    """The image files of a folder in natural order and, while watching, those that come later.

    The folder is polled, which also works on network drives, and only this machine's clock is
    trusted. A file is read when its size and time have not changed for a while, so that one that
    is still being copied is left alone; a change while it is read discards what was read. One that
    cannot be read, or is of one value throughout as a preallocated one is, is tried again. When a
    file changes later, its images that differ from those before are frames of their own,
    ``NAME+2``, ``NAME+3``, ...

    No two files share an id: where the stem is another file's, the whole name is taken. Files that
    `is_result` says are results of the run are left out.

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
        How often an unreadable file is tried. While watching, it is a fault that costs a frame
        only when it is still unreadable at the end.
    pixel_size_nm : float, optional
        Takes precedence over what the files state.

    Raises
    ------
    SourceError
        If there is no such folder.
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
        self._away = False
        if not self.path.is_dir():
            raise SourceError(f"there is no folder {self.path}: check the path, or make it first")

    def __iter__(self) -> Iterator[Frame]:
        self._stem_owners = _stem_owners(self.owners)
        self._id_owners = {frame_id.casefold(): file for frame_id, file in self.owners.items()}
        try:
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
        finally:
            for file in self._files.values():
                if file.damage is not None and self.watch:
                    self.on_fault(Fault(file.path.name, file.damage))

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
            found = list_image_files(self.path)
        except (OSError, FrameReadError):  # a network drive that is away for a moment
            if not self._away:
                self._away = True
                reason = "the folder is away; waiting for it"
                self.on_fault(Fault(str(self.path), reason, cost_a_frame=False))
            return []
        if self._away:
            self._away = False
            reason = "the folder is back"
            self.on_fault(Fault(str(self.path), reason, cost_a_frame=False, trouble=False))
        return found

    def _read(self, file: _WatchedFile) -> Iterator[Frame]:
        """Yield the file's images that are new; postpone or report it when it is damaged."""
        if self.is_result(file.path):
            file.finished = True
            return
        if not file.images and self._was_treated(file):
            file.images, file.finished = [TREATED], True
            return
        frames = iterate_file(file.path, pixel_size_nm=self.pixel_size_nm)
        try:
            for index, frame in enumerate(frames):
                if file.has_changed():
                    return  # it is read when it has settled again
                if _is_blank(frame) and file.may_be_preallocated(index, self.attempts):
                    return
                named = self._name(file, index, frame)
                if named is not None and not self.skip(named.id):
                    yield named
                if self.stopped:
                    return
        except FrameReadError as error:
            self._postpone(file, str(error))
        else:
            file.finished = not file.has_changed()

    def _postpone(self, file: _WatchedFile, damage: str) -> None:
        file.postpone()
        if not file.path.exists():
            reason = "was removed before it could be read"
            self.on_fault(Fault(file.path.name, reason, cost_a_frame=False))
            self._files.pop(file.path.name, None)
        elif file.n_attempts >= self.attempts:
            file.finished = True
            if self.watch:
                file.damage = damage
                reason = f"{damage}; it is read again when it changes"
                self.on_fault(Fault(file.path.name, reason, cost_a_frame=False))
            else:
                self.on_fault(Fault(file.path.name, damage))

    def _was_treated(self, file: _WatchedFile) -> bool:
        """Whether an earlier run has done the file's one image, which is then not opened."""
        name = self._base_name(file.path)
        owner = self._id_owners.get(name.casefold(), file.path.name)
        return owner == file.path.name and self.skip(name)

    def _name(self, file: _WatchedFile, index: int, frame: Frame) -> Frame | None:
        """Give an image its id; None if it was there before, as it is."""
        digest = BLANK if _is_blank(frame) else hashlib.sha256(frame.image.tobytes()).digest()
        before = file.images[index] if index < len(file.images) else BLANK
        if digest == before and index < len(file.images):
            return None
        file.images[index : index + 1] = [digest]
        plane = frame.id.removeprefix(file.path.stem)
        frame_id = f"{self._base_name(file.path)}{plane}"
        if self._id_owners.setdefault(frame_id.casefold(), file.path.name) != file.path.name:
            frame_id = f"{file.path.name}{plane}"
            self._id_owners.setdefault(frame_id.casefold(), file.path.name)
        if before != BLANK:  # another image has taken the place of one that was treated
            numbered = (f"{frame_id}+{number}" for number in itertools.count(2))
            taken = self._id_owners
            frame_id = next(
                one for one in numbered if one.casefold() not in taken and not self.skip(one)
            )
            self._id_owners[frame_id.casefold()] = file.path.name
        return replace(frame, id=frame_id, file=file.path.name)

    def _base_name(self, path: Path) -> str:
        """The stem, or the whole name where another file has the same stem."""
        owner = self._stem_owners.setdefault(path.stem.casefold(), path.name)
        return path.stem if owner == path.name else path.name


class _WatchedFile:
    """What is known of one file of a watched folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp: Stamp | None = None
        self.unchanged_since = 0.0
        self.n_attempts = 0
        #: a digest of each image that was yielded
        self.images: list[bytes] = []
        #: why it cannot be read
        self.damage: str | None = None
        self.finished = False

    def observe(self, now: float) -> None:
        """Note whether the file has changed since it was last looked at."""
        stamp = self._read_stamp()
        if stamp is None or stamp == self.stamp:
            return
        self.finished, self.n_attempts, self.damage = False, 0, None
        self.stamp, self.unchanged_since = stamp, now

    def has_changed(self) -> bool:
        """Whether the file is another one than the one that has settled."""
        return self._read_stamp() != self.stamp

    def may_be_preallocated(self, index: int, attempts: int) -> bool:
        """Whether to wait whether an image without content gets some."""
        known = index < len(self.images)
        if known or self.n_attempts + 1 >= attempts:
            return False
        self.postpone()
        return True

    def postpone(self) -> None:
        """Note that reading failed; it must settle again before the next attempt."""
        self.n_attempts += 1
        self.unchanged_since = time.monotonic()

    def _read_stamp(self) -> Stamp | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns


def _is_blank(frame: Frame) -> bool:
    return bool(frame.image.min() == frame.image.max())


def _stem_owners(owners: dict[str, str]) -> dict[str, str]:
    """Which file goes by its stem alone, from the ids that files got before."""
    found: dict[str, str] = {}
    for frame_id, file in owners.items():
        stem = Path(file).stem
        if frame_id.startswith(stem) and not frame_id.startswith(file):
            found[stem.casefold()] = file
    return found
