"""Frames from asyncroscopy as it is since February 2026, over Tango.

Version 2 returns an image from the command itself, as JSON and bytes. Version 3 returns a key: the
image lies in an HDF5 file of its own, which a Tiled server offers over HTTP.
"""

from __future__ import annotations

import json
import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray

from samstar_rl.sources.base import SourceError
from samstar_rl.sources.instruments.base import (
    MAX_REPLY_BYTES,
    BadReplyError,
    ConnectionLostError,
    InstrumentSource,
    RefusedError,
    last_line,
)
from samstar_rl.sources.readers.registry import FrameReadError, iterate_file

DEFAULT_PORT = 11000
# version -> the devices that take part
DEVICES = {
    2: {"scan": "test/scan/1", "microscope": "test/microscope/1"},
    3: {
        "scan": "asyncroscopy/scan/default",
        "microscope": "asyncroscopy/instrument/default",
        "data": "asyncroscopy/data/default",
    },
}
# version -> what the scan device takes
DWELL_LIMITS_S = {2: (1e-9, 1e-3), 3: (1e-9, 10.0)}
API_KEY_VARIABLE = "ASYNCROSCOPY_TILED_API_KEY"
# how often a pending reply is looked for, and `stop` noticed
POLL_MS = 100
# of a device that does not answer rather than refuse
AWAY_REASONS = (
    "API_DeviceTimedOut",
    "API_CantConnectToDevice",
    "API_CantConnectToDatabase",
    "API_DeviceNotExported",
    "API_CorbaException",
    "API_CommunicationFailed",
)
# of these the cause stands elsewhere in the stack
FRAMES_OF_ERRORS = ("API_CommandFailed", "API_AttributeFailed", "PyDs_UnexpectedFailure")
HINTS = {
    "API_CommandNotFound": "the device is of another version of asyncroscopy: version=2 or "
    "version=3 says which it is",
    "API_WAttrOutsideLimit": "size and dwell_time must lie within the scan device's limits",
    "API_DeviceNotDefined": "the device has another name there: scan=, microscope= and data= say "
    "them",
    "DB_DeviceNotDefined": "the device has another name there: scan=, microscope= and data= say "
    "them",
}


class TangoSource(InstrumentSource):
    """Scanned images of an asyncroscopy that speaks Tango.

    The pixel size is the microscope's field of view over the image's width, where it says the
    former.

    Parameters
    ----------
    host, port
        Of the Tango database, or of the device server itself where there is none.
    database : bool
        Whether there is a database.
    version : {2, 3}, optional
        Of asyncroscopy; by default what the devices there are.
    scan, microscope, data : str, optional
        The devices, as ``domain/family/member`` or in full as ``tango://...``. "data" is of
        version 3 only.
    detector : str
        In version 2 the device decides.
    size : int, optional
        Pixels along a side; as the scan device has it by default.
    dwell_time_s : float, optional
        As the scan device has it by default.
    save_path : path, optional
        Where the data device's folder lies on this machine: images are then read from there, and
        not asked of Tiled.
    tiled : str, optional
        Tiled's address where it is another one than the data device says.
    timeout_s : float
        For an image, beyond the scan's own duration.
    interval_s : float
        Least time from one request to the next.
    pixel_size_nm : float, optional
        Takes precedence over the field of view.

    Raises
    ------
    SourceError
        If pytango is not installed, or such a scan can never succeed.
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        *,
        database: bool = True,
        version: int | None = None,
        scan: str | None = None,
        microscope: str | None = None,
        data: str | None = None,
        detector: str = "HAADF",
        size: int | None = None,
        dwell_time_s: float | None = None,
        save_path: str | Path | None = None,
        tiled: str | None = None,
        timeout_s: float = 20.0,
        interval_s: float = 0.0,
        pixel_size_nm: float | None = None,
    ) -> None:
        super().__init__(
            f"tango://{host}:{port}",
            interval_s=interval_s,
            timeout_s=timeout_s,
            pixel_size_nm=pixel_size_nm,
        )
        if size is not None and not 1 <= size <= math.isqrt(MAX_REPLY_BYTES):
            raise SourceError(
                f"size must be from 1 to {math.isqrt(MAX_REPLY_BYTES)}: an image of "
                f"{MAX_REPLY_BYTES} bytes is the largest that is taken; got {size}"
            )
        low, high = DWELL_LIMITS_S[3 if version == 3 else 2]
        if dwell_time_s is not None and not low <= dwell_time_s <= high:
            raise SourceError(
                f"dwell_time must be from {low:g} to {high:g} s, which the scan device takes; got "
                f"{dwell_time_s:g}"
            )
        if version not in (None, *DEVICES):
            raise SourceError(f"version must be 2 or 3, got {version}")
        if not re.fullmatch(r"[\w.-]+", detector):
            raise SourceError(f"detector must be a word such as HAADF, got {detector!r}")
        if save_path is not None and not Path(save_path).is_dir():
            raise SourceError(f"save_path: there is no folder {save_path} on this machine")
        if tiled is not None and urlsplit(tiled).scheme not in ("http", "https"):
            raise SourceError(f"tiled must be http://HOST:PORT, got {tiled!r}")
        self._tango = import_tango()
        self.address, self.database = f"tango://{host}:{port}", database
        self.version = version
        self.names = {"scan": scan, "microscope": microscope, "data": data}
        self.detector = detector
        self.size, self.dwell_time_s = size, dwell_time_s
        self.save_path = None if save_path is None else Path(save_path)
        self.tiled = tiled
        self.given_pixel_size_nm = pixel_size_nm
        self._devices: dict[str, Any] = {}
        self._found_version = version
        self._knows_fov = True

    def acquire(self) -> NDArray[np.generic]:
        """Set the scan, start it, and fetch the image."""
        try:
            if not self._devices:
                self._connect()
            scan = self._devices["scan"]
            if self.size is not None:
                scan.write_attribute("imsize", self.size)
            if self.dwell_time_s is not None:
                scan.write_attribute("dwell_time", self.dwell_time_s)
            size = int(scan.read_attribute("imsize").value)
            scan_s = size * size * float(scan.read_attribute("dwell_time").value)
            if self._found_version == 2:
                header, body = self._command("microscope", "get_scanned_image", scan_s=scan_s)
                image, detector = decode_scanned_image(header, body)
                if detector and detector.casefold() != self.detector.casefold():
                    self.remark(f"scans {detector}, not {self.detector}: the device decides")
            else:
                image = self._acquire_by_key(scan_s)
            self._note_pixel_size(image.shape[-1])
        except self._tango.DevFailed as error:
            raise self._explain(error) from error
        self.remark_size(image, size)
        return image

    def disconnect(self) -> None:
        """Forget the devices."""
        self._devices = {}

    def _connect(self) -> None:
        """Find the devices; of a server whose version was not said, try the newer first."""
        versions = (self.version,) if self.version is not None else (3, 2)
        for version in versions:
            try:
                devices = {
                    role: self._open(self.names[role] or name)
                    for role, name in DEVICES[version].items()
                }
                for device in devices.values():
                    device.ping()
            except self._tango.DevFailed as error:
                undefined = {"API_DeviceNotDefined", "DB_DeviceNotDefined"} & set(_reasons(error))
                if not undefined or version == versions[-1]:
                    raise
            else:
                self._devices, self._found_version, self._knows_fov = devices, version, True
                return

    def _open(self, name: str) -> Any:
        if not name.startswith("tango://"):
            name = f"{self.address}/{name}" + ("" if self.database else "#dbase=no")
        return self._tango.DeviceProxy(name)

    def _acquire_by_key(self, scan_s: float) -> NDArray[np.generic]:
        key = self._command(
            "microscope", "acquire_scanned_image", [self.detector.lower()], scan_s=scan_s
        )
        if not isinstance(key, str) or not key.strip():
            raise BadReplyError(f"expected the key of an image, got {key!r}")
        if self.save_path is not None:
            return _read_saved(self.save_path, key)
        config = _parse_json(self._command("data", "get_config"), "get_config")
        uri = self.tiled or str(config.get("uri", ""))
        if urlsplit(uri).scheme not in ("http", "https"):
            raise BadReplyError(f"the data device names no Tiled server, but {uri!r}")
        try:
            return _fetch_from_tiled(uri, key.strip(), self.detector, self.timeout_s)
        except OSError as error:  # the scan is done: it must not be repeated for this
            raise RefusedError(
                f"the image {key} cannot be fetched from {uri} ({error}): tiled=http://HOST:PORT "
                f"says where Tiled is reached from here, or save_path=FOLDER where its folder "
                f"({config.get('save_path', 'unknown')} there) lies on this machine"
            ) from error

    def _command(self, role: str, name: str, argument: Any = None, *, scan_s: float = 0.0) -> Any:
        """Run a command so that `stop` ends the wait for it."""
        device = self._devices[role]
        device.set_timeout_millis(math.ceil(1e3 * (self.timeout_s + scan_s)))
        given = () if argument is None else (argument,)
        pending = device.command_inout_asynch(name, *given)
        while not self.stopped:
            try:
                return device.command_inout_reply(pending, POLL_MS)
            except self._tango.AsynReplyNotArrived:
                continue
        with suppress(self._tango.DevFailed):
            device.cancel_asynch_request(pending)
        raise ConnectionLostError("stopped")

    def _note_pixel_size(self, width: int) -> None:
        """Edge of a pixel from the field of view, which may change from image to image."""
        if self.given_pixel_size_nm is not None or not self._knows_fov:
            return
        try:
            fov_m = float(self._command("microscope", "get_fov"))
            region = self._scanned_share()
        except (self._tango.DevFailed, TypeError, ValueError):
            self._knows_fov, self.pixel_size_nm = False, None
            self.remark("does not say its field of view: pixel_size=NM says the pixel size")
            return
        size_nm = 1e9 * fov_m * region / width
        self.pixel_size_nm = size_nm if 0 < size_nm < math.inf else None

    def _scanned_share(self) -> float:
        """How much of the field of view's width is scanned."""
        if self._found_version == 2:
            return 1.0
        try:
            _, _, width, _ = self._devices["scan"].read_attribute("scan_region").value
        except self._tango.DevFailed:
            return 1.0
        share = float(width)
        return share if 0 < share <= 1 else 1.0

    def _explain(self, error: Any) -> Exception:
        """Tell a refusal from silence, and say what Tango's stack of errors comes to."""
        reasons = _reasons(error)
        if "API_DeviceTimedOut" in reasons:
            return ConnectionLostError(self.lengthen_timeout())
        hinted = next((part for part in error.args if part.reason in HINTS), None)
        causes = [part for part in error.args if part.reason not in FRAMES_OF_ERRORS]
        cause = hinted or (causes[0] if causes else error.args[0])
        # Tango's own descriptions begin with what matters, Python's tracebacks end with it
        lines = cause.desc.strip().splitlines() or [""]
        words = lines[0] if cause.reason.startswith("API_") else last_line(cause.desc)
        said = f"{cause.reason}: {words}"
        hint = HINTS.get(cause.reason, "")
        if hint:
            return RefusedError(f"{said} ({hint})")
        if any(reason in AWAY_REASONS for reason in reasons):
            return ConnectionLostError(said)
        return RefusedError(f"the device says: {said}")


def _read_saved(folder: Path, key: str) -> NDArray[np.generic]:
    """The image's file, by its last name only: no path that a reply names is opened."""
    path = folder / re.split(r"[/\\]", key.strip())[-1]
    if path.suffix == "":
        path = path.with_suffix(".h5")
    try:
        return next(iterate_file(path)).image
    except (FrameReadError, ImportError) as error:
        raise RefusedError(f"the image {key}: {error}") from error


def import_tango() -> Any:
    """Pytango's module.

    Raises
    ------
    SourceError
        If it is not installed, naming the extra.
    """
    try:
        import tango
    except ImportError as error:
        raise SourceError("tango: sources need pytango: pip install 'samstar-rl[tango]'") from error
    return tango


def decode_scanned_image(header: str, body: bytes) -> tuple[NDArray[np.generic], str]:
    """Turn the reply of ``get_scanned_image`` into an image and its detector's name.

    Raises
    ------
    BadReplyError
        If header and bytes do not fit.
    """
    described = _parse_json(header, "get_scanned_image")
    try:
        shape = tuple(int(length) for length in described["shape"])
        dtype = np.dtype(str(described["dtype"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadReplyError(f"expected shape and dtype of an image: {described}") from error
    return _as_array(body, shape, dtype), str(described.get("detector", ""))


def _as_array(body: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[np.generic]:
    """Read bytes in C order as an array of real numbers."""
    if dtype.kind not in "buif" or not shape or min(shape) < 1:
        raise BadReplyError(f"expected an image of real numbers, got {shape} of {dtype}")
    if math.prod(shape) * dtype.itemsize != len(body):
        raise BadReplyError(f"{len(body)} bytes came where {shape} of {dtype} were announced")
    return np.frombuffer(body, dtype).reshape(shape)


def _parse_json(text: Any, source: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError) as error:
        raise BadReplyError(f"{source} gave no JSON, but {str(text)[:80]!r}") from error
    if not isinstance(found, dict):
        raise BadReplyError(f"{source} gave no JSON object, but {str(text)[:80]!r}")
    return found


def _fetch_from_tiled(uri: str, key: str, detector: str, timeout_s: float) -> NDArray[np.generic]:
    """Fetch an image of a file that a Tiled server offers."""
    last: Exception | None = None
    for name in dict.fromkeys((f"image/{detector.upper()}", f"image/{detector}", "Channel_000")):
        path = quote(f"{key}/{name}")
        try:
            text = _get(f"{uri}/api/v1/metadata/{path}", timeout_s)
        except HTTPError as error:
            if error.code != 404:
                raise
            last = error
            continue
        shape, dtype = _structure(_parse_json(text, "Tiled"))
        if math.prod(shape) * dtype.itemsize > MAX_REPLY_BYTES:
            raise BadReplyError(f"an image of {shape}; at most {MAX_REPLY_BYTES} bytes are taken")
        query = "format=application/octet-stream"
        return _as_array(_get(f"{uri}/api/v1/array/full/{path}?{query}", timeout_s), shape, dtype)
    raise last or URLError("nothing was asked for")


def _structure(metadata: dict[str, Any]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        structure = metadata["data"]["attributes"]["structure"]
        described = structure["data_type"]
        order = {"little": "<", "big": ">"}.get(described.get("endianness"), "|")
        dtype = np.dtype(f"{order}{described['kind']}{int(described['itemsize'])}")
        return tuple(int(length) for length in structure["shape"]), dtype
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadReplyError(f"Tiled describes no array: {str(metadata)[:200]}") from error


def _get(url: str, timeout_s: float) -> bytes:
    key = os.environ.get(API_KEY_VARIABLE)
    headers = {"Authorization": f"Apikey {key}"} if key else {}
    with urlopen(Request(url, headers=headers), timeout=timeout_s) as answer:
        body: bytes = answer.read(MAX_REPLY_BYTES + 1)
    if len(body) > MAX_REPLY_BYTES:
        raise BadReplyError(f"a reply beyond {MAX_REPLY_BYTES} bytes")
    return body


def _reasons(error: Any) -> list[str]:
    return [part.reason for part in error.args if hasattr(part, "reason")]
