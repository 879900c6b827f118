"""Where results go: files, the journal, TensorBoard."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from samstar_rl.results.registry import DEFAULT_FORMATS, load_formats, write_formats

if TYPE_CHECKING:
    from samstar_rl.results.result import FrameResult
    from samstar_rl.streaming.events import Event

# the overlay is the dearest of a frame's files
PICTURE_EVERY = 10
# from one point of the curves to the next: they need no more points than people can see, and each
# costs time; the journal has every frame
CURVES_INTERVAL_S = 0.5


class Sink(Protocol):
    """Takes results one by one. All calls come from one thread."""

    def write(self, result: FrameResult) -> None:
        """Take a frame's result; when this returns it must be safe.

        Raises
        ------
        OSError
            If it cannot be written. The run then ends.
        """

    def report(self, event: Event) -> None:
        """Take an event."""

    def close(self) -> None:
        """Finish; nothing comes after."""


class FolderSink:
    """The files of each frame: the chosen formats, the picture, and last the record.

    A frame whose record NAME.json exists is complete.

    Parameters
    ----------
    folder : Path
        Exists.
    picture_every : int
        Draw the overlay of each such frame only, beginning with the first; 0 draws none.
    formats : sequence of str
        Names from `samstar_rl.results.registry.FORMATS`.

    Raises
    ------
    FormatError
        If there is no such format.
    ImportError
        If a format needs an extra that is not installed, naming it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        picture_every: int = PICTURE_EVERY,
        formats: Sequence[str] = DEFAULT_FORMATS,
    ) -> None:
        self.folder = folder
        self.picture_every = picture_every
        self._writers = load_formats(formats)
        self._n_written = 0

    def write(self, result: FrameResult) -> None:
        """Write the frame's files, each complete or absent."""
        picture = self.picture_every > 0 and self._n_written % self.picture_every == 0
        write_formats(self.folder, result, self._writers, picture=picture)
        self._n_written += 1

    def report(self, event: Event) -> None:
        """Events are the journal's."""

    def close(self) -> None:
        """Nothing is open."""


class JournalSink:
    """A JSON line for each frame and each event.

    A line is written whole, or its rest is cut off when the journal is opened next.

    Parameters
    ----------
    path : Path
        Continued if it exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        cut_broken_line(path)
        self._file: BinaryIO = path.open("ab", buffering=0)

    def write(self, result: FrameResult) -> None:
        """Append the frame's record."""
        self.append(result.to_record())

    def report(self, event: Event) -> None:
        """Append the event."""
        self.append(event.to_record())

    def append(self, record: dict[str, Any]) -> None:
        """Append a line, whole or not at all.

        Raises
        ------
        OSError
            If the disk is full, or away.
        """
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        size = self._file.seek(0, os.SEEK_END)
        written = self._file.write(line)
        if written != len(line):  # a full disk may take a part
            self._file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardSink:
    """Score, terms, settings, particles and latency as scalars.

    Parameters
    ----------
    folder : Path
        Where event files go.
    first_step : int
        Step of the first frame.
    """

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

        self._writer = SummaryWriter(str(folder))
        self._step = first_step
        self._last_s = float("-inf")

    def write(self, result: FrameResult) -> None:
        """Add the frame's scalars, unless the last ones were added just now."""
        now = time.monotonic()
        if now - self._last_s >= CURVES_INTERVAL_S:
            self._last_s = now
            for tag, value in scalars(result).items():
                self._writer.add_scalar(tag, value, self._step)
        self._step += 1

    def report(self, event: Event) -> None:
        """Add the event's text."""
        self._writer.add_text(f"events/{event.kind}", event.message, self._step)

    def close(self) -> None:
        """Write what is held back."""
        self._writer.close()


def scalars(result: FrameResult) -> dict[str, float]:
    """The numbers about a frame that are worth a curve, by TensorBoard tag."""
    found = {"live/score": result.score.total, "live/n_particles": float(result.measured.sum())}
    found |= {f"live_terms/{name}": value for name, value in result.score.terms.items()}
    found |= {f"live_ms/{name}": value for name, value in result.milliseconds.items()}
    for name, value in result.settings.to_dict().items():
        if isinstance(value, int | float):
            found[f"live_settings/{name}"] = float(value)
    return found


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal, broken ones left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            with suppress(ValueError):  # what a loss of power leaves
                record = json.loads(line) if line.endswith(b"\n") else None
                if isinstance(record, dict):
                    yield record


def cut_broken_line(path: Path) -> None:
    """Cut off what comes after the last line end: the trace of a kill."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        position = size
        while position > 0:
            step = min(4096, position)
            file.seek(position - step)
            end = file.read(step).rfind(b"\n")
            if end >= 0:
                position = position - step + end + 1
                break
            position -= step
        if position < size:
            file.truncate(position)
