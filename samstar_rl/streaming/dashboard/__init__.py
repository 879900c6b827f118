"""A page for the operator's browser: what the loop sees, finds and does, as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.errors import MissingExtraError
from samstar_rl.streaming.dashboard.state import LiveState

if TYPE_CHECKING:
    from samstar_rl.streaming.dashboard.server import Dashboard

__all__ = ["LiveState", "open_dashboard"]


def open_dashboard(
    state: LiveState, *, host: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> Dashboard:
    """Make the server of the page; it listens at once and serves when entered.

    Parameters
    ----------
    state : LiveState
        A sink of the loop, shown by the page.
    host, port
        Where to listen; port 0 takes a free one. An address beyond this machine demands a token.
    token : str, optional
        Demanded of every browser.

    Returns
    -------
    Dashboard

    Raises
    ------
    ImportError
        If Bokeh is not installed.
    DashboardError
        If the address is in use, or reaches beyond this machine without a token.
    """
    try:
        from samstar_rl.streaming.dashboard.server import Dashboard
    except ImportError as error:
        raise MissingExtraError("the dashboard", "Bokeh", "dashboard") from error
    return Dashboard(state, host=host, port=port, token=token)
