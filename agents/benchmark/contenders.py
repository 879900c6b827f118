"""Who takes part in a benchmark: one list."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.conditions import Conditions, Prepared

SEARCH_FILE = "search.json"
"""What a search on each frame leaves: the mean best reward after each evaluation on a frame."""
FRONT_FILE = "front.json"
"""What NSGA-II leaves: all that it tried on one frame."""


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
    is_learner : bool
        Whether it is among those of which the best learned policy of a task is chosen.
    is_policy : bool
        Whether it answers each frame at once from what it sees of it.
    carries_claims : bool
        Whether it runs with several seeds.
    everywhere : bool
        Whether it takes part in every task of the full plan, and not in the first alone.
    quick : bool
        Whether it takes part in the quick plan.
    transfers : bool
        Whether it never learns from the task on which it is judged; it needs several tasks.
    needs_streams : bool
        Whether it means nothing where each frame is a stream of its own.
    slow : bool
        Whether it searches on each frame and carries no claim: a plan may spare frames on it.
    needs : (module, extra), optional
        A module that it needs, and the extra that installs it.
    """

    name: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_learner: bool = False
    is_policy: bool = False
    carries_claims: bool = False
    everywhere: bool = False
    quick: bool = False
    transfers: bool = False
    needs_streams: bool = False
    slow: bool = False
    needs: tuple[str, str] | None = None

    def prepare(self, conditions: Conditions, seed: int) -> Prepared:
        """Make it ready to be judged."""
        module = importlib.import_module("samstar_rl.agents.benchmark.prepare")
        prepared: Prepared = getattr(module, self.function)(conditions, seed, **self.arguments)
        return prepared


def _frozen(name: str, n_frames: int | None, *, quick: bool = False) -> Contender:
    """Settings tuned on so many first frames of each test stream, or on all, then left."""
    arguments = {"n_frames": n_frames, "name": name}
    return Contender(name, "frozen", arguments, everywhere=True, quick=quick, needs_streams=True)


def _learner(algorithm: str, *, main: bool = False, quick: bool = False) -> Contender:
    return Contender(
        algorithm,
        "learner",
        {"algorithm": algorithm},
        is_policy=True,
        is_learner=main,
        carries_claims=main,
        everywhere=main,
        quick=quick,
        needs=("sb3_contrib", "contrib") if algorithm in ("tqc", "trpo") else None,
    )


_ALL = (
    Contender("default", "default", everywhere=True, quick=True),
    Contender("random", "random", everywhere=True, quick=True),
    Contender("static", "static", everywhere=True, quick=True),
    Contender("static-search", "static_search", everywhere=True, quick=True),
    _frozen("frozen-first", 1),
    _frozen("frozen-start", 6, quick=True),
    _frozen("hindsight", None),
    Contender("nsga2", "nsga2", slow=True),
    Contender("genetic", "genetic", everywhere=True, quick=True),
    Contender("genetic-warm", "genetic", {"warm": True}, needs_streams=True),
    Contender("mlp", "mlp", is_policy=True, quick=True),
    Contender("evolved", "evolved", is_policy=True),
    _learner("td3"),
    _learner("tqc"),
    _learner("trpo"),
    _learner("ppo", main=True, quick=True),
    _learner("sac", main=True),
    Contender("others-static", "others_static", everywhere=True, transfers=True),
    Contender("unseen", "unseen", is_policy=True, carries_claims=True, everywhere=True,
              transfers=True),
    Contender("oracle", "oracle", everywhere=True),
)  # fmt: skip
CONTENDERS: dict[str, Contender] = {contender.name: contender for contender in _ALL}
"""Contenders by name, in the order of the tables."""
