"""What asyncroscopy's Twisted servers do, on loopback: the central one, or the instrument's own."""

from __future__ import annotations

import re
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from samstar_rl.sources.instruments.asyncroscopy import (
    CENTRAL_LIMIT_BYTES,
    CENTRAL_PREFIX,
    LONGEST_SCAN_S,
)
from samstar_rl.sources.instruments.specimen import Specimen

LONGEST_COMMAND = 10_000


class AsyncroscopySimulator:
    """A server that scans a simulated specimen; a context manager.

    It answers as the real ones do: text as ``[str,N]``, a scan that is too long with ``None``, an
    exception of a command with a bare traceback. The instrument's own server sends a second message
    ``None`` after each reply, the central one passes at most 10,000,000 bytes on.

    Parameters
    ----------
    specimen : Specimen, optional
    central : bool
        The central server, which wants the prefix ``AS_``, or the instrument's own.
    port : int
        0 takes a free one.
    seconds : float
        How long a scan takes.
    reply : callable, optional
        Takes a command and gives all bytes that are sent for it, in place of the above: tests
        misbehave by it.

    Attributes
    ----------
    requests : list of str
        Every command that came.
    """

    def __init__(
        self,
        specimen: Specimen | None = None,
        *,
        central: bool = True,
        port: int = 0,
        seconds: float = 0.0,
        reply: Callable[[str], bytes] | None = None,
    ) -> None:
        self.specimen = specimen or Specimen()
        self.central = central
        self.seconds = seconds
        self.reply = reply or self.answer
        self.requests: list[str] = []
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def source(self) -> str:
        """What opens it."""
        return f"asyncroscopy://127.0.0.1:{self.port}?central={int(self.central)}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, command: str) -> bytes:
        """The bytes that a real server sends for a command."""
        if self.central and not command.startswith(CENTRAL_PREFIX):
            return framed(text_reply(f"Unknown command prefix in '{command}'"))
        name, *words = command.removeprefix(CENTRAL_PREFIX if self.central else "").split()
        if name != "get_scanned_image":
            reply = text_reply(f"Unknown command: {name}")
        else:
            reply = self._scan(dict(word.split("=", 1) for word in words))
        if not self.central:
            return framed(reply) + framed(b"None")
        if len(reply) > CENTRAL_LIMIT_BYTES:
            reason = "twisted.internet.error.ConnectionDone: Connection was closed cleanly."
            return framed(text_reply(f"[Central ERROR] [Failure instance: {reason}]"))
        return framed(reply)

    def _scan(self, options: dict[str, str]) -> bytes:
        try:
            size, dwell_time_s = int(options["size"]), float(options["dwell_time"])
        except (KeyError, ValueError) as error:
            return traceback_reply(error)
        if size * size * dwell_time_s > LONGEST_SCAN_S:
            return b"None"
        time.sleep(self.seconds)
        image = self.specimen.scan(size)
        return image_reply(np.clip(image, 0, 255).astype(np.uint8))


def framed(payload: bytes) -> bytes:
    """A message: its length, big-endian, and the bytes."""
    return struct.pack(">I", len(payload)) + payload


def image_reply(image: NDArray[Any]) -> bytes:
    """An image as ``[dtype,height,width]`` and its values."""
    shape = ",".join(str(length) for length in image.shape)
    return f"[{image.dtype},{shape}]".encode() + image.tobytes()


def text_reply(text: str) -> bytes:
    """Text as ``[str,N]`` and its bytes."""
    return f"[str,{len(text)}]".encode() + text.encode()


def traceback_reply(error: Exception) -> bytes:
    """What an exception inside a command sends: a traceback without a header."""
    return (
        "Traceback (most recent call last):\n"
        '  File "AS_server.py", line 1, in get_scanned_image\n'
        f"{type(error).__name__}: {error}\n"
    ).encode()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], simulator: AsyncroscopySimulator) -> None:
        self.simulator = simulator
        super().__init__(address, _Conversation)


class _Conversation(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Answer one command."""
        simulator = self.server.simulator
        with suppress(OSError, struct.error):  # the client has gone
            with self.request.makefile("rb") as stream:
                (length,) = struct.unpack(">I", stream.read(4))
                length = length if length <= LONGEST_COMMAND else 0
                command = re.sub(r"\s+", " ", stream.read(length).decode())
            simulator.requests.append(command)
            self.request.sendall(simulator.reply(command))
