"""Sources by name, such as ``sim:particles``, ``folder:PATH`` or ``file:stack.tif``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

from samstar_rl.errors import SamstarError
from samstar_rl.sources.base import Source, SourceError
from samstar_rl.sources.options import Options, parse_flag, parse_not_negative, parse_positive

# each kind imports what it needs when it is asked for: a misspelt name is told at once


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
    if kind == "tango":  # Tango itself writes it as a fragment, before or after the options
        rest, n_found = re.subn(r"#dbase=no", "", rest)
        if n_found:
            rest += ("&" if "?" in rest else "?") + "dbase=no"
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
    from samstar_rl.simulator.presets import PRESETS

    if place and place not in PRESETS:
        raise SourceError(f"preset must be one of {', '.join(PRESETS)}, got {place!r}")
    if pixel_size_nm is not None:
        raise SourceError("a simulated source knows its pixel size: leave --pixel-size out")
    from samstar_rl.sources.simulated import SimulatedSource

    source = SimulatedSource(
        place or "particles",
        seed=options.take("seed", 0, int),
        size=options.take("size", 512, int),
        length=options.take("length", None, int),
        drift=options.take("drift", 1.0, parse_not_negative),
        survey=options.take("survey", 0, int),
        fps=options.take("fps", 0.0, parse_not_negative),
    )
    options.finish()
    return source


def _open_folder(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    from samstar_rl.sources.folder import FolderSource

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
    from samstar_rl.sources.file import FileSource

    options.finish()
    return FileSource(place, pixel_size_nm=pixel_size_nm)


def _open_asyncroscopy(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    from samstar_rl.sources.instruments.asyncroscopy import CENTRAL_PORT, AsyncroscopySource
    from samstar_rl.sources.instruments.base import parse_address

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


def _open_tango(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    from samstar_rl.sources.instruments.base import parse_address
    from samstar_rl.sources.instruments.tango import DEFAULT_PORT, TangoSource

    # a device's own address may stand here, as Tango writes it: HOST:PORT/domain/family/member
    address, _, device = place.rstrip("/").partition("/")
    host, port = parse_address(address, DEFAULT_PORT)
    source = TangoSource(
        host,
        port,
        database=options.take("dbase", True, parse_flag),
        version=options.take("version", None, int),
        scan=options.take("scan", None, str),
        microscope=options.take("microscope", device or None, str),
        data=options.take("data", None, str),
        detector=options.take("detector", "HAADF", str),
        size=options.take("size", None, int),
        dwell_time_s=options.take("dwell_time", None, parse_not_negative),
        save_path=options.take("save_path", None, str),
        tiled=options.take("tiled", None, str),
        timeout_s=options.take("timeout", 20.0, parse_positive),
        interval_s=options.take("interval", 0.0, parse_not_negative),
        pixel_size_nm=options.take("pixel_size", pixel_size_nm, parse_positive),
    )
    options.finish()
    return source


def _open_dtmicroscope(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    from samstar_rl.sources.instruments.base import parse_address
    from samstar_rl.sources.instruments.dtmicroscope import DEFAULT_PORT, DTMicroscopeSource

    host, port = parse_address(place, DEFAULT_PORT)
    source = DTMicroscopeSource(
        host,
        port,
        microscope=options.take("microscope", None, str),
        data=options.take("data", None, str),
        timeout_s=options.take("timeout", 10.0, parse_positive),
        interval_s=options.take("interval", 0.0, parse_not_negative),
        pixel_size_nm=options.take("pixel_size", pixel_size_nm, parse_positive),
    )
    options.finish()
    return source


def _open_pva(place: str, options: Options, pixel_size_nm: float | None) -> Source:
    from samstar_rl.sources.instruments.pva import PvaSource

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
    "tango": _open_tango,
    "dtmicroscope": _open_dtmicroscope,
    "pva": _open_pva,
}


def _path_kind(name: str) -> str:
    path = Path(name)
    if path.is_dir():
        from samstar_rl.sources.readers.files import is_image_file

        return "file" if is_image_file(path) else "folder"  # a Zarr store is a folder, too
    if path.is_file():
        return "file"
    raise SourceError(
        f"unknown source {name!r}: expected {', '.join(f'{kind}:...' for kind in SOURCES)}, "
        "or the path of an existing file or folder"
    )
