"""What a policy sees: one flat vector, in named blocks with stated ranges.

`ObservationSchema` says which number means what; `ObservationBuilder` fills the vector. The same
two serve the environments, the policies that run beside a microscope, and the policy bundle, which
stores the schema and refuses to run where it differs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from samstar_rl.envs.observation.features import (
    FOREGROUND_STATISTICS,
    IMAGE_STATISTICS,
    PROBE_STATISTICS,
    foreground_statistics,
    image_statistics,
    probe_statistics,
)
from samstar_rl.envs.task_union import TaskUnion
from samstar_rl.errors import SamstarError
from samstar_rl.settings import Settings
from samstar_rl.tasks.task import Task, target_vector_names

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.rewards import Score
    from samstar_rl.sam.engine import FrameFeatures

Vector = NDArray[np.float32]

EMBEDDING_LIMIT = 10.0
"""Pooled embeddings are clipped to +- this; SAM's neck ends in a layer norm, so few come near."""

TARGET_LIMIT = 100.0
"""Targets are clipped to +- this."""

RANGE_LIMIT = 4.0
"""Ends of the ranges of lengths are clipped to this many short sides of the frame."""


@dataclass(frozen=True)
class Block:
    """A run of numbers of one kind in the observation.

    Attributes
    ----------
    name : str
    start, stop : int
        The block is ``observation[start:stop]``.
    low, high : tuple of float
        Range of each number; values outside are clipped to it.
    entries : tuple of str
        What each number is.
    """

    name: str
    start: int
    stop: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    entries: tuple[str, ...]

    @property
    def slice(self) -> slice:
        """Where the block lies in the observation."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class ObservationSchema:
    """The blocks of an observation, in order and without gaps."""

    blocks: tuple[Block, ...]

    @classmethod
    def for_task(
        cls, task: Task, n_channels: int, *, tuning: bool = False, union: TaskUnion | None = None
    ) -> ObservationSchema:
        """The schema of a task's observations.

        Parameters
        ----------
        task : Task
            What it is, with a union, does not matter: the schema is that of all tasks.
        n_channels : int
            Channels of the SAM's embedding.
        tuning : bool
            Add the block ``search`` of `samstar/Tuning-v0`.
        union : TaskUnion, optional
            Speak of the settings and terms of many tasks, and add the block ``free``.
        """
        settings = task.space.names if union is None else union.settings
        terms = tuple(task.terms) if union is None else union.terms
        limits: list[tuple[str, Sequence[tuple[str, float, float]]]] = [
            ("image", IMAGE_STATISTICS),
            ("foreground", FOREGROUND_STATISTICS),
            ("embedding", _numbered("channel", n_channels, EMBEDDING_LIMIT)),
            ("probe", PROBE_STATISTICS),
            ("targets", [(n, -TARGET_LIMIT, TARGET_LIMIT) for n in target_vector_names()]),
        ]
        if union is not None:
            limits.append(("free", _free_limits(union)))
        limits += [
            ("last_settings", [(name, -1.0, 1.0) for name in settings]),
            ("last_terms", [(name, 0.0, 1.0) for name in (*terms, "score")]),
            ("has_last", [("has_last", 0.0, 1.0)]),
        ]
        if tuning:
            limits.append(("search", [("best_score", 0.0, 1.0), ("steps_left", 0.0, 1.0)]))
        return cls.from_limits(limits)

    @classmethod
    def from_limits(
        cls, limits: Sequence[tuple[str, Sequence[tuple[str, float, float]]]]
    ) -> ObservationSchema:
        """Lay blocks of ``(entry, low, high)`` one after the other."""
        blocks, start = [], 0
        for name, entries in limits:
            names, low, high = zip(*entries, strict=True) if entries else ((), (), ())
            blocks.append(Block(name, start, start + len(names), low, high, names))
            start += len(names)
        return cls(tuple(blocks))

    @property
    def size(self) -> int:
        """Length of the observation."""
        return self.blocks[-1].stop

    @property
    def entries(self) -> tuple[str, ...]:
        """``block.entry`` of each number of the observation."""
        return tuple(f"{block.name}.{entry}" for block in self.blocks for entry in block.entries)

    def __getitem__(self, name: str) -> Block:
        """The block of that name; KeyError when the observation has none."""
        for block in self.blocks:
            if block.name == name:
                return block
        raise KeyError(
            f"the observation has no block {name!r}; it has "
            + ", ".join(block.name for block in self.blocks)
        )

    def limits(self) -> tuple[Vector, Vector]:
        """Lowest and highest value of each number."""
        low = np.concatenate([block.low for block in self.blocks])
        high = np.concatenate([block.high for block in self.blocks])
        return low.astype(np.float32), high.astype(np.float32)

    def space(self) -> spaces.Box:
        """The Gymnasium space of the observations."""
        low, high = self.limits()
        return spaces.Box(low, high, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {"blocks": [asdict(block) for block in self.blocks]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ObservationSchema:
        """Inverse of `to_dict`."""
        blocks = [
            Block(
                name=str(block["name"]),
                start=int(block["start"]),
                stop=int(block["stop"]),
                low=tuple(float(value) for value in block["low"]),
                high=tuple(float(value) for value in block["high"]),
                entries=tuple(str(entry) for entry in block["entries"]),
            )
            for block in data["blocks"]
        ]
        return cls(tuple(blocks))

    def difference(self, other: ObservationSchema) -> str:
        """Say in one line where another schema differs; empty when it does not."""
        mine, theirs = [b.name for b in self.blocks], [b.name for b in other.blocks]
        if mine != theirs:
            return f"blocks {mine} against {theirs}"
        for block, twin in zip(self.blocks, other.blocks, strict=True):
            if block.entries != twin.entries:
                return (
                    f"block {block.name!r}: {len(block.entries)} numbers {_shorten(block.entries)} "
                    f"against {len(twin.entries)} {_shorten(twin.entries)}"
                )
            if (block.low, block.high) != (twin.low, twin.high):
                return f"block {block.name!r}: other ranges"
        return ""


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


def _numbered(name: str, count: int, limit: float) -> list[tuple[str, float, float]]:
    return [(f"{name}_{i}", -limit, limit) for i in range(count)]


def _free_limits(union: TaskUnion) -> list[tuple[str, float, float]]:
    flags = [(name, 0.0, 1.0) for name in union.settings]
    ends = [f"{name}_{end}" for name in union.lengths for end in ("low", "high")]
    return flags + [(end, 0.0, RANGE_LIMIT) for end in ends]


def _shorten(entries: Sequence[str], count: int = 8) -> str:
    shown = ", ".join(entries[:count])
    return f"({shown}, ...)" if len(entries) > count else f"({shown})"
