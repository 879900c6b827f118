"""Tuners by name, as the commands take them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from samstar_rl.agents.policies.bundle import BundleError, PolicyBundle
from samstar_rl.agents.search.settings_file import TunerError as TunerError
from samstar_rl.agents.search.settings_file import read_by_frame, read_static
from samstar_rl.agents.tuner_names import TUNERS as TUNERS
from samstar_rl.agents.tuner_names import shipped_bundles
from samstar_rl.agents.tuners.filters import ChooseFilters
from samstar_rl.agents.tuners.fixed import RandomTuner, default_tuner
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.agents.tuners.search import EVALUATIONS, Nsga2Tuner, SearchTuner
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.tuner import StaticTuner

if TYPE_CHECKING:
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Tuner


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
        """Make the tuner for a task; parameters and errors as for `make_tuner`.

        Parameters
        ----------
        task : Task
        sam_sha256 : str, optional
        n_evaluations, seed : int
            As for `make_tuner`.

        Returns
        -------
        Tuner

        Raises
        ------
        TunerError
            If there is no such tuner, or it does not fit the task or the SAM.
        """
        spec = self.spec
        if spec == "default":
            return default_tuner()
        if spec == "static":
            return StaticTuner(task.static)
        if spec == "static-filters":
            return ChooseFilters(StaticTuner(task.static, spec), task.space)
        if spec.startswith("static:"):
            file = spec.removeprefix("static:")
            settings = read_static(file)
            by_frame = {} if "#" in file else read_by_frame(file)
            # the file's name alone: a worker in another folder finds it by another path
            return StaticTuner(settings, f"static:{Path(file).name}", by_frame)
        if spec == "random":
            return RandomTuner(task, seed=seed)
        if spec in ("genetic", "genetic-warm"):
            warm = spec.endswith("-warm")
            return SearchTuner(task, n_evaluations=n_evaluations, warm=warm, seed=seed)
        if spec == "nsga2":
            return Nsga2Tuner(task, n_evaluations=n_evaluations, seed=seed)
        try:
            policy = PolicyTuner.from_bundle(self._bundle.serving(task, sam_sha256))
            return ChooseFilters(policy, task.space)
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
