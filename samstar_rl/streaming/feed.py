"""An HTTP feed, so that the instrument's own control script can act on what is found.

``GET /frames`` is a stream of JSON lines, one a frame as soon as its results are written;
``GET /latest`` is the last such line; ``GET /metrics`` is for Prometheus.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl.streaming.access import admits, bearer_token, demand_token, url_of

if TYPE_CHECKING:
    from samstar_rl.results.result import FrameResult
    from samstar_rl.streaming.counters import Counters
    from samstar_rl.streaming.events import Event

# a reader that falls behind by more than this misses frames, and is told how many
BACKLOG = 256
MAX_CONNECTIONS = 32
# how often an idle stream looks whether the server stops
IDLE_S = 0.5
SOCKET_TIMEOUT_S = 30.0
INDEX = b"/frames: JSON lines as they come\n/latest: the last\n/metrics: for Prometheus\n"


class FeedError(SamstarError):
    """The feed cannot be offered under this address."""


class Feed:
    """A sink that serves what it takes over HTTP; also a context manager.

    Parameters
    ----------
    counters : Counters
        For /metrics.
    host, port
        Where to listen; port 0 takes a free one. An address beyond this machine demands a token.
    token : str, optional
        Demanded as ``Authorization: Bearer TOKEN`` (or ``?token=TOKEN``).

    Raises
    ------
    FeedError
        If the address is in use, or reaches beyond this machine without a token.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        try:
            demand_token(host, token)
        except SamstarError as error:
            raise FeedError(str(error)) from error
        self.counters = counters
        self.token = token
        self.stopped = threading.Event()
        self.changed = threading.Condition()
        self._lines: deque[bytes] = deque(maxlen=BACKLOG)
        self._n_lines = 0
        self._last: FrameResult | None = None
        self.slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        try:
            self._server = _Server((host, port), self)
        except OSError as error:
            raise FeedError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": IDLE_S}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where to find it."""
        host, port = self._server.server_address[:2]
        return url_of(str(host), int(port))

    # as a sink

    def write(self, result: FrameResult) -> None:
        """Publish a frame's record and particles."""
        self._last = result
        self._publish(result.to_record() | {"particles": _particle_columns(result)})

    def report(self, event: Event) -> None:
        """Publish an event."""
        self._publish(event.to_record())

    def close(self) -> None:
        """End all streams and the server."""
        if self.stopped.is_set():
            return
        with self.changed:
            self.stopped.set()
            self.changed.notify_all()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _publish(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with self.changed:
            self._lines.append(line)
            self._n_lines += 1
            self.changed.notify_all()

    # for the handlers

    @property
    def n_lines(self) -> int:
        """Lines published so far."""
        with self.changed:
            return self._n_lines

    def latest(self) -> bytes | None:
        """The last line, None before the first."""
        with self.changed:
            return self._lines[-1] if self._lines else None

    def lines_from(self, number: int) -> tuple[list[bytes], int]:
        """Wait a moment for lines from this number on: those that are held, and the next number."""
        with self.changed:
            if self._n_lines <= number and not self.stopped.is_set():
                self.changed.wait(IDLE_S)
            first_held = self._n_lines - len(self._lines)
            lines = list(self._lines)[max(0, number - first_held) :]
            if number < first_held:
                gap = {"event": "gap", "message": "too slow a reader", "n": first_held - number}
                lines.insert(0, json.dumps(gap).encode() + b"\n")
            return lines, self._n_lines

    def metrics(self) -> bytes:
        """All figures in Prometheus' text format."""
        counts, last = self.counters.counts, self._last
        lines = _family(
            "frames_received_total", "counter", "Frames that came.", {"": counts.received}
        )
        fates = {
            f'{{fate="{fate}"}}': getattr(counts, fate) for fate in ("done", "dropped", "failed")
        }
        lines += _family("frames_total", "counter", "Frames by what became of them.", fates)
        latencies = {
            f'{{quantile="{quantile}"}}': latency_ms / 1e3
            for quantile in (0.5, 0.99)
            if (latency_ms := self.counters.latency_ms(100 * quantile)) is not None
        }
        about = "From arrival to results on disk, over the last frames."
        lines += _family("latency_seconds", "summary", about, latencies)
        if last is not None:
            terms = {f'{{name="{name}"}}': value for name, value in last.score.terms.items()}
            lines += _family("score", "gauge", "Of the last frame.", {"": last.score.total})
            lines += _family("term", "gauge", "Of the last frame's score.", terms)
            found = {"": len(last.segmentation)}
            lines += _family("particles", "gauge", "Found in the last frame.", found)
        return ("\n".join(lines) + "\n").encode()


def _particle_columns(result: FrameResult) -> dict[str, list[Any]]:
    """The particle table by columns; what is not a finite number becomes null.

    Frame and version of the schema stand in the record itself.
    """
    table = result.particles().drop(columns=["frame", "schema_version"])
    columns: dict[str, list[Any]] = {}
    for name in table.columns:
        values = np.asarray(table[name])
        if values.dtype.kind == "f":
            columns[name] = [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]
        else:
            columns[name] = values.tolist()
    return columns


def _family(name: str, kind: str, about: str, samples: Mapping[str, float]) -> list[str]:
    """The lines of one metric; a sample by its labels in braces."""
    head = [f"# HELP samstar_{name} {about}", f"# TYPE samstar_{name} {kind}"]
    return head + [f"samstar_{name}{labels} {value:.10g}" for labels, value in samples.items()]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # after a restart connections of the last run linger on POSIX; on Windows the same option would
    # let two programs listen on one port
    allow_reuse_address = os.name == "posix"

    def __init__(self, address: tuple[str, int], feed: Feed) -> None:
        self.feed = feed
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, which takes its time offline."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "samstar"
    sys_version = ""
    timeout = SOCKET_TIMEOUT_S

    def do_GET(self) -> None:
        """Answer a request."""
        feed = self.server.feed
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        authorization = self.headers.get("Authorization", "")
        given = bearer_token(authorization) or query.get("token", [None])[0]
        if not admits(feed.token, given, self.headers.get("Host", "")):
            self._answer(HTTPStatus.FORBIDDEN, b"a token is needed, or another Host\n")
        elif not feed.slots.acquire(blocking=False):
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"too many connections\n")
        else:
            try:
                self._route(url.path, query)
            except OSError:
                pass  # the reader has gone
            finally:
                feed.slots.release()

    def _route(self, path: str, query: dict[str, list[str]]) -> None:
        feed = self.server.feed
        if path == "/frames":
            self._stream(query)
        elif path == "/latest":
            line = feed.latest()
            status = HTTPStatus.NO_CONTENT if line is None else HTTPStatus.OK
            self._answer(status, line or b"", "application/json")
        elif path == "/metrics":
            kind = "text/plain; version=0.0.4; charset=utf-8"
            self._answer(HTTPStatus.OK, feed.metrics(), kind)
        elif path == "/":
            self._answer(HTTPStatus.OK, INDEX)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there are /frames, /latest and /metrics\n")

    def _stream(self, query: dict[str, list[str]]) -> None:
        """Send lines until the reader goes or the server stops; ?backlog=1 begins with the past."""
        feed = self.server.feed
        number = 0 if query.get("backlog", ["0"])[0] == "1" else feed.n_lines
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()  # HTTP/1.0: the end of the stream is the end of the connection
        while True:
            stopped = feed.stopped.is_set()
            lines, number = feed.lines_from(number)
            self.wfile.write(b"".join(lines))
            if stopped or self._reader_has_gone():
                return

    def _reader_has_gone(self) -> bool:
        """A reader that gave up while nothing was sent; its place is another's."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            readable = bool(selector.select(0))
        return readable and not self.connection.recv(1, socket.MSG_PEEK)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the console for the operator."""
