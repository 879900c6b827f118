"""Sources by name, such as ``sim:particles``, ``folder:PATH`` or ``file:stack.tif``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from samstar_rl.errors import SamstarError
from samstar_rl.sources.base import Source, SourceError


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
    kind, place, texts = parse_source_name(name)
    known = SOURCES[kind]
    if unknown := [option for option in texts if option not in known.options]:
        raise SourceError(
            f"a {kind}: source has no option {', '.join(unknown)}; "
            f"it has {', '.join(known.options) or 'none'}"
        )
    if kind == "sim" and pixel_size_nm is not None:
        raise SourceError("a simulated source knows its pixel size: leave --pixel-size out")
    arguments = known.place(place)
    if pixel_size_nm is not None:
        arguments["pixel_size_nm"] = pixel_size_nm
    for option, text in texts.items():
        parameter, parse = known.options[option]
        try:
            arguments[parameter] = parse(text)
        except ValueError as error:
            raise SourceError(
                f"the option {option} of a {kind}: source cannot be {text!r}: {error}"
            ) from error
    module, _, source_class = known.made_by.partition(":")
    try:
        made: Source = getattr(importlib.import_module(module), source_class)(**arguments)
    except SourceError:
        raise
    except SamstarError as error:
        raise SourceError(f"{name}: {error}") from error
    return made


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


def _path_kind(name: str) -> str:
    path = Path(name)
    if path.is_dir():
        from samstar_rl.sources.readers.registry import is_image_file

        return "file" if is_image_file(path) else "folder"  # a Zarr store is a folder, too
    if path.is_file():
        return "file"
    raise SourceError(
        f"unknown source {name!r}: expected {', '.join(f'{kind}:...' for kind in SOURCES)}, "
        "or the path of an existing file or folder"
    )


def _flag(text: str) -> bool:
    flags = dict.fromkeys(("1", "true", "yes", "on"), True)
    flags |= dict.fromkeys(("0", "false", "no", "off"), False)
    if text.casefold() not in flags:
        raise SamstarError("expected 1 or 0")
    return flags[text.casefold()]


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise SamstarError("expected a number of 0 or above")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise SamstarError("expected a number above 0")
    return value


def _preset(place: str) -> dict[str, Any]:
    from samstar_rl.simulator.presets import PRESETS

    if place and place not in PRESETS:  # told before what draws frames is imported
        raise SourceError(f"preset must be one of {', '.join(PRESETS)}, got {place!r}")
    return {"preset": place or "particles"}


def _address(place: str) -> dict[str, Any]:
    """``host:port``, ``host`` or ``[::1]:port``; each source knows its usual port."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+)(?::(\d{1,5}))?/?", place)
    if match is None or int(match[2] or 0) > 65535:
        raise SourceError(f"expected host:port, got {place!r}")
    return {"host": match[1].strip("[]")} | ({"port": int(match[2])} if match[2] else {})


def _device_address(place: str) -> dict[str, Any]:
    """An address, and perhaps a device as Tango writes it: HOST:PORT/domain/family/member."""
    address, _, device = place.rstrip("/").partition("/")
    return _address(address) | ({"microscope": device} if device else {})


@dataclass(frozen=True)
class SourceKind:
    """How sources of one kind are made from their names.

    Parameters
    ----------
    made_by : str
        Module and class, which are imported when such a source is asked for.
    place : callable
        Turns what stands behind the colon into arguments of the class.
    options : mapping
        Option -> the parameter of the class that it sets, and what turns its text into a value.
        Where one is not given, the class's own default holds.
    """

    made_by: str
    place: Callable[[str], dict[str, Any]]
    options: Mapping[str, tuple[str, Callable[[str], Any]]]


_INSTRUMENT = {
    "timeout": ("timeout_s", _positive),
    "interval": ("interval_s", _not_negative),
    "pixel_size": ("pixel_size_nm", _positive),
}

SOURCES: dict[str, SourceKind] = {
    "sim": SourceKind(
        "samstar_rl.sources.simulated:SimulatedSource",
        _preset,
        {
            **{name: (name, int) for name in ("seed", "size", "length", "survey")},
            **{name: (name, _not_negative) for name in ("drift", "fps")},
        },
    ),
    "folder": SourceKind(
        "samstar_rl.sources.folder:FolderSource",
        lambda place: {"path": place},
        {
            "watch": ("watch", _flag),
            "settle": ("settle_s", _not_negative),
            "poll": ("poll_s", _not_negative),
            "attempts": ("attempts", int),
        },
    ),
    "file": SourceKind("samstar_rl.sources.file:FileSource", lambda place: {"path": place}, {}),
    "asyncroscopy": SourceKind(
        "samstar_rl.sources.instruments.asyncroscopy:AsyncroscopySource",
        _address,
        {
            "central": ("central", _flag),
            "detector": ("detector", str),
            "size": ("size", int),
            "dwell_time": ("dwell_time_s", _not_negative),
            **_INSTRUMENT,
        },
    ),
    "tango": SourceKind(
        "samstar_rl.sources.instruments.tango:TangoSource",
        _device_address,
        {
            "dbase": ("database", _flag),
            "version": ("version", int),
            **{name: (name, str) for name in ("scan", "microscope", "data", "detector")},
            "size": ("size", int),
            "dwell_time": ("dwell_time_s", _not_negative),
            "save_path": ("save_path", str),
            "tiled": ("tiled", str),
            **_INSTRUMENT,
        },
    ),
    "dtmicroscope": SourceKind(
        "samstar_rl.sources.instruments.dtmicroscope:DTMicroscopeSource",
        _address,
        {"microscope": ("microscope", str), "data": ("data", str), **_INSTRUMENT},
    ),
    "pva": SourceKind(
        "samstar_rl.sources.instruments.pva:PvaSource",
        lambda place: {"channel": place},
        {"pixel_size": ("pixel_size_nm", _positive)},
    ),
}
