"""What several tasks have in common for one policy: the union of their free settings and terms.

A policy for many samples answers one vector, whatever the task. Its entries are the settings that
any of the tasks leaves free; each says where in *the task's own* range the setting lies, so that
units and bounds may differ from task to task. Entries of settings that a task fixes are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.rewards.registry import TERMS
from samstar_rl.settings import SETTINGS

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.settings import Settings, SettingsSpace
    from samstar_rl.tasks.task import Task

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class TaskUnion:
    """The free settings and the score terms of several tasks, in the order of their declaration.

    Attributes
    ----------
    settings : tuple of str
        Names of the action's entries.
    terms : tuple of str
        Names of the terms in the observation's block ``last_terms``.

    Examples
    --------
    >>> from samstar_rl.tasks.task import load_task
    >>> union = TaskUnion.of([load_task("particles"), load_task("overlap")])
    >>> "min_diameter" in union.settings and "max_diameter" in union.settings
    True
    """

    settings: tuple[str, ...]
    terms: tuple[str, ...]

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> TaskUnion:
        """The union of tasks; their order does not matter.

        Raises
        ------
        SamstarError
            If there are none.
        """
        tasks = tuple(tasks)
        if not tasks:
            raise SamstarError("a union needs at least one task")
        free = {name for task in tasks for name in task.space.names}
        terms = {name for task in tasks for name in task.terms}
        return cls(
            tuple(name for name in SETTINGS if name in free),
            tuple(name for name in TERMS if name in terms),
        )

    @property
    def n(self) -> int:
        """Length of the action."""
        return len(self.settings)

    @property
    def lengths(self) -> tuple[str, ...]:
        """The settings among these that are lengths."""
        return tuple(name for name in self.settings if SETTINGS[name].unit == "length")

    def free(self, space: SettingsSpace) -> Vector:
        """1 for the settings that a task leaves free, 0 for those that it fixes, (n,)."""
        return np.array([float(name in space.free) for name in self.settings], dtype=np.float32)

    def encode(self, space: SettingsSpace, settings: Settings) -> Vector:
        """Settings as an (n,) vector in [-1, 1]; 0 for what the task fixes."""
        codes = dict(zip(space.names, space.encode(settings).tolist(), strict=True))
        return np.array([codes.get(name, 0.0) for name in self.settings], dtype=np.float32)

    def decode(self, space: SettingsSpace, action: ArrayLike) -> Settings:
        """The task's settings for an (n,) action.

        Entries of settings that the task fixes are ignored; settings that the task leaves free and
        that the union does not know stay at the task's static ones.

        Raises
        ------
        SettingsError
            If the action holds NaN.
        SamstarError
            If it has another length.
        """
        codes = np.asarray(action, dtype=np.float64)
        if codes.shape != (self.n,):
            raise SamstarError(
                f"expected {self.n} numbers for {', '.join(self.settings)}, got {codes.shape}"
            )
        answers = dict(zip(self.settings, codes.tolist(), strict=True))
        settings = space.decode([answers.get(name, 0.0) for name in space.names])
        unknown = [name for name in space.names if name not in answers]
        return settings.replace(**{name: getattr(space.base, name) for name in unknown})

    def ranges(self, task: Task, frame: Frame) -> Vector:
        """Low and high of each free length as shares of the frame's short side; 0 where fixed."""
        unit = task.length_unit_px(frame) / frame.short_side_px
        numbers: list[float] = []
        for name in self.lengths:
            known = name in task.space.free
            numbers += [unit * end for end in task.space.limits(name)] if known else [0.0, 0.0]
        return np.array(numbers, dtype=np.float32)

    def serves(self, task: Task) -> bool:
        """Whether a policy over this union chooses any of the task's settings."""
        return any(name in task.space.free for name in self.settings)

    def to_dict(self) -> dict[str, Any]:
        """The content as plain types, fit for JSON."""
        return {"settings": list(self.settings), "terms": list(self.terms)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskUnion:
        """Inverse of `to_dict`.

        Raises
        ------
        SamstarError
            If a setting or a term is unknown.
        """
        union = cls(tuple(map(str, data["settings"])), tuple(map(str, data["terms"])))
        unknown = [*(set(union.settings) - set(SETTINGS)), *(set(union.terms) - set(TERMS))]
        if unknown:
            raise SamstarError(f"unknown setting or term {sorted(unknown)[0]!r}")
        return union
