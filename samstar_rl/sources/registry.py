"""Sources by name, such as ``sim:particles``, ``folder:PATH`` or ``file:stack.tif``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import parse_qsl

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame
from samstar_rl.simulator import SimulatedStream
from samstar_rl.sources.base import Fault, Source, SourceBase, SourceError
from samstar_rl.sources.folder import FolderSource
from samstar_rl.sources.instruments.asyncroscopy import CENTRAL_PORT, AsyncroscopySource
from samstar_rl.sources.instruments.base import parse_address
from samstar_rl.sources.instruments.dtmicroscope import DEFAULT_PORT as DTMICROSCOPE_PORT
from samstar_rl.sources.instruments.dtmicroscope import DTMicroscopeSource
from samstar_rl.sources.instruments.pva import PvaSource
from samstar_rl.sources.options import Options, parse_flag, parse_not_negative, parse_positive
from samstar_rl.sources.readers.files import FrameReadError, is_image_file, iterate_file


class SimulatedSource(SourceBase):
    """The frames of a simulated stream, without their truth.

    Parameters
    ----------
    preset : str
    seed, size, length, drift
        As in `SimulatedStream`.
    fps : float
        Frames a second; 0 is as fast as they are taken. A positive rate makes the source live.
    """

    def __init__(
        self,
        preset: str,
        *,
        seed: int = 0,
        size: int = 512,
        length: int | None = None,
        drift: float = 1.0,
        fps: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= fps < float("inf"):
            raise SourceError(f"fps must be 0 or above, got {fps}; 0 is as fast as possible")
        self.stream = SimulatedStream(preset, seed=seed, size=size, length=length, drift=drift)
        self.fps = fps
        self.live = fps > 0

    def __iter__(self) -> Iterator[Frame]:
        due = time.monotonic()
        with self.stream as stream:
            for index in count() if stream.length is None else range(stream.length):
                if self.live:
                    due = max(due + 1 / self.fps, time.monotonic() - 1 / self.fps)
                    self.wait(max(0.0, due - time.monotonic()))
                if self.stopped:
                    return
                if not self.skip(stream.frame_id(index)):
                    yield stream.frame_at(index).frame


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
                yield frame


def open_source(name: str, *, pixel_size_nm: float | None = None) -> Source:
    """Make a source from its name.

    Parameters
    ----------
    name : str
        ``kind:place?option=value&...``, for instance ``sim:particles?drift=2&seed=1``,
        ``folder:PATH?watch=0``, ``file:stack.tif``; a plain path is a file or folder.
    pixel_size_nm : float, optional
        Takes precedence over what the source states.

    Returns
    -------
    Source
        Nothing is read before it is entered and iterated.

    Raises
    ------
    SourceError
        If the kind, the place or an option is not known; the message lists what is.
    """
    kind, place, options = parse_source_name(name)
    try:
        return SOURCES[kind](place, Options(kind, options), pixel_size_nm)
    except SourceError:
        raise
    except SamstarError as error:
        raise SourceError(f"{name}: {error}") from error


def parse_source_name(name: str) -> tuple[str, str, dict[str, str]]:
    """Split a source's name into its kind, its place and its options.

    Raises
    ------
    SourceError
        If there is no such kind, or the options are not option=value pairs.
    """
    match = re.match(r"([a-z]{2,}):(?://)?(.*)", name)  # one letter is a drive of Windows
    if match is None or (match[1] not in SOURCES and Path(name).exists()):
        return _path_kind(name), name, {}
    kind, rest = match.groups()
    if kind not in SOURCES:
        raise SourceError(
            f"unknown source {name!r}: expected one of {', '.join(f'{k}:...' for k in SOURCES)}, "
            "or the path of a file or folder"
        )
    place, _, query = rest.partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise SourceError(
            f"the options {query!r} of the source {name!r} are not option=value pairs joined by &"
        ) from error
    return kind, place, options


def _open_simulated(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    source = SimulatedSource(
        place or "particles",
        seed=options.take("seed", 0, int),
        size=options.take("size", 512, int),
        length=options.take("length", None, int),
        drift=options.take("drift", 1.0, parse_not_negative),
        fps=options.take("fps", 0.0, parse_not_negative),
    )
    options.finish()
    if pixel_size_nm is not None:
        raise SourceError("a simulated source knows its pixel size: leave --pixel-size out")
    return source


def _open_folder(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    source = FolderSource(
        place,
        watch=options.take("watch", True, parse_flag),
        settle_s=options.take("settle", 0.5, parse_not_negative),
        poll_s=options.take("poll", 0.25, parse_not_negative),
        attempts=options.take("attempts", 3, int),
        pixel_size_nm=pixel_size_nm,
    )
    options.finish()
    return source


def _open_file(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    options.finish()
    return FileSource(place, pixel_size_nm=pixel_size_nm)


def _open_asyncroscopy(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    host, port = parse_address(place, CENTRAL_PORT)
    source = AsyncroscopySource(
        host,
        port,
        central=options.take("central", None, parse_flag),
        detector=options.take("detector", "HAADF", str),
        size=options.take("size", 512, int),
        dwell_time_s=options.take("dwell_time", 1e-6, parse_not_negative),
        timeout_s=options.take("timeout", 10.0, parse_positive),
        interval_s=options.take("interval", 0.0, parse_not_negative),
        pixel_size_nm=options.take("pixel_size", pixel_size_nm, parse_positive),
    )
    options.finish()
    return source


def _open_dtmicroscope(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    host, port = parse_address(place, DTMICROSCOPE_PORT)
    source = DTMicroscopeSource(
        host,
        port,
        microscope=options.take("microscope", "STEM", str),
        data=options.take("data", None, str),
        timeout_s=options.take("timeout", 10.0, parse_positive),
        interval_s=options.take("interval", 0.0, parse_not_negative),
        pixel_size_nm=options.take("pixel_size", pixel_size_nm, parse_positive),
    )
    options.finish()
    return source


def _open_pva(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    source = PvaSource(
        place, pixel_size_nm=options.take("pixel_size", pixel_size_nm, parse_positive)
    )
    options.finish()
    return source


# kind -> how to make such a source from the place, the options and the pixel size
SOURCES: dict[str, Callable[[str, Options, float | None], Source]] = {
    "sim": _open_simulated,
    "folder": _open_folder,
    "file": _open_file,
    "asyncroscopy": _open_asyncroscopy,
    "dtmicroscope": _open_dtmicroscope,
    "pva": _open_pva,
}


def _path_kind(name: str) -> str:
    path = Path(name)
    if is_image_file(path):  # a Zarr store is a folder, too
        return "file"
    if path.is_dir():
        return "folder"
    if path.is_file():
        return "file"
    raise SourceError(
        f"unknown source {name!r}: expected {', '.join(f'{kind}:...' for kind in SOURCES)}, "
        "or the path of an existing file or folder"
    )
