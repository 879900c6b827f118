"""What chooses settings: policies, searches, baselines; how they learn and how they ship."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samstar_rl.agents.bundle import BundleError, PolicyBundle, shipped_bundles
    from samstar_rl.agents.hyperparameters import load_hyperparameters
    from samstar_rl.agents.judging import Judge, summarise
    from samstar_rl.agents.registry import TUNERS, TunerError, make_tuner
    from samstar_rl.agents.static_search import StaticFound, search_static
    from samstar_rl.agents.training import TrainingPlan, train_multi_policy, train_policy
    from samstar_rl.agents.tuners import PolicyTuner, RandomTuner, SearchTuner, StaticTuner

# Heavy libraries stand behind some of these: each is imported when it is asked for.
_HOMES = {
    "TUNERS": "registry",
    "BundleError": "bundle",
    "Judge": "judging",
    "PolicyBundle": "bundle",
    "PolicyTuner": "tuners",
    "RandomTuner": "tuners",
    "SearchTuner": "tuners",
    "StaticFound": "static_search",
    "StaticTuner": "tuners",
    "TrainingPlan": "training",
    "TunerError": "registry",
    "load_hyperparameters": "hyperparameters",
    "make_tuner": "registry",
    "search_static": "static_search",
    "shipped_bundles": "bundle",
    "summarise": "judging",
    "train_multi_policy": "training",
    "train_policy": "training",
}

__all__ = [
    "TUNERS",
    "BundleError",
    "Judge",
    "PolicyBundle",
    "PolicyTuner",
    "RandomTuner",
    "SearchTuner",
    "StaticFound",
    "StaticTuner",
    "TrainingPlan",
    "TunerError",
    "load_hyperparameters",
    "make_tuner",
    "search_static",
    "shipped_bundles",
    "summarise",
    "train_multi_policy",
    "train_policy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
