"""What a policy sees: one flat vector, in named blocks with stated ranges.

`ObservationSchema` says which number means what, `ObservationBuilder` fills the vector. The same
two serve the environments, the policies that run beside a microscope, and the policy bundle, which
stores the schema and refuses to run where it differs.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.envs.looks import MOST_LOOKS
from samstar_rl.envs.observation.features import (
    foreground_statistics,
    gaze_statistics,
    image_statistics,
)
from samstar_rl.envs.observation.schema import MOST_COST, ObservationSchema
from samstar_rl.errors import SamstarError
from samstar_rl.tuning.budget import BUDGET_RANGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samstar_rl.envs.observation.schema import Vector
    from samstar_rl.envs.task_union import TaskUnion
    from samstar_rl.frames.frame import Frame
    from samstar_rl.sam.embedding import FrameFeatures
    from samstar_rl.segmentation.proposals import Proposals
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Evaluation


class ObservationBuilder:
    """Fill observations of one task, and read the actions that answer them.

    Parameters
    ----------
    task : Task
    n_channels : int
        Channels of the SAM's embedding.
    tuning : bool
        As for `ObservationSchema.for_task`.
    union : TaskUnion, optional
        For a policy of many tasks: the observation's layout and the action are the union's.
    """

    def __init__(
        self, task: Task, n_channels: int, *, tuning: bool = False, union: TaskUnion | None = None
    ) -> None:
        self.task = task
        self.union = union
        self.tuning = tuning
        self.schema = ObservationSchema.for_task(task, n_channels, tuning=tuning, union=union)
        self._low, self._high = self.schema.limits()
        self._term_names = tuple(task.terms) if union is None else union.terms
        self._template = np.zeros(self.schema.size, dtype=np.float32)
        self._frame_part = slice(0, self.schema["budget"].start)
        self._budget = self.schema["budget"].start
        self._last_cost = self.schema["last_cost"].start
        self._settings = self.schema["last_settings"].slice
        self._terms = self.schema["last_terms"].slice
        self._has_last = self.schema["has_last"].start

    def for_task(self, task: Task) -> ObservationBuilder:
        """The builder of another task over the same union, or of the same task varied."""
        other = copy.copy(self)
        other.task = task
        return other

    @property
    def n_actions(self) -> int:
        """Length of the action; when tuning its last entry says whether this look is the last."""
        return (self.task.space.n if self.union is None else self.union.n) + self.tuning

    def encode(self, settings: Settings) -> Vector:
        """The action's entries that ask for these settings, in [-1, 1]."""
        space = self.task.space
        return space.encode(settings) if self.union is None else self.union.encode(space, settings)

    def decode(self, action: Vector) -> Settings:
        """The settings that an action asks for; what lies outside of [-1, 1] is clipped."""
        space, action = self.task.space, action[:-1] if self.tuning else action
        return space.decode(action) if self.union is None else self.union.decode(space, action)

    def sense(self, frame: Frame, features: FrameFeatures) -> Vector:
        """The blocks image, foreground, embedding, gaze: what is seen, whatever the task.

        Raises
        ------
        SamstarError
            If the embedding has another number of channels than the schema.
        """
        n_channels = len(self.schema["embedding"].entries)
        if len(features.pooled) != n_channels:
            raise SamstarError(
                f"the observation was made for a SAM with {n_channels} channels, the features of "
                f"frame {frame.id!r} have {len(features.pooled)}: use the SAM it was made for"
            )
        parts = [
            image_statistics(frame.image),
            foreground_statistics(frame),
            features.pooled,
            gaze_statistics(frame),
        ]
        return np.concatenate(parts).astype(np.float32)

    def targets(self, frame: Frame) -> Vector:
        """The block targets: what the task expects, lengths as shares of the frame's short side.

        With a union the block ``free`` follows it.
        """
        targets = np.asarray(self.task.target_vector(frame), dtype=np.float32)
        if self.union is None:
            return targets
        free = self.union.free(self.task.space)
        return np.concatenate([targets, free, self.union.ranges(self.task, frame)])

    def frame_part(self, frame: Frame, features: FrameFeatures) -> Vector:
        """The blocks that the frame decides, without the stream: `sense` and `targets`."""
        return np.concatenate([self.sense(frame, features), self.targets(frame)])

    def searched(
        self, looks: Sequence[Proposals], left: float, n_looks: int, found: Evaluation | None
    ) -> Vector:
        """The block search: how far the looks at a frame are.

        Parameters
        ----------
        looks : sequence of Proposals
            What was decoded, of each gaze as much as there is.
        left : float
            What is left of the budget.
        n_looks : int
            So far.
        found : Evaluation or None
            Of all looks so far.

        Returns
        -------
        (S,) float32 array
        """
        shown = [
            math.log1p(min(max(left, 0.0), MOST_COST)),
            1 - n_looks / MOST_LOOKS,
            math.log1p(0 if found is None else len(found.segmentation)),
        ]
        for gaze in self.task.space.prompts():
            n_prompts = [k.n_prompts_decoded for k in looks if gaze.holds(k.prompt)]
            shown.append(math.log1p(max(n_prompts, default=0)))
        return np.array(shown, dtype=np.float32)

    def build(
        self,
        frame_part: Vector,
        budget: float,
        last: Evaluation | None = None,
        search: Vector | None = None,
    ) -> Vector:
        """Put the observation together.

        Parameters
        ----------
        frame_part : (D,) array
            From `frame_part`.
        budget : float
            The cost that the frame may have; infinite where there is no limit.
        last : Evaluation, optional
            What the last frame came to; None where there was none.
        search : (S,) array, optional
            From `searched`, for `samstar/Tuning-v1`.

        Returns
        -------
        (size,) float32 array
            Clipped to the schema's ranges.
        """
        observation = self._template.copy()
        observation[self._frame_part] = frame_part
        observation[self._budget] = scaled_budget(budget)
        if last is not None:
            observation[self._settings] = self.encode(last.settings)
            terms = last.score.terms
            known = [terms.get(name, 0.0) for name in self._term_names]
            observation[self._terms] = [*known, last.score.total]
            observation[self._last_cost] = math.log1p(last.cost)
            observation[self._has_last] = 1.0
        if search is not None:
            observation[self.schema["search"].slice] = search
        np.maximum(observation, self._low, out=observation)
        return np.minimum(observation, self._high, out=observation)


def scaled_budget(budget: float) -> float:
    """A budget as an observation shows it: logarithmic, -1 and 1 at the ends of `BUDGET_RANGE`."""
    low, high = map(math.log, BUDGET_RANGE)
    share = (min(math.log(max(budget, 1e-9)), high) - low) / (high - low)
    return max(2 * share - 1, -1.0)
