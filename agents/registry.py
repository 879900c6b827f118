"""Tuners by name, as the commands take them."""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path

from samstar_rl.agents.policies.bundle import BundleError, PolicyBundle, shipped_bundles
from samstar_rl.agents.search.per_frame import PerFrameTuner
from samstar_rl.agents.tuners.tuners import (
    EVALUATIONS,
    PolicyTuner,
    RandomTuner,
    SearchTuner,
    default_tuner,
)
from samstar_rl.errors import SamstarError
from samstar_rl.settings import Settings, SettingsError
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.tuner import StaticTuner, Tuner

TUNERS = {
    "default": "SAM's own defaults, every gate off",
    "static": "the task's static settings",
    "static:FILE": "the settings of a file that `samstar tune` wrote (FILE#3: its third entry)",
    "random": "random settings on every frame, for comparison",
    "genetic": "a genetic search on every frame",
    "genetic-warm": "a genetic search that starts from the last frame's population",
    "random-search": "the best of many random settings on every frame",
    "tpe": "a tree-structured Parzen estimator (Optuna) on every frame",
    "NAME or PATH": "a policy bundle: one that ships, or a folder",
}


class TunerError(SamstarError):
    """A tuner was asked for that does not exist or does not fit."""


class NamedTuner:
    """A tuner by the name that a command's ``--tuner`` takes. A policy's bundle is read once.

    Parameters
    ----------
    spec : str
        One of `TUNERS`.
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec

    @cached_property
    def task(self) -> Task:
        """The task to take where none is asked for: a policy's own, else `particles`."""
        if self.spec.partition(":")[0] not in TUNERS:
            try:
                return self._bundle.task
            except BundleError:  # said in full where the tuner is made
                pass
        return load_task("particles")

    def make(
        self,
        task: Task,
        *,
        sam_sha256: str | None = None,
        n_evaluations: int = EVALUATIONS,
        seed: int = 0,
    ) -> Tuner:
        """Make the tuner for a task; parameters and errors as for `make_tuner`."""
        spec = self.spec
        if spec == "default":
            return default_tuner()
        if spec == "static":
            return StaticTuner(task.static)
        if spec.startswith("static:"):
            return _tuner_of_file(spec)
        if spec == "random":
            return RandomTuner(task, seed=seed)
        if spec in ("genetic", "genetic-warm", "random-search", "tpe"):
            algorithm = spec.removesuffix("-warm").removesuffix("-search")
            warm = spec.endswith("-warm")
            return SearchTuner(task, algorithm, n_evaluations=n_evaluations, warm=warm, seed=seed)
        try:
            return PolicyTuner.from_bundle(self._bundle.serving(task, sam_sha256))
        except BundleError as error:
            if Path(spec).exists() or spec in shipped_bundles():
                raise TunerError(str(error)) from error
            known = ", ".join([name for name in TUNERS if name != "NAME or PATH"])
            raise TunerError(f"no tuner {spec!r}: expected one of {known}; or {error}") from error

    @cached_property
    def _bundle(self) -> PolicyBundle:
        return PolicyBundle.load(self.spec)


def make_tuner(
    spec: str,
    task: Task,
    *,
    sam_sha256: str | None = None,
    n_evaluations: int = EVALUATIONS,
    seed: int = 0,
) -> Tuner:
    """Make the tuner that a command's ``--tuner`` names.

    Parameters
    ----------
    spec : str
        One of `TUNERS`.
    task : Task
    sam_sha256 : str, optional
        The SAM in use, which a policy must have been trained with; None does not check.
    n_evaluations : int
        What a search spends on a frame.
    seed : int

    Returns
    -------
    Tuner

    Raises
    ------
    TunerError
        If there is no such tuner, or it does not fit the task or the SAM.
    """
    named = NamedTuner(spec)
    return named.make(task, sam_sha256=sam_sha256, n_evaluations=n_evaluations, seed=seed)


def read_static(file: str) -> Settings:
    """Settings from a TOML file that ``samstar tune`` wrote.

    The file has a table ``[settings]``; a Pareto front's file has ``[[points]]`` with such a table
    each, of which ``FILE#7`` is the seventh.

    Raises
    ------
    TunerError
        If the file is missing or holds no such settings.
    """
    name, _, number = file.partition("#")
    try:
        tables = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TunerError(f"cannot read static settings from {name}: {error}") from error
    try:
        values = tables["points"][_position(number, name)] if number else tables
        return Settings.from_dict(values["settings"])
    except (KeyError, IndexError, TypeError) as error:
        wanted = f"point {number} with a table [settings]" if number else "a table [settings]"
        raise TunerError(f"{name} has no {wanted}: was it written by `samstar tune`?") from error
    except SettingsError as error:
        raise TunerError(f"{name}: {error}") from error


def _tuner_of_file(spec: str) -> Tuner:
    """Static settings, or those of each frame where the file holds them."""
    file = spec.removeprefix("static:")
    settings = read_static(file)
    by_frame = {} if "#" in file else _read_by_frame(file)
    return PerFrameTuner(by_frame, settings, spec) if by_frame else StaticTuner(settings, spec)


def _read_by_frame(file: str) -> dict[str, Settings]:
    frames = tomllib.loads(Path(file).read_text(encoding="utf-8")).get("frames", {})
    try:
        return {frame_id: Settings.from_dict(values) for frame_id, values in frames.items()}
    except (AttributeError, SettingsError, TypeError) as error:
        raise TunerError(f"{file}: [frames] must hold settings by frame: {error}") from error


def _position(number: str, name: str) -> int:
    if not number.isdigit() or int(number) < 1:
        raise TunerError(f"{name}#{number}: give the number of a point, from 1")
    return int(number) - 1
