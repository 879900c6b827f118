"""The Gymnasium environments. Importing this package registers them.

>>> import gymnasium, samstar_rl.envs
>>> env = gymnasium.make("samstar/Stream-v0", task="particles")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register

if TYPE_CHECKING:
    from samstar_rl.envs.stream import StreamEnv
    from samstar_rl.envs.tuning import TuningEnv

STREAM_ID = "samstar/Stream-v0"
TUNING_ID = "samstar/Tuning-v0"

__all__ = ["STREAM_ID", "TUNING_ID", "StreamEnv", "TuningEnv"]

register(id=STREAM_ID, entry_point="samstar_rl.envs.stream:StreamEnv")
register(id=TUNING_ID, entry_point="samstar_rl.envs.tuning:TuningEnv")


def __getattr__(name: str) -> Any:
    """Import the classes when they are asked for: registering alone stays cheap."""
    if name == "StreamEnv":
        from samstar_rl.envs.stream import StreamEnv

        return StreamEnv
    if name == "TuningEnv":
        from samstar_rl.envs.tuning import TuningEnv

        return TuningEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
