"""What a policy sees: one flat vector, in named blocks with stated ranges.

`ObservationSchema` says which number means what, `ObservationBuilder` fills the vector. The same
two serve the environments, the policies that run beside a microscope, and the policy bundle, which
stores the schema and refuses to run where it differs.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.envs.observation.features import (
    foreground_statistics,
    image_statistics,
    probe_statistics,
)
from samstar_rl.envs.observation.schema import ObservationSchema
from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.envs.observation.schema import Vector
    from samstar_rl.envs.task_union import TaskUnion
    from samstar_rl.frames.frame import Frame
    from samstar_rl.rewards.reward import Score
    from samstar_rl.sam.embedding import FrameFeatures
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task


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
        self.schema = ObservationSchema.for_task(task, n_channels, tuning=tuning, union=union)
        self._low, self._high = self.schema.limits()
        self._term_names = tuple(task.terms) if union is None else union.terms
        self._template = np.zeros(self.schema.size, dtype=np.float32)
        self._frame_part = slice(0, self.schema["last_settings"].start)
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
        """Length of the action."""
        return self.task.space.n if self.union is None else self.union.n

    def encode(self, settings: Settings) -> Vector:
        """The action that asks for these settings, (n_actions,) in [-1, 1]."""
        space = self.task.space
        return space.encode(settings) if self.union is None else self.union.encode(space, settings)

    def decode(self, action: Vector) -> Settings:
        """The settings that an action asks for; what lies outside of [-1, 1] is clipped."""
        space = self.task.space
        return space.decode(action) if self.union is None else self.union.decode(space, action)

    def sense(self, frame: Frame, features: FrameFeatures) -> Vector:
        """The blocks image, foreground, embedding, probe: what is seen, whatever the task.

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
            probe_statistics(features),
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

    def build(
        self,
        frame_part: Vector,
        last_action: Vector | None = None,
        last_score: Score | None = None,
        search: tuple[float, float] | None = None,
    ) -> Vector:
        """Put the observation together.

        Parameters
        ----------
        frame_part : (D,) array
            From `frame_part`.
        last_action : (n_actions,) array, optional
            Encoded settings of the last frame; None where there was none.
        last_score : Score, optional
            Their score; given exactly when ``last_action`` is.
        search : (best score, share of steps left), optional
            For `samstar/Tuning-v0`.

        Returns
        -------
        (size,) float32 array
            Clipped to the schema's ranges.
        """
        observation = self._template.copy()
        observation[self._frame_part] = frame_part
        if last_action is not None and last_score is not None:
            observation[self._settings] = last_action
            terms = last_score.terms
            known = [terms.get(name, 0.0) for name in self._term_names]
            observation[self._terms] = [*known, last_score.total]
            observation[self._has_last] = 1.0
        if search is not None:
            observation[self.schema["search"].slice] = search
        return np.clip(observation, self._low, self._high, out=observation)
