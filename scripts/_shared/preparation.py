"""Where workers in other folders find what a command names."""

from __future__ import annotations

from pathlib import Path

from samstar_rl._io.checkpoint_cache import is_checkpoint_name
from samstar_rl.agents import TUNERS
from samstar_rl.agents.tuner_names import BUNDLE_SUFFIX as SUFFIX

STATIC_FILE = "static:"


def located_sam(sam: str) -> str:
    """A SAM as a process in another folder finds it: a name, or an absolute path."""
    return sam if sam == "tiny" or is_checkpoint_name(sam) else str(Path(sam).absolute())


def located_tuner(spec: str) -> str:
    """A tuner as a process in another folder finds it: a name, or an absolute path."""
    if spec.startswith(STATIC_FILE):
        return f"{STATIC_FILE}{Path(spec.removeprefix(STATIC_FILE)).absolute()}"
    named = spec in TUNERS or not any(Path(spec + suffix).is_dir() for suffix in ("", SUFFIX))
    return spec if named else str(Path(spec).absolute())
