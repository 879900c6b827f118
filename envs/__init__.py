"""The Gymnasium environments. Importing this package registers them.

>>> import gymnasium, samstar_rl.envs
>>> env = gymnasium.make("samstar/Stream-v1", task="particles")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader
from gymnasium.envs.registration import register

if TYPE_CHECKING:
    from samstar_rl.envs.options import StreamOptions as StreamOptions
    from samstar_rl.envs.stream import StreamEnv as StreamEnv
    from samstar_rl.envs.tuning import TuningEnv as TuningEnv

STREAM_ID = "samstar/Stream-v1"
TUNING_ID = "samstar/Tuning-v1"

register(id=STREAM_ID, entry_point="samstar_rl.envs.stream:StreamEnv")
register(id=TUNING_ID, entry_point="samstar_rl.envs.tuning:TuningEnv")

# registering alone stays cheap: the classes are imported when they are asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"options": ["StreamOptions"], "stream": ["StreamEnv"], "tuning": ["TuningEnv"]},
)
