"""Frames from an asyncroscopy server, over TCP.

Both ways a message is a length of four bytes, big-endian, and so many bytes. An image comes as
``[dtype,height,width]`` in ASCII and the raw values in C order, text as ``[str,N]`` and N bytes;
errors are text like any other. On a direct connection each reply is followed by a second message
``None``, so a connection serves one command and only its first reply is read.
"""

from __future__ import annotations

import math
import re
import socket
import struct
import time

import numpy as np
from numpy.typing import NDArray

from samstar_rl.sources.base import SourceError
from samstar_rl.sources.instruments.base import MAX_REPLY_BYTES, BadReplyError, InstrumentSource

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
# the central server asks the instrument and passes its answer on
CENTRAL_PREFIX = "AS_"


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
            f"asyncroscopy://{host}:{port}", interval_s=interval_s, pixel_size_nm=pixel_size_nm
        )
        if not re.fullmatch(r"[\w.-]+", detector):
            raise SourceError(f"detector must be a word such as HAADF, got {detector!r}")
        if size < 1 or not 0 < dwell_time_s < math.inf:
            raise SourceError(
                f"size and dwell_time must be positive, got {size} and {dwell_time_s}"
            )
        self.address = (host, port)
        self.timeout_s = timeout_s + size * size * dwell_time_s
        if central is None:
            central = port != INSTRUMENT_PORT
        prefix = CENTRAL_PREFIX if central else ""
        self.request = (
            f"{prefix}get_scanned_image scanning_detector={detector} size={size} "
            f"dwell_time={dwell_time_s:g}"
        )

    def acquire(self) -> NDArray[np.generic]:
        """Ask for one image on a connection of its own."""
        deadline = time.monotonic() + self.timeout_s
        with socket.create_connection(self.address, timeout=self.timeout_s) as connection:
            send_message(connection, self.request.encode())
            return decode_image(receive_message(connection, deadline=deadline))


def send_message(connection: socket.socket, payload: bytes) -> None:
    """Send a length and the bytes."""
    connection.sendall(struct.pack(">I", len(payload)) + payload)


def receive_message(
    connection: socket.socket, limit: int = MAX_REPLY_BYTES, *, deadline: float = math.inf
) -> bytes:
    """Receive a length and so many bytes.

    Parameters
    ----------
    connection : socket
    limit : int
        Most bytes that are taken.
    deadline : float
        On the clock of `time.monotonic`: a server that sends a byte now and then hangs as well.

    Raises
    ------
    BadReplyError
        If the length is beyond the limit: it is garbage, or nothing that fits here.
    ConnectionError
        If the other side closes before the end.
    TimeoutError
        If the end has not come by the deadline.
    """
    (length,) = struct.unpack(">I", _receive_exactly(connection, 4, deadline))
    if length > limit:
        raise BadReplyError(f"a reply of {length} bytes was announced, at most {limit} are taken")
    return _receive_exactly(connection, length, deadline)


def decode_image(payload: bytes) -> NDArray[np.generic]:
    """Turn a reply into an array.

    Raises
    ------
    BadReplyError
        If it is text (an error), or its header does not fit its length.
    """
    header = HEADER.match(payload[:LONGEST_HEADER])
    if header is None:
        raise BadReplyError(f"the reply has no header [dtype,height,width]: {payload[:60]!r}")
    name, body = header[1].decode(), payload[header.end() :]
    if name == "str":
        raise BadReplyError(f"the server says: {body[:300].decode('utf-8', 'replace')}")
    if name not in DTYPES:
        raise BadReplyError(f"the reply is of the unknown type {name!r}")
    shape = tuple(int(length) for length in header[2].decode().split(",")[1:])
    n_bytes = math.prod(shape) * DTYPES[name].itemsize
    if n_bytes != len(body):
        raise BadReplyError(
            f"the reply announces {name} of the shape {shape}, {n_bytes} bytes, but has {len(body)}"
        )
    return np.frombuffer(body, DTYPES[name]).reshape(shape)


def _receive_exactly(connection: socket.socket, length: int, deadline: float) -> bytes:
    buffer = bytearray()
    while len(buffer) < length:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"only {len(buffer)} of {length} bytes came in time")
        if left_s < math.inf:
            connection.settimeout(left_s)
        chunk = connection.recv(min(1 << 20, length - len(buffer)))
        if not chunk:
            raise ConnectionError(f"the reply ended after {len(buffer)} of {length} bytes")
        buffer += chunk
    return bytes(buffer)
