"""The page's server: Bokeh's, in a thread of its own."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from typing import TYPE_CHECKING, Self

from bokeh.application import Application
from bokeh.application.handlers import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from samstar_rl.errors import SamstarError
from samstar_rl.streaming.access import demand_token, is_loopback, url_of
from samstar_rl.streaming.dashboard.auth import TokenAuth, silence_refusals
from samstar_rl.streaming.dashboard.page import UPDATE_MS, Page
from samstar_rl.streaming.dashboard.picture import PictureMaker

if TYPE_CHECKING:
    from samstar_rl.streaming.dashboard.state import LiveState

# browsers get so long to show the end of the run before the server goes
FAREWELL_S = 2.5 * UPDATE_MS / 1e3
START_TIMEOUT_S = 30.0


class DashboardError(SamstarError):
    """The page cannot be offered under this address."""


class Dashboard:
    """A context manager that serves the page of a `LiveState`.

    Parameters
    ----------
    state : LiveState
    host, port
        Where to listen; port 0 takes a free one. An address beyond this machine demands a token.
    token : str, optional
        Demanded of every browser.

    Raises
    ------
    DashboardError
        If the address is in use, or reaches beyond this machine without a token.
    """

    def __init__(
        self, state: LiveState, *, host: str = "127.0.0.1", port: int = 0, token: str | None = None
    ) -> None:
        try:
            demand_token(host, token)
            self._sockets, self.port = bind_sockets(host, port)
        except SamstarError as error:
            raise DashboardError(str(error)) from error
        except OSError as error:
            raise DashboardError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self.state = state
        self.host = host
        self.token = token
        self._pictures = PictureMaker()
        self._loop: IOLoop | None = None
        self._server: BaseServer | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="dashboard", daemon=True)

    def __enter__(self) -> Self:
        silence_refusals()
        self._thread.start()
        self._started.wait(START_TIMEOUT_S)
        if self._error is not None:
            raise DashboardError(f"the dashboard cannot start: {self._error}") from self._error
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where to find it."""
        return url_of(self.host, self.port)

    @property
    def n_browsers(self) -> int:
        """Pages that are open."""
        return 0 if self._server is None else len(self._server.get_sessions("/"))

    def close(self) -> None:
        """Let the pages show that the run is over, and stop."""
        self.state.close()
        if self._thread.is_alive() and self._loop is not None:
            if self.n_browsers:
                time.sleep(FAREWELL_S)
            self._loop.add_callback(self._stop)
            self._thread.join(START_TIMEOUT_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        self._loop = IOLoop.current()
        try:
            self._server = self._make_server(self._loop)
            self._server.start()
        except BaseException as error:  # reported by whoever waits for the start
            self._error = error
            return
        finally:
            self._started.set()
        self._loop.start()
        self._loop.close(all_fds=True)

    def _make_server(self, loop: IOLoop) -> BaseServer:
        # Pages whose scripts may connect: this one's own, under this machine's names. Beyond this
        # machine nobody knows by which name the operator calls it; there the token's cookie, which
        # browsers send to no other site, decides.
        names = ("localhost", "127.0.0.1", "[::1]")
        origins = [f"{n}:{self.port}" for n in names] if is_loopback(self.host) else ["*"]
        application = BokehTornado(
            {"/": Application(FunctionHandler(self._show))},
            extra_websocket_origins=origins,
            auth_provider=TokenAuth(self.token),
            # nothing of the request goes into the page
            include_headers=[], include_cookies=[],
            sign_sessions=True, secret_key=secrets.token_hex(32).encode(),
        )  # fmt: skip
        http = HTTPServer(application, max_body_size=1 << 20)
        http.add_sockets(self._sockets)
        return BaseServer(loop, application, http)

    def _show(self, document: Document) -> None:
        Page(document, self.state, self._pictures)

    def _stop(self) -> None:
        if self._server is not None and self._loop is not None:
            self._server.unlisten()
            self._server.stop()
            self._loop.add_callback(self._loop.stop)
