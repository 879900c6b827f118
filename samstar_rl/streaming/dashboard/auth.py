"""Who gets the page: whoever is at this machine, others after giving the token once."""

from __future__ import annotations

import html
import logging
from typing import Any

from bokeh.server.auth_provider import AuthProvider
from tornado.web import RequestHandler

from samstar_rl.streaming.access import admits, bearer_token

COOKIE = "samstar_token"
LOGIN = "/login"
LOGIN_PAGE = """<!doctype html><meta charset="utf-8"><title>samstar</title>
<style>body {{ background: #14171c; color: #e6e9ee; font-family: system-ui, sans-serif;
display: grid; place-items: center; height: 90vh; }} input, button {{ font-size: 16px; padding: 8px;
background: #1b2028; color: #e6e9ee; border: 1px solid #333b47; }}</style>
<form method="post"><p>{message}</p>
<input name="token" type="password" autofocus autocomplete="off" aria-label="token">
<button>Open</button></form>"""


class TokenAuth(AuthProvider):
    """Bokeh's hook for every page and every websocket.

    Parameters
    ----------
    token : str or None
        None admits whoever asks this machine by its own name.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token
        super().__init__()

    @property
    def get_user(self) -> Any:
        """Who asks: "operator", or None for nobody who may."""
        return self._user_of

    @property
    def login_url(self) -> str:
        """Where others are sent."""
        return LOGIN

    @property
    def get_login_url(self) -> None:
        """Not used: `login_url` is enough."""

    @property
    def get_user_async(self) -> None:
        """Not used: `get_user` is enough."""

    @property
    def login_handler(self) -> type[RequestHandler]:
        """Asks for the token."""
        token = self._token

        class Login(RequestHandler):
            def get(self) -> None:
                self._ask("This page needs the token that the run has shown.")

            def post(self) -> None:
                if token is not None and admits(token, self.get_body_argument("token", ""), ""):
                    # strict: no other site can use it; http only: no script can read it
                    self.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
                    self.redirect("/")
                else:
                    self.set_status(403)
                    self._ask("That is not the token.")

            def _ask(self, message: str) -> None:
                if token is None:
                    self.set_status(403)
                    message = "Open this page as http://localhost or http://127.0.0.1."
                self.set_header("Cache-Control", "no-store")
                self.set_header("X-Frame-Options", "DENY")
                self.finish(LOGIN_PAGE.format(message=html.escape(message)))

        return Login

    @property
    def logout_url(self) -> None:
        """There is no logging out: close the browser."""

    @property
    def logout_handler(self) -> None:
        """There is no logging out."""

    def _user_of(self, handler: RequestHandler) -> str | None:
        authorization = handler.request.headers.get("Authorization", "")
        given = bearer_token(authorization) or handler.get_cookie(COOKIE)
        return "operator" if admits(self._token, given, handler.request.host) else None


def silence_refusals() -> None:
    """Keep refused requests off the console, which shows the run's counts."""
    for name in ("tornado.access", "bokeh.server.views.ws"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
