"""`samstar/Stream-v1`: choose the settings for each new frame of a stream."""

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
from samstar_rl.envs.observation.schema import Vector
from samstar_rl.envs.opening import choose_streams, open_bank, open_task, windows
from samstar_rl.envs.options import StreamOptions
from samstar_rl.errors import SamstarError
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Evaluation


class StreamEnv(gymnasium.Env[Vector, Vector]):
    """Choose the generator's settings for each new frame of a stream, at once.

    One step is one frame of a bank: a stream of micrographs whose proposals SAM has computed
    already. The agent sees the new frame before it acts, decides how closely and how densely SAM
    looks at it and what is kept, and gets the score: physics and learned plausibility. SAM stops at
    the frame's budget. Actions do not change the frames that follow, only what is known of the last
    one, so that this is nearly a contextual bandit: learn it with gamma 0.

    Action: ``Box(-1, 1, (n,), float32)``, the settings that the task leaves free, in the order of
    ``task.space.names``; `SettingsSpace.decode` maps -1 and 1 to their bounds on their scale and
    snaps integers and ladders.

    Observation: one float32 vector of these blocks, in this order; ``env.unwrapped.schema`` names
    every number. C are the channels of the SAM's embedding, T the numbers of the task's targets,
    n its free settings, k its score terms.

    | block | numbers | range | what |
    |---|---|---|---|
    | image | 27 | by entry | statistics of the frame's intensities, `IMAGE_STATISTICS` |
    | foreground | 8 | by entry | particles: where, how large, `FOREGROUND_STATISTICS` |
    | embedding | C | [-10, 10] | SAM's image embedding, averaged over the frame |
    | gaze | 21 | by entry | bodies: how wide, in how many tiles at each zoom, `GAZE_STATISTICS` |
    | targets | T | [-100, 100] | what the task expects, ``task.target_vector(frame)`` |
    | budget | 1 | [-1, 1] | the cost that a frame may have: logarithmic, 60 is -1, 2000 or more 1 |
    | last_settings | n | [-1, 1] | the last frame's settings, encoded as the action |
    | last_terms | k + 1 | [0, 1] | the last frame's score: each term, then their combination |
    | last_cost | 1 | [0, 8.3] | log of 1 + the last frame's cost |
    | has_last | 1 | 0 or 1 | whether there was a last frame; else the three blocks above are 0 |

    Nothing of it asks SAM to decode a prompt.

    With ``options.union`` the environment speaks for many tasks: n and k count the settings and
    terms of all of them, an action's entries for settings that this task fixes are ignored, and
    behind the targets stands

    | block | numbers | range | what |
    |---|---|---|---|
    | free | n + 2 l | [0, 1], [0, 4] | see below |

    free: 1 for each setting that this task leaves free, else 0; then low and high of each of the l
    lengths among the settings, as shares of the frame's short side.

    Trainings wrap it: `HideLastFrame` hides the last frame at random, `VaryTargets` varies the
    targets in every episode, in the reward and in the observation alike.

    Reward: ``score - price * cost / 1000``, the score in [0, 1]. The cost counts prompts decoded
    and, for each view that SAM encoded, the whole frame included, a constant of the SAM (36 for the
    embedded one); seconds never count.

    Budget: the cost that each frame of the episode may have, drawn log-uniformly from
    ``options.budget``. Prompts are decoded in the order of their worth until it is used up. It does
    not end the stock generator's grid, which a task has that leaves ``n_prompts`` out.

    Episode: a random window of ``options.window`` consecutive frames of one stream (all frames of
    a shorter one). It is truncated, never terminated: the stream goes on. The last observation of
    an episode shows its last frame again, with the score that it got.

    Info: ``score``, ``terms``, ``settings`` (a `Settings`), ``cost``, ``stopped_by`` ("n_prompts",
    "budget" or "nothing left"; None for a grid), ``n_masks``, ``n_prompts_decoded``, ``budget``,
    ``frame_id``, ``frame_index``, all of the frame that the action was for; after reset only the
    last three.

    Truth is never read, whether the bank holds it or not.

    Parameters
    ----------
    task : Task, str or path
        What the sample should look like: a task, the name of a shipped one, or a TOML file.
    bank : Bank, path or None
        Frames with their proposals. None builds a small simulated bank for the task, once, in the
        user's cache folder, and takes at most 128 prompts at the zooms 1, 2 and 3.
    streams : sequence of range, optional
        Frames of the bank to take, a range for each stream; by default all of them.
    options : StreamOptions
        Frames per episode, price, budgets, and the union of tasks that the policy is for.
    render_mode : {None, "rgb_array"}
        Frame, masks, settings and terms as a picture.

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
        self.task, self.bank = open_bank(bank, open_task(task))
        self.options = options
        self.objective = Objective(self.task, options.price)
        self.render_mode = render_mode
        self._frames = BankFrames(self.bank, self.task, union=options.union)
        self._builder = self._frames.builder
        self._windows = windows(choose_streams(self.bank, streams), options.window)
        self.schema = self._builder.schema
        self.observation_space = cast("spaces.Space[Vector]", self.schema.space())
        bounds = spaces.Box(-1.0, 1.0, (self._builder.n_actions,), np.float32)
        self.action_space = cast("spaces.Space[Vector]", bounds)
        self._index = self._stop = 0
        self._budget = math.inf
        self._last: Evaluation | None = None
        self._shown: tuple[int, Evaluation] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Vector, dict[str, Any]]:
        """Begin a window.

        Parameters
        ----------
        seed : int, optional
            Of the environment's own generator.
        options : dict, optional
            ``{"start": index}`` begins at that frame of the bank instead of at a random one,
            ``{"budget": cost}`` takes that budget.
        """
        super().reset(seed=seed)
        self._index, self._stop = self._draw_window(options or {})
        self._budget = self.options.draw_budget(self.np_random, options)
        self._last = self._shown = None
        return self.ask_for(self.task), self._frame_info()

    def ask_for(self, task: Task) -> Vector:
        """Let an episode ask for the targets of another task, or of the same varied.

        Parameters
        ----------
        task : Task
            With the same settings to move; it holds until the next reset.

        Returns
        -------
        (D,) array
            The observation of the current frame with these targets.
        """
        if task is not self.objective.task:
            self.objective = Objective(task, self.objective.price)
            self._builder = self._frames.builder.for_task(task)
        return self._observe()

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Segment the current frame with the settings, go on to the next."""
        settings = self._builder.decode(action)
        previous = None if self._last is None else self._last.segmentation
        source = self._frames.source(self._index)
        evaluate = FrameEvaluator(
            source, self.objective, previous=previous, cost_limit=self._budget
        )
        evaluation = evaluate(settings)
        info = self._frame_info() | describe(evaluation)
        self._shown = (self._index, evaluation)
        self._last = evaluation
        truncated = self._index + 1 >= self._stop
        if not truncated:
            self._index += 1
        return self._observe(), evaluation.reward, False, truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the last segmented frame with its masks, settings and terms, (H, W, 3) uint8."""
        if self.render_mode != "rgb_array":
            return None
        from samstar_rl.envs.render import draw_step

        index, evaluation = self._shown or (self._index, None)
        return draw_step(self._frames.source(index).frame, self.task, evaluation)

    def _draw_window(self, options: dict[str, Any]) -> tuple[int, int]:
        if "start" not in options:
            start, stop = self._windows[self.np_random.integers(len(self._windows))]
            return int(start), int(stop)
        chosen = int(options["start"])
        stops = self._windows[self._windows[:, 0] == chosen, 1]
        if len(stops) == 0:
            raise SamstarError(
                f"no window starts at frame {chosen}: expected one of "
                f"{self._windows[0, 0]} to {self._windows[-1, 0]}"
            )
        return chosen, int(stops[0])

    def _observe(self) -> Vector:
        builder, last = self._builder, self._last
        if builder.task is self.task:
            part = self._frames.part(self._index)
        else:
            part = self._frames.part_of(self._index, builder)
        return builder.build(part, self._budget, last)

    def _frame_info(self) -> dict[str, Any]:
        frame = self._frames.source(self._index).frame
        return {"frame_id": frame.id, "frame_index": self._index, "budget": self._budget}


def describe(evaluation: Evaluation) -> dict[str, Any]:
    """What an environment's info tells of an evaluation."""
    proposals = evaluation.segmentation.proposals
    return {
        "score": evaluation.score.total,
        "terms": dict(evaluation.score.terms),
        "settings": evaluation.settings,
        "cost": evaluation.cost,
        "stopped_by": None if proposals.effort is None else proposals.effort.stopped_by,
        "n_masks": len(evaluation.segmentation),
        "n_prompts_decoded": proposals.n_prompts_decoded,
    }
