"""Who takes part in a benchmark: one list."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.conditions import Conditions, Prepared

FRONT_FILE = "front.json"
"""What NSGA-II leaves: all that it tried on one frame."""

ONCE, STATICS, LEARNERS = "once", "statics", "learners"
"""How many seeds a contender runs with: one, or what the plan says of its kind."""


@dataclass(frozen=True)
class Contender:
    """One who takes part in a benchmark.

    Attributes
    ----------
    name : str
    function : str
        Of `samstar_rl.agents.benchmark.prepare`: makes it ready. The module, which draws in the
        learners, is imported when that is to be done.
    arguments : dict
        Given to the function.
    seeds : {"once", "statics", "learners"}
    is_learner : bool
        Whether it is among those of which the best learned policy of a task is chosen: they run
        with the seeds that claims need.
    is_policy : bool
        Whether it chooses the gaze from what it sees of the frame, before SAM decodes anything.
    quick : bool
        Whether it takes part in the quick plan.
    everywhere : bool
        Whether it takes part in every task that drifts, and not in the first alone.
    transfers : bool
        Whether it never learns from the task on which it is judged; it needs several tasks.
    needs_streams : bool
        Whether it means nothing where each frame is a stream of its own.
    has_budget : bool
        Whether a budget changes what it does; else it is judged once.
    slow : bool
        Whether it searches on each frame and carries no claim: a plan may spare frames on it.
    """

    name: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    seeds: str = ONCE
    is_learner: bool = False
    is_policy: bool = False
    quick: bool = False
    everywhere: bool = False
    transfers: bool = False
    needs_streams: bool = False
    has_budget: bool = True
    slow: bool = False

    def prepare(self, conditions: Conditions, seed: int) -> Prepared:
        """Make it ready to be judged."""
        module = importlib.import_module("samstar_rl.agents.benchmark.prepare")
        prepared: Prepared = getattr(module, self.function)(conditions, seed, **self.arguments)
        return prepared


_ALL = (
    Contender("default", "default", quick=True, has_budget=False),
    Contender("static", "static", quick=True, everywhere=True),
    Contender("static-filters", "static_filters", quick=True),
    Contender("rule", "rule", quick=True),
    Contender("static-search", "static_search", seeds=STATICS, quick=True),
    Contender("frozen-start", "frozen_start", quick=True, needs_streams=True),
    Contender("genetic", "genetic", quick=True),
    Contender("nsga2", "nsga2", slow=True),
    Contender("evolved", "evolved", is_policy=True),
    Contender("mlp", "mlp", is_policy=True, quick=True),
    Contender("ppo", "learner", {"algorithm": "ppo"}, LEARNERS, is_learner=True, is_policy=True,
              quick=True),
    Contender("sac", "learner", {"algorithm": "sac"}, is_policy=True),
    Contender("others-static", "others_static", everywhere=True, transfers=True),
    Contender("unseen", "unseen", seeds=STATICS, is_policy=True, everywhere=True, transfers=True),
    Contender("oracle", "oracle", quick=True),
)  # fmt: skip
CONTENDERS: dict[str, Contender] = {contender.name: contender for contender in _ALL}
"""Contenders by name, in the order of the tables."""
