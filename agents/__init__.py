"""What chooses settings: policies, searches, baselines; how they learn and how they ship."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from samstar_rl.agents.bundle import BundleError as BundleError
    from samstar_rl.agents.bundle import PolicyBundle as PolicyBundle
    from samstar_rl.agents.bundle import shipped_bundles as shipped_bundles
    from samstar_rl.agents.hyperparameters import load_hyperparameters as load_hyperparameters
    from samstar_rl.agents.judging import Judge as Judge
    from samstar_rl.agents.judging import summarise as summarise
    from samstar_rl.agents.registry import TUNERS as TUNERS
    from samstar_rl.agents.registry import TunerError as TunerError
    from samstar_rl.agents.registry import make_tuner as make_tuner
    from samstar_rl.agents.static_search import StaticFound as StaticFound
    from samstar_rl.agents.static_search import search_static as search_static
    from samstar_rl.agents.training import TrainingPlan as TrainingPlan
    from samstar_rl.agents.training import train_multi_policy as train_multi_policy
    from samstar_rl.agents.training import train_policy as train_policy
    from samstar_rl.agents.tuners import PolicyTuner as PolicyTuner
    from samstar_rl.agents.tuners import RandomTuner as RandomTuner
    from samstar_rl.agents.tuners import SearchTuner as SearchTuner
    from samstar_rl.agents.tuners import StaticTuner as StaticTuner

# torch and other heavy libraries stand behind most of these: each is imported when asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bundle": ["BundleError", "PolicyBundle", "shipped_bundles"],
        "hyperparameters": ["load_hyperparameters"],
        "judging": ["Judge", "summarise"],
        "registry": ["TUNERS", "TunerError", "make_tuner"],
        "static_search": ["StaticFound", "search_static"],
        "training": ["TrainingPlan", "train_multi_policy", "train_policy"],
        "tuners": ["PolicyTuner", "RandomTuner", "SearchTuner", "StaticTuner"],
    },
)
