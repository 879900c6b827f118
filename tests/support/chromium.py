"""A headless Chromium for tests of what a browser shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from samstar_rl.scripts.maintain.pictures.browser import BrowserMissingError, open_chromium


@contextmanager
def open_browser() -> Iterator:
    """The browser; the test is skipped where there is none."""
    try:
        opened = open_chromium()
    except BrowserMissingError as error:
        pytest.skip(str(error))
    with opened as browser:
        yield browser
