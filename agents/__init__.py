"""What chooses settings: policies, searches, baselines; how they learn and how they ship."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from samstar_rl.agents.judging.judge import Judge as Judge
    from samstar_rl.agents.judging.judge import summarise as summarise
    from samstar_rl.agents.learning.hyperparameters import (
        load_hyperparameters as load_hyperparameters,
    )
    from samstar_rl.agents.learning.plan import TrainingPlan as TrainingPlan
    from samstar_rl.agents.learning.train import train_multi_policy as train_multi_policy
    from samstar_rl.agents.learning.train import train_policy as train_policy
    from samstar_rl.agents.policies.bundle import BundleError as BundleError
    from samstar_rl.agents.policies.bundle import PolicyBundle as PolicyBundle
    from samstar_rl.agents.policies.bundle import shipped_bundles as shipped_bundles
    from samstar_rl.agents.registry import TUNERS as TUNERS
    from samstar_rl.agents.registry import TunerError as TunerError
    from samstar_rl.agents.registry import make_tuner as make_tuner
    from samstar_rl.agents.search.static import StaticFound as StaticFound
    from samstar_rl.agents.search.static import search_static as search_static
    from samstar_rl.agents.tuners.filters import ChooseFilters as ChooseFilters
    from samstar_rl.agents.tuners.fixed import RandomTuner as RandomTuner
    from samstar_rl.agents.tuners.policy import PolicyTuner as PolicyTuner
    from samstar_rl.agents.tuners.search import SearchTuner as SearchTuner
    from samstar_rl.tuning.tuner import StaticTuner as StaticTuner

# torch and other heavy libraries stand behind most of these: each is imported when asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "policies.bundle": ["BundleError", "PolicyBundle", "shipped_bundles"],
        "learning.hyperparameters": ["load_hyperparameters"],
        "judging.judge": ["Judge", "summarise"],
        "registry": ["TUNERS", "TunerError", "make_tuner"],
        "search.static": ["StaticFound", "search_static"],
        "learning.plan": ["TrainingPlan"],
        "learning.train": ["train_multi_policy", "train_policy"],
        "tuners.filters": ["ChooseFilters"],
        "tuners.fixed": ["RandomTuner", "StaticTuner"],
        "tuners.policy": ["PolicyTuner"],
        "tuners.search": ["SearchTuner"],
    },
)
