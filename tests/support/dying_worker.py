"""Work that kills the process it runs in, once: as a lack of memory would."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def work(folder: Path, name: str) -> str:
    """Leave a file of that name; the first process that works on "deadly" dies instead."""
    marker = folder / "died"
    if name == "deadly" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / name).touch()
    return name


def always_die(name: str) -> str:
    """Die."""
    os.kill(os.getpid(), signal.SIGKILL)
    return name
