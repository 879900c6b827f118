"""Where everything is kept that can be fetched or computed anew."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "SAMSTAR_CACHE"


def cache_folder(part: str) -> Path:
    """A folder of the user's cache: ``checkpoints``, ``banks``, ``pretrain``, ...

    The environment variable SAMSTAR_CACHE names the cache; by default it is where the system keeps
    such things.
    """
    given = os.environ.get(CACHE_VARIABLE)
    whole = Path(given) if given else platformdirs.user_cache_path("samstar_rl", appauthor=False)
    return whole / part
