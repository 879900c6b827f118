"""`samstar/Tuning-v0`: improve the settings for one frame in a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.envs.observation.schema import Vector
from samstar_rl.envs.opening import choose_streams, open_bank, open_task
from samstar_rl.errors import SamstarError
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import COST_WEIGHT, FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Evaluation

STEPS = 5


class TuningEnv(gymnasium.Env[Vector, Vector]):
    """Improve the settings for one frame, step by step.

    Reset draws a frame of the bank and evaluates the task's static settings on it. Each step
    evaluates other settings on the same frame; what counts is the best so far.

    Action: ``Box(-1, 1, (n,), float32)``, absolute settings, encoded as in `samstar/Stream-v0`.

    Observation: the blocks of `samstar/Stream-v0`, where ``last_settings`` and ``last_terms`` are
    those of the step before on this same frame (after reset, of the static settings) and
    ``has_last`` is 1, followed by

    | block | numbers | range | what |
    |---|---|---|---|
    | search | 2 | [0, 1] | best score so far; share of the steps that are left |

    Reward: ``max(0, value - best value so far)`` with ``value = score - cost_weight * prompts of
    these settings and the probe / prompts of the dearest``, so that an episode's rewards add up to
    what was gained over the static settings.

    Episode: truncated, never terminated, after ``steps`` steps. Unlike in the stream, early steps
    inform later ones: learn it with a gamma near 1.

    Info: as in `samstar/Stream-v0`, of the settings tried last (after reset, of the static ones),
    and ``best_score``, ``best_settings``.

    Truth is never read, whether the bank holds it or not.

    Parameters
    ----------
    task, bank, streams, cost_weight, render_mode
        As for `samstar/Stream-v0`.
    steps : int
        Steps per episode.

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
        steps: int = STEPS,
        cost_weight: float = COST_WEIGHT,
        render_mode: str | None = None,
    ) -> None:
        if steps < 1:
            raise SamstarError(f"steps must be at least 1, got {steps}")
        if render_mode not in (None, "rgb_array"):
            raise SamstarError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.task = open_task(task)
        self.bank = open_bank(bank, self.task)
        self.steps = steps
        self.objective = Objective(self.task, cost_weight)
        self.render_mode = render_mode
        self._frames = BankFrames(self.bank, self.task, tuning=True)
        self.schema = self._frames.builder.schema
        self.observation_space = cast("spaces.Space[Vector]", self.schema.space())
        bounds = spaces.Box(-1.0, 1.0, (self.task.space.n,), np.float32)
        self.action_space = cast("spaces.Space[Vector]", bounds)
        chosen = choose_streams(self.bank, streams)
        self._indices = np.concatenate([np.asarray(stream) for stream in chosen])
        self._index = self._steps_left = 0
        self._evaluator: FrameEvaluator | None = None
        self._current: Evaluation | None = None
        self._best: Evaluation | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Vector, dict[str, Any]]:
        """Draw a frame and evaluate the static settings on it.

        Parameters
        ----------
        seed : int, optional
            Of the environment's own generator.
        options : dict, optional
            ``{"frame": index}`` takes that frame of the bank instead of a random one.
        """
        super().reset(seed=seed)
        self._index = self._draw_frame(options or {})
        self._steps_left = self.steps
        source = self._frames.source(self._index)
        self._evaluator = FrameEvaluator(source, self.objective)
        _ = self._evaluator.features  # the observation shows them: their prompts are charged
        self._current = self._best = self._evaluator(self.task.static)
        return self._observe(), self._info()

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Try settings on the frame."""
        if self._evaluator is None or self._best is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        settings = self.task.space.decode(np.clip(action, -1.0, 1.0))
        self._current = self._evaluator(settings)
        gain = max(0.0, self._current.reward - self._best.reward)
        if gain > 0:
            self._best = self._current
        self._steps_left -= 1
        return self._observe(), gain, False, self._steps_left <= 0, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the frame with the masks, settings and terms tried last, (H, W, 3) uint8."""
        if self.render_mode != "rgb_array":
            return None
        from samstar_rl.envs.render import draw_step

        return draw_step(self._frames.source(self._index).frame, self.task, self._current)

    def _draw_frame(self, options: dict[str, Any]) -> int:
        if "frame" not in options:
            return int(self.np_random.choice(self._indices))
        index = int(options["frame"])
        if not 0 <= index < len(self.bank):
            raise SamstarError(f"no frame {index}: the bank holds frames 0 to {len(self.bank) - 1}")
        return index

    def _observe(self) -> Vector:
        current, best = self._require()
        return self._frames.builder.build(
            self._frames.part(self._index),
            self.task.space.encode(current.settings),
            current.score,
            search=(best.score.total, self._steps_left / self.steps),
        )

    def _info(self) -> dict[str, Any]:
        current, best = self._require()
        return {
            "frame_id": current.segmentation.frame_id,
            "frame_index": self._index,
            "score": current.score.total,
            "terms": dict(current.score.terms),
            "settings": current.settings,
            "n_masks": len(current.segmentation),
            "n_prompts_decoded": self._evaluator.expense.n_prompts_decoded
            if self._evaluator
            else 0,
            "best_score": best.score.total,
            "best_settings": best.settings,
        }

    def _require(self) -> tuple[Evaluation, Evaluation]:
        if self._current is None or self._best is None:
            raise gymnasium.error.ResetNeeded("call reset() first")
        return self._current, self._best
