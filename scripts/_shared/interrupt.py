"""Ctrl-C at any moment at which nothing is at stake: one line, no traceback, exit code 130."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

QUIT = 130


def quit_on_interrupt() -> None:
    """Let SIGINT and SIGTERM end the process at once, until somebody else takes them over.

    While libraries are imported and models loaded nothing is written that could be left half done.
    """
    for name in ("SIGINT", "SIGTERM"):
        with suppress(ValueError):  # not in the main thread: somebody else's program
            signal.signal(getattr(signal, name), _quit)


def _quit(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"\nstopped\n")
    os._exit(QUIT)
