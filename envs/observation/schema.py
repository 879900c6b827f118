"""Which number of an observation means what: named blocks with stated ranges.

Tables of statistics list ``(name, low, high)`` in the order in which the functions of
`samstar_rl.envs.observation.features` return the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

if TYPE_CHECKING:
    from samstar_rl.envs.task_union import TaskUnion
    from samstar_rl.tasks.task import Task

Vector = NDArray[np.float32]

IMAGE_STATISTICS: tuple[tuple[str, float, float], ...] = (
    ("log2_short_side", -4.0, 4.0),  # of the short side over 512 px
    ("aspect", 0.0, 1.0),  # short side over long side
    ("missing", 0.0, 1.0),  # share of pixels that are not finite
    ("saturated_low", 0.0, 1.0),  # share of pixels at the minimum
    ("saturated_high", 0.0, 1.0),  # share of pixels at the maximum
    ("quantile_05", 0.0, 1.0),  # of the intensities, scaled to the 1st to 99th percentile
    ("quantile_25", 0.0, 1.0),
    ("quantile_50", 0.0, 1.0),
    ("quantile_75", 0.0, 1.0),
    ("quantile_95", 0.0, 1.0),
    ("std", 0.0, 0.5),
    ("skewness", -5.0, 5.0),
    ("log_kurtosis", -2.0, 5.0),  # log of the fourth standardised moment
    ("otsu_threshold", 0.0, 1.0),
    ("otsu_separability", 0.0, 1.0),  # between-class over total variance
    ("bright_share", 0.0, 1.0),  # share of pixels above Otsu's threshold
    ("noise", 0.0, 1.0),  # robust standard deviation of the finest detail
    ("detail_1", 0.0, 1.0),  # standard deviation of the Laplacian pyramid's levels, fine to coarse
    ("detail_2", 0.0, 1.0),
    ("detail_3", 0.0, 1.0),
    ("detail_4", 0.0, 1.0),
    ("detail_5", 0.0, 1.0),
    ("edge_density", 0.0, 1.0),  # share of pixels whose smoothed gradient is strong
    ("streaks", -3.0, 3.0),  # log ratio of vertical to horizontal differences
    ("shading_x", -1.0, 1.0),  # right half less left half
    ("shading_y", -1.0, 1.0),  # lower half less upper half
    ("shading_centre", -1.0, 1.0),  # centre less rim
)

SIZE_QUANTILES = (0.1, 0.5, 0.9)

FOREGROUND_STATISTICS: tuple[tuple[str, float, float], ...] = (
    ("share", 0.0, 1.0),  # of the frame that particles probably cover
    ("certainty", 0.0, 1.0),  # mean distance of the probability from 1/2, doubled
    ("log_count", 0.0, 8.0),  # log of 1 + the number of cores: of particles that stand apart
    ("log_diameter", -7.0, 0.0),  # of the mean particle, over the short side
    # of cores, which are smaller than their particles, over the short side
    *((f"log_core_quantile_{round(100 * q):02d}", -7.0, 0.0) for q in SIZE_QUANTILES),
    ("contrast", -1.0, 1.0),  # mean intensity of what is probably a particle less that of the rest
)

GAZE_ZOOMS = (1.5, 2.0, 3.0, 4.0, 6.0)
"""Zooms of which an observation tells what they would find, whatever a task's ladder."""
BODY_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

GAZE_STATISTICS: tuple[tuple[str, float, float], ...] = (
    ("log_bodies", 0.0, 8.0),  # log of 1 + the bodies that the foreground network tells apart
    # log of the bodies' widths, in px of the picture of the whole frame that SAM sees
    *((f"log_width_quantile_{round(100 * q):02d}", -1.0, 6.0) for q in BODY_QUANTILES),
    *(
        (f"{name}_zoom_{zoom:g}", 0.0, high)
        for zoom in GAZE_ZOOMS
        for name, high in (
            ("log_tiles", 5.0),  # log of 1 + the tiles in which bodies would be prompted
            ("log_crowded", 5.0),  # of those that hold at least three
            ("share_whole", 1.0),  # share of the bodies that is prompted in the whole frame
        )
    ),
)

MOST_COST = 4000.0
"""A cost is shown as log(1 + cost), clipped to that of this."""

LAST_FRAME = ("last_settings", "last_terms", "last_cost", "has_last")
"""Blocks that tell of the last frame."""

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
            Add the block ``search`` of `samstar/Tuning-v1`.
        union : TaskUnion, optional
            Speak of the settings and terms of many tasks, and add the block ``free``.

        Returns
        -------
        ObservationSchema
        """
        settings = task.space.names if union is None else union.settings
        terms = tuple(task.terms) if union is None else union.terms
        limit, most = EMBEDDING_LIMIT, float(np.log1p(MOST_COST))
        limits: list[tuple[str, Sequence[tuple[str, float, float]]]] = [
            ("image", IMAGE_STATISTICS),
            ("foreground", FOREGROUND_STATISTICS),
            ("embedding", [(f"channel_{i}", -limit, limit) for i in range(n_channels)]),
            ("gaze", GAZE_STATISTICS),
            ("targets", [(n, -TARGET_LIMIT, TARGET_LIMIT) for n in task.target_vector_names()]),
        ]
        if union is not None:
            ends = [f"{name}_{end}" for name in union.lengths for end in ("low", "high")]
            free = [(name, 0.0, 1.0) for name in settings]
            limits.append(("free", free + [(end, 0.0, RANGE_LIMIT) for end in ends]))
        limits += [
            ("budget", [("log_budget", -1.0, 1.0)]),
            ("last_settings", [(name, -1.0, 1.0) for name in settings]),
            ("last_terms", [(name, 0.0, 1.0) for name in (*terms, "score")]),
            ("last_cost", [("log_cost", 0.0, most)]),
            ("has_last", [("has_last", 0.0, 1.0)]),
        ]
        if tuning:
            search = [("log_left", 0.0, most), ("looks_left", 0.0, 1.0), ("log_masks", 0.0, 8.0)]
            gazes = [f"log_prompts_{number}" for number, _ in enumerate(task.space.prompts())]
            limits.append(("search", search + [(gaze, 0.0, most) for gaze in gazes]))
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
        """The content as plain types, fit for JSON."""
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


def _shorten(entries: Sequence[str]) -> str:
    shown = ", ".join(entries[:8])
    return f"({shown}, ...)" if len(entries) > 8 else f"({shown})"
