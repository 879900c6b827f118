"""The Chromium of this machine without a window: for pictures of pages, and for tests of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


class BrowserMissingError(SamstarError):
    """There is no Chromium, or no playwright to drive it."""


def open_chromium() -> AbstractContextManager[Browser]:
    """Start it.

    Raises
    ------
    BrowserMissingError
        If there is none.
    """
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise BrowserMissingError(
            "no Chromium is installed: make system-deps (Debian), or install Chromium or Chrome"
        )
    try:
        import playwright.sync_api
    except ImportError as error:
        raise BrowserMissingError("playwright is not installed: make setup") from error
    return _running(playwright.sync_api.sync_playwright, program)


@contextmanager
def _running(
    start: Callable[[], AbstractContextManager[Playwright]], program: str
) -> Iterator[Browser]:
    with start() as playwright:
        # the sandbox needs more rights than a container gives; only this program's pages are opened
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
