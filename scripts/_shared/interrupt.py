"""How a program ends: by Ctrl-C when nothing is at stake, and with its own exit code otherwise."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

QUIT = 130


def quit_on_interrupt() -> None:
    """Let SIGINT and SIGTERM end the process at once, until somebody else takes them over.

    While libraries are imported and models loaded nothing is written that could be left half done.
    """
    for name in ("SIGINT", "SIGTERM"):
        with suppress(ValueError):  # not in the main thread: somebody else's program
            signal.signal(getattr(signal, name), _quit)


@contextmanager
def keeping_the_exit_code() -> Iterator[None]:
    """End the process at once where Tango was used, all being written and closed by then.

    Its threads may still be at work while the interpreter is taken down, which now and then aborts
    the process (an assertion of omniORB's) in place of its exit code.
    """
    try:
        yield
    except SystemExit as end:
        if "tango" in sys.modules:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


def _quit(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"\nstopped\n")
    os._exit(QUIT)
