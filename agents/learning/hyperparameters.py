"""Learners by name, and their hyperparameters: hyperparams/*.toml, overridden by task."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from samstar_rl.errors import SamstarError

_TABLES = ("default", "task", "env")


ALGORITHMS = {
    "ppo": "stable_baselines3:PPO",
    "a2c": "stable_baselines3:A2C",
    "sac": "stable_baselines3:SAC",
    "td3": "stable_baselines3:TD3",
    "ddpg": "stable_baselines3:DDPG",
    "trpo": "sb3_contrib:TRPO",
    "tqc": "sb3_contrib:TQC",
}
"""Name, in small letters, of each learner's class, and the package it comes from."""


class AlgorithmError(SamstarError):
    """A learner was asked for that does not exist."""


def algorithm_name(name: str) -> str:
    """The learner's name in `ALGORITHMS`, however its class name is capitalised.

    Raises
    ------
    AlgorithmError
        If there is no such learner.
    """
    if name.lower() not in ALGORITHMS:
        known = ", ".join(target.partition(":")[2] for target in ALGORITHMS.values())
        raise AlgorithmError(f"no learner {name!r}: expected one of {known}")
    return name.lower()


class HyperparameterError(SamstarError):
    """A hyperparameter is unknown or of the wrong type."""


def load_hyperparameters(
    algorithm: str,
    *,
    task: str = "",
    env_id: str = "",
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Hyperparameters of an algorithm: default, then environment, then task, then overrides.

    Parameters
    ----------
    algorithm : str
        Name of a file in agents/learning/hyperparams.
    task, env_id : str
        Whose overrides to apply.
    path : path, optional
        A TOML file of the same form, applied on top of the shipped one.
    overrides : mapping, optional
        Applied last.

    Returns
    -------
    dict

    Raises
    ------
    HyperparameterError
        If a name is unknown or a value has another type than the default.
    """
    shipped = (
        Path(str(resources.files("samstar_rl.agents.learning.hyperparams"))) / f"{algorithm}.toml"
    )
    if not shipped.is_file():
        known = sorted(entry.stem for entry in shipped.parent.glob("*.toml"))
        raise HyperparameterError(f"no algorithm {algorithm!r}: expected one of {', '.join(known)}")
    chosen = dict(_read(shipped).get("default", {}))
    layers = [(shipped, _read(shipped))]
    if path is not None:
        layers.append((Path(path), _read(Path(path))))
        _merge(chosen, layers[-1][1].get("default", {}), layers[-1][0])
    for source, tables in layers:
        _merge(chosen, tables.get("env", {}).get(env_id, {}), source)
        _merge(chosen, tables.get("task", {}).get(task, {}), source)
    _merge(chosen, overrides or {}, "overrides")
    return chosen


def _read(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HyperparameterError(f"{path} is no readable TOML file: {error}") from error
    unknown = set(tables) - set(_TABLES)
    if unknown:
        raise HyperparameterError(
            f"{path}: unknown table {sorted(unknown)[0]!r}, expected {', '.join(_TABLES)}"
        )
    return tables


def _merge(chosen: dict[str, Any], changes: Mapping[str, Any], source: object) -> None:
    for name, value in changes.items():
        if name not in chosen:
            raise HyperparameterError(
                f"{source}: unknown hyperparameter {name!r}; expected one of {', '.join(chosen)}"
            )
        if not _same_kind(chosen[name], value):
            raise HyperparameterError(
                f"{source}: {name} must be like {chosen[name]!r}, got {value!r}"
            )
        chosen[name] = value


def _same_kind(known: Any, given: Any) -> bool:
    """Numbers stand for numbers; otherwise the types agree ("auto" may replace a number)."""
    if isinstance(known, bool) or isinstance(given, bool):
        return isinstance(known, bool) and isinstance(given, bool)
    if isinstance(known, int) and not isinstance(known, bool):
        return isinstance(given, int) or given == "auto"
    if isinstance(known, float):
        return isinstance(given, int | float) or given == "auto"
    return isinstance(given, type(known)) or known == "auto"
