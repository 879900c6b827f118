"""`samstar/Tuning-v1`: look at one frame several times, until it is enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.envs.looks import is_over
from samstar_rl.envs.observation.schema import Vector
from samstar_rl.envs.opening import choose_streams, open_bank, open_task
from samstar_rl.envs.options import StreamOptions
from samstar_rl.envs.stream import describe
from samstar_rl.errors import SamstarError
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Evaluation


class TuningEnv(gymnasium.Env[Vector, Vector]):
    """Look at one frame several times, each look knowing what the last ones found.

    Reset draws a frame of the bank and a budget. Each step chooses settings, gaze and filters. What
    SAM decodes for them is charged to the budget; its masks join those found before, and the
    filters choose among all of them, so that duplicates fall. More prompts at a zoom that was
    looked at go on where that look stopped. What is looked at next may therefore depend on what
    was found, which no single answer to a frame can.

    Action: ``Box(-1, 1, (n + 1,), float32)``, settings encoded as in `samstar/Stream-v1`, and
    whether this look is the last: above 0 it is enough.

    Observation: the blocks of `samstar/Stream-v1`, where ``budget`` is what is left of it,
    ``last_settings``, ``last_terms`` and ``last_cost`` are those of all looks so far at this same
    frame and ``has_last`` says whether there were any, followed by

    | block | numbers | range | what |
    |---|---|---|---|
    | search | 3 + g | [0, 8.3] | see below |

    search: the logarithms of 1 + what is left of the budget, the share of the looks that may
    follow, the logarithm of 1 + the masks found, and, for each of the g gazes of
    ``task.space.prompts()`` (one a zoom), that of 1 + the prompts decoded at it.

    Reward: the gain in ``score - price * cost / 1000`` over the look before; before the first look
    that is 0. An episode's rewards add up to what it came to: learn it with gamma 1.

    Episode: terminated when the action says that it is enough, when the budget is used up, or after
    8 looks.

    Info: as in `samstar/Stream-v1`, of all looks so far, with ``n_looks``; ``budget`` is the
    episode's. After reset only ``frame_id``, ``frame_index``, ``budget`` and ``n_looks``.

    Truth is never read, whether the bank holds it or not.

    Parameters
    ----------
    task, bank, streams, render_mode
        As for `samstar/Stream-v1`.
    options : StreamOptions
        Price and budgets; a window or a union means nothing here.

    Raises
    ------
    SamstarError
        If an argument is out of range or the bank does not serve the task.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        task: Task | str | Path = "particles",
        bank: Bank | str | Path | None = None,
        *,
        streams: Sequence[range] | None = None,
        options: StreamOptions = StreamOptions(),  # noqa: B008
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise SamstarError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        if options.union is not None:
            raise SamstarError("samstar/Tuning-v1 has no union of tasks: use samstar/Stream-v1")
        self.task, self.bank = open_bank(bank, open_task(task))
        self.options = options
        self.objective = Objective(self.task, options.price)
        self.render_mode = render_mode
        self._frames = BankFrames(self.bank, self.task, tuning=True)
        self.schema = self._frames.builder.schema
        self.observation_space = cast("spaces.Space[Vector]", self.schema.space())
        bounds = spaces.Box(-1.0, 1.0, (self._frames.builder.n_actions,), np.float32)
        self.action_space = cast("spaces.Space[Vector]", bounds)
        chosen = choose_streams(self.bank, streams)
        self._indices = np.concatenate([np.asarray(stream) for stream in chosen])
        self._index = self._n_looks = 0
        self._budget = math.inf
        self._evaluate: FrameEvaluator | None = None
        self._found: Evaluation | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Vector, dict[str, Any]]:
        """Draw a frame and a budget.

        Parameters
        ----------
        seed : int, optional
            Of the environment's own generator.
        options : dict, optional
            ``{"frame": index}`` takes that frame of the bank instead of a random one,
            ``{"budget": cost}`` that budget.
        """
        super().reset(seed=seed)
        if options is None or "frame" not in options:
            index = int(self.np_random.choice(self._indices))
        else:
            index = int(options["frame"])
            if not 0 <= index < len(self.bank):
                raise SamstarError(
                    f"no frame {index}: the bank holds frames 0 to {len(self.bank) - 1}"
                )
        self._index = index
        self._budget = self.options.draw_budget(self.np_random, options)
        self._n_looks, self._found = 0, None
        source = self._frames.source(self._index)
        self._evaluate = FrameEvaluator(source, self.objective, cost_limit=self._budget)
        self._evaluate.pools = True
        return self._observe(), self._info()

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Look at the frame once more."""
        if self._evaluate is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        action = np.clip(action, -1.0, 1.0)
        before = 0.0 if self._found is None else self._found.reward
        self._found = self._evaluate(self._frames.builder.decode(action))
        self._n_looks += 1
        terminated = is_over(float(action[-1]), self._n_looks, self._evaluate.left)
        return self._observe(), self._found.reward - before, terminated, False, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the frame with all masks found, the last settings and terms, (H, W, 3) uint8."""
        if self.render_mode != "rgb_array":
            return None
        from samstar_rl.envs.render import draw_step

        return draw_step(self._frames.source(self._index).frame, self.task, self._found)

    def _observe(self) -> Vector:
        assert self._evaluate is not None
        evaluate, builder, found = self._evaluate, self._frames.builder, self._found
        searched = builder.searched(evaluate.expense.looks, evaluate.left, self._n_looks, found)
        return builder.build(self._frames.part(self._index), evaluate.left, found, searched)

    def _info(self) -> dict[str, Any]:
        info = {
            "frame_id": self._frames.source(self._index).frame.id,
            "frame_index": self._index,
            "budget": self._budget,
            "n_looks": self._n_looks,
        }
        return info if self._found is None else info | describe(self._found)
