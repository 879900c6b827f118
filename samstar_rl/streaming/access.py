"""Who may look at a run: this machine freely, others with a token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from samstar_rl.errors import SamstarError

TOKEN_VARIABLE = "SAMSTAR_TOKEN"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def demand_token(host: str, token: str | None) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises
    ------
    SamstarError
        If the address can be reached from elsewhere and there is no token.
    """
    if not token and not is_loopback(host):
        raise SamstarError(
            f"{host} can be reached from other machines: give a token, or listen on 127.0.0.1"
        )


def admits(token: str | None, given: str | None, host_header: str) -> bool:
    """Whether a request may be answered.

    Without a token the request must name this machine: a web page in the operator's browser that
    has pointed its own name here does not.

    Parameters
    ----------
    token : str or None
        What is demanded.
    given : str or None
        What came with the request.
    host_header : str
        The request's ``Host``.

    Returns
    -------
    bool
    """
    if token is not None:
        return given is not None and hmac.compare_digest(given.encode(), token.encode())
    try:
        name = urlsplit(f"//{host_header}").hostname
    except ValueError:
        return False
    return name in LOCAL_NAMES or (name is not None and is_loopback(name))


def bearer_token(authorization: str) -> str | None:
    """The token in the header ``Authorization`` that a program sends with its request."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.casefold() == "bearer" else None


def url_of(host: str, port: int) -> str:
    """The address as a browser takes it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
