"""Frames from the Twisted servers of asyncroscopy (until January 2026), over TCP.

Both ways a message is a length of four bytes, big-endian, and so many bytes. An image comes as
``[dtype,height,width]`` in ASCII and the raw values in C order, text as ``[str,N]`` and N bytes;
errors are text like any other. On a direct connection each reply is followed by a second message
``None``, so a connection serves one command and only its first reply is read. Later versions of
asyncroscopy speak Tango: see `tango`.
"""

from __future__ import annotations

import math
import re
import socket
import struct
import time
from contextlib import suppress
from typing import NoReturn

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

CENTRAL_PORT = 9000
INSTRUMENT_PORT = 9001
DTYPES = {
    name: np.dtype(name)
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64"),
    )
}
# at most four axes: numpy knows a few more, an image needs two
HEADER = re.compile(rb"\[\s*([a-z]+\d*)\s*((?:,\s*\d{1,9}\s*){1,4})\]")
LONGEST_HEADER = 200
# of a traceback the last lines matter; less than this is no word
MAX_TEXT_BYTES, SHORTEST_TEXT = 2000, 4
# the central server asks the instrument and passes its answer on, at most so many bytes
CENTRAL_PREFIX = "AS_"
CENTRAL_LIMIT_BYTES = 10_000_000
# the instrument's server refuses longer scans
LONGEST_SCAN_S = 600.0
# it scans this detector whatever is asked for
SCANNED_DETECTOR = "HAADF"
# what other servers' first four bytes are, read as a length
OTHER_PROTOCOLS = {
    b"HTTP": "an HTTP server answers there: check the port",
    b"GIOP": "a Tango server answers there: an asyncroscopy of today is opened by tango://",
}
CLOSED_AT_ONCE = (
    "the peer closes the connection without an answer: asyncroscopy's servers since February 2026 "
    "speak Tango, which tango://HOST:PORT opens; otherwise check the port"
)
# what the server's messages mean -> what to do about them
HINTS = {
    "has no attribute 'acquisition'": "the server is not connected to its microscope: send "
    "connect_AS host=... port=... to it first (AS_connect_AS by way of the central server)",
    "unknown command prefix": "only the central server (port 9000) knows the prefix AS_, and wants "
    "it: central=1 or central=0 says which server listens there",
    "unknown command": "the prefix AS_ is the central server's (port 9000): central=0 leaves it "
    "out",
}
CENTRAL, CENTRAL_ERROR = "[central", "[central error]"


class AsyncroscopySource(InstrumentSource):
    """Scanned images of a detector.

    Parameters
    ----------
    host, port
        Of the central server (9000) or the instrument's own (9001).
    central : bool, optional
        Which of the two listens there, for other ports: the central server wants the prefix
        ``AS_``. By default it is the central one, except at the port 9001.
    detector : str
    size : int
        Pixels along a side.
    dwell_time_s : float
    timeout_s : float
        For the whole reply, beyond the scan's own duration.
    interval_s : float
        Least time from one request to the next.
    pixel_size_nm : float, optional
        The server does not say.

    Raises
    ------
    SourceError
        If such a scan can never succeed.
    """

    def __init__(
        self,
        host: str,
        port: int = CENTRAL_PORT,
        *,
        central: bool | None = None,
        detector: str = "HAADF",
        size: int = 512,
        dwell_time_s: float = 1e-6,
        timeout_s: float = 10.0,
        interval_s: float = 0.0,
        pixel_size_nm: float | None = None,
    ) -> None:
        super().__init__(
            f"asyncroscopy://{host}:{port}",
            interval_s=interval_s,
            timeout_s=timeout_s,
            pixel_size_nm=pixel_size_nm,
        )
        if not re.fullmatch(r"[\w.-]+", detector):
            raise SourceError(f"detector must be a word such as HAADF, got {detector!r}")
        if size < 1 or not 0 < dwell_time_s < math.inf:
            raise SourceError(
                f"size and dwell_time must be positive, got {size} and {dwell_time_s}"
            )
        if central is None:
            central = port != INSTRUMENT_PORT
        self.scan_s = size * size * dwell_time_s
        if self.scan_s > LONGEST_SCAN_S:
            raise SourceError(
                f"a scan of {self.scan_s:.4g} s is refused by the server, which takes at most "
                f"{LONGEST_SCAN_S:.0f} s (dwell_time times size squared): choose a smaller size or "
                "dwell_time"
            )
        limit = CENTRAL_LIMIT_BYTES if central else MAX_REPLY_BYTES
        if size * size > limit:
            way = ", or ask the instrument's own server (port 9001)" if central else ""
            raise SourceError(
                f"an image of {size} x {size} px never arrives: at most {limit} bytes are passed "
                f"on; choose a smaller size{way}"
            )
        self.address = (host, port)
        self.size, self.detector = size, detector
        self._connection: socket.socket | None = None
        prefix = CENTRAL_PREFIX if central else ""
        self.request = (
            f"{prefix}get_scanned_image scanning_detector={detector} size={size} "
            f"dwell_time={dwell_time_s:g}"
        )

    def acquire(self) -> NDArray[np.generic]:
        """Ask for one image on a connection of its own."""
        timeout_s = self.timeout_s + self.scan_s
        deadline = time.monotonic() + timeout_s
        with socket.create_connection(self.address, timeout=self.timeout_s) as connection:
            self._connection = connection
            try:
                payload = self.request.encode()
                connection.sendall(struct.pack(">I", len(payload)) + payload)
                image = decode_image(_receive_message(connection, deadline))
            except TimeoutError as error:
                raise ConnectionLostError(self.lengthen_timeout()) from error
            finally:
                self._connection = None
        self.remark_size(image, self.size)
        if self.detector != SCANNED_DETECTOR:
            self.remark(
                f"may have scanned {SCANNED_DETECTOR} instead of {self.detector}: these servers do "
                "so whatever is asked for, and their replies do not say"
            )
        return image

    def interrupt(self) -> None:
        """Close the connection under a reply that does not come."""
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _receive_message(connection: socket.socket, deadline: float) -> bytes:
    """Receive a length and so many bytes."""
    (length,) = struct.unpack(">I", _receive_exactly(connection, 4, deadline))
    if length > MAX_REPLY_BYTES:
        other = OTHER_PROTOCOLS.get(struct.pack(">I", length))
        if other is not None:
            raise RefusedError(other)
        raise BadReplyError(
            f"a reply of {length} bytes was announced, at most {MAX_REPLY_BYTES} are taken"
        )
    return _receive_exactly(connection, length, deadline)


def decode_image(payload: bytes) -> NDArray[np.generic]:
    """Turn a reply into an array.

    Raises
    ------
    RefusedError
        If it is text: what the server refuses, and why.
    ConnectionLostError
        If it is the central server's, which does not reach the instrument.
    BadReplyError
        If its header does not fit its length, or it is nothing that is known.
    """
    header = HEADER.match(payload[:LONGEST_HEADER])
    if header is None:
        _raise_what_it_says(payload)
    name, body = header[1].decode(), payload[header.end() :]
    if name == "str":
        _raise_what_it_says(body)
    if name not in DTYPES:
        raise BadReplyError(f"the reply is of the unknown type {name!r}")
    shape = tuple(int(length) for length in header[2].decode().split(",")[1:])
    n_bytes = math.prod(shape) * DTYPES[name].itemsize
    if n_bytes != len(body):
        raise BadReplyError(
            f"the reply announces {name} of the shape {shape}, {n_bytes} bytes, but has {len(body)}"
        )
    return np.frombuffer(body, DTYPES[name]).reshape(shape)


def _raise_what_it_says(payload: bytes) -> NoReturn:
    """Tell an error's text, with what to do about it, from bytes that mean nothing."""
    text = payload[-MAX_TEXT_BYTES:].decode("utf-8", "replace").strip()
    printable = all(character.isprintable() or character.isspace() for character in text)
    is_text = printable and len(text) >= SHORTEST_TEXT and "\ufffd" not in text
    if not is_text or (text[0] == "[" and not text.casefold().startswith(CENTRAL)):
        raise BadReplyError(f"the reply has no header [dtype,height,width]: {payload[:60]!r}")
    if text == "None":
        raise RefusedError(
            "the server answers None: it does not scan so many pixels at this dwell time, or has "
            "no such detector"
        )
    line = last_line(text)
    if CENTRAL_ERROR in text.casefold():
        if "closed cleanly" in text:
            raise RefusedError(
                "the central server got no answer that it passes on (at most "
                f"{CENTRAL_LIMIT_BYTES} bytes): choose a smaller size, or the instrument's own "
                "server (port 9001)"
            )
        raise ConnectionLostError(f"the instrument behind the central server: {line}")
    hint = next((hint for key, hint in HINTS.items() if key in text.casefold()), "")
    raise RefusedError(f"the server says: {line}" + (f" ({hint})" if hint else ""))


def _receive_exactly(connection: socket.socket, length: int, deadline: float) -> bytes:
    buffer = bytearray()
    while len(buffer) < length:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"only {len(buffer)} of {length} bytes came in time")
        connection.settimeout(left_s)
        chunk = connection.recv(min(1 << 20, length - len(buffer)))
        if not chunk and not buffer:
            raise ConnectionError(CLOSED_AT_ONCE)
        if not chunk:
            raise ConnectionError(f"the reply ended after {len(buffer)} of {length} bytes")
        buffer += chunk
    return bytes(buffer)
