"""Searching a learner's hyperparameters with Optuna: short trainings, the hopeless ones cut off.

Trials are kept in a journal file, so that a search which was stopped goes on. Each trial draws its
hyperparameters with a seed of its own, and therefore the same ones wherever the search was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samstar_rl._io import atomic
from samstar_rl.agents.learning.train import train_on_tasks
from samstar_rl.agents.search.ask_tell import derive_seed
from samstar_rl.errors import MissingExtraError
from samstar_rl.tasks.task import toml_value

if TYPE_CHECKING:
    import optuna

    from samstar_rl.agents.learning.plan import TrainingPlan, TrainingProgress
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tasks.task import Task

JOURNAL = "optuna.journal"
FILE = "hyperparameters.toml"
STUDY = "hyperparameters"
SHORTER = 4
"""A trial trains for this many times fewer steps than the learner usually does."""

LEAST_STEPS = 512
STARTUP_TRIALS, WARMUP_CHECKPOINTS = 5, 5
"""No trial is cut off before so many trials are done, nor before so many of its checkpoints."""


@dataclass(frozen=True)
class Range:
    """Where a hyperparameter is searched.

    Attributes
    ----------
    low, high : float
        Limits.
    log : bool
        Search on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False


Choices = tuple[Any, ...]

_COMMON: dict[str, Range | Choices] = {
    "learning_rate": Range(1e-4, 3e-3, log=True),
    "initial_std": Range(0.05, 0.6, log=True),
    "net_arch": ([32, 32], [64, 64], [128, 128]),
    "embedding_gain": (0.0, 0.1, 0.25, 0.5, 1.0),
}
_ON_POLICY: dict[str, Range | Choices] = {
    **_COMMON,
    "n_steps": (16, 32, 64, 128),
}
_OFF_POLICY: dict[str, Range | Choices] = {
    **_COMMON,
    "batch_size": (64, 128, 256, 512),
    "tau": Range(0.002, 0.05, log=True),
    "gradient_steps": (1, 2, 4, 8),
}
SEARCHED: dict[str, dict[str, Range | Choices]] = {
    "ppo": {
        **_ON_POLICY,
        "batch_size": (64, 128, 256),
        "n_epochs": (3, 5, 10, 20),
        "clip_range": Range(0.1, 0.4),
        "ent_coef": Range(1e-5, 1e-2, log=True),
        "vf_coef": Range(0.2, 1.0),
    },
    "a2c": {
        **_ON_POLICY,
        "ent_coef": Range(1e-5, 1e-2, log=True),
        "vf_coef": Range(0.2, 1.0),
    },
    "trpo": {
        **_ON_POLICY,
        "batch_size": (64, 128, 256),
        "target_kl": Range(0.003, 0.1, log=True),
        "n_critic_updates": (5, 10, 20),
    },
    "sac": {**_OFF_POLICY, "ent_coef": Range(1e-4, 2e-2, log=True)},
    "tqc": {**_OFF_POLICY, "ent_coef": Range(1e-4, 2e-2, log=True)},
    "td3": {**_OFF_POLICY, "target_policy_noise": Range(0.02, 0.3, log=True)},
    "ddpg": _OFF_POLICY,
}
"""What is searched for each learner: a range, or the choices there are."""


@dataclass(frozen=True)
class Optimised:
    """What a search found.

    Attributes
    ----------
    hyperparameters : dict
        The best of those searched, others left out.
    file : Path
        Holds them, as ``--hyperparameters`` reads it.
    reward : float
        On the validation frames, at its best checkpoint.
    n_trials : int
        Finished, those cut off included.
    n_pruned : int
        Cut off.
    """

    hyperparameters: dict[str, Any]
    file: Path
    reward: float
    n_trials: int
    n_pruned: int

    @property
    def summary(self) -> str:
        """What was found, in a line for people."""
        return (
            f"validation reward {self.reward:.4f}, the best of {self.n_trials} trials "
            f"({self.n_pruned} cut off)"
        )


def optimise_hyperparameters(
    tasks_and_banks: Sequence[tuple[Task, Bank]],
    plan: TrainingPlan,
    folder: str | Path,
    *,
    n_trials: int,
    on_trial: Callable[[float], None] | None = None,
) -> Optimised:
    """Search hyperparameters, or finish a search that was begun in the folder.

    Each trial is a training with `SHORTER` times fewer steps. The first one takes the plan's own
    hyperparameters: what is found is never worse than they are.

    Parameters
    ----------
    tasks_and_banks : sequence of (Task, Bank)
    plan : TrainingPlan
        Hyperparameters that are not searched keep its values.
    folder : path
        Gets the journal, the trials, and ``hyperparameters.toml``.
    n_trials : int
        In all, those done before included.
    on_trial : callable, optional
        Called after each trial with the share that is done.

    Returns
    -------
    Optimised

    Raises
    ------
    MissingExtraError
        If Optuna is not installed.
    """
    folder, algorithm = Path(folder), plan.algorithm
    steps = max(LEAST_STEPS, int(plan.hyperparameters["total_steps"]) // SHORTER)
    usual = {**plan.hyperparameters, "total_steps": steps}
    study = _open_study(folder, plan.seed)

    def train(trial: optuna.Trial) -> float:
        import optuna

        def report(progress: TrainingProgress) -> None:
            trial.report(_best(progress.curve), len(progress.curve))
            if trial.should_prune():
                raise optuna.TrialPruned

        chosen = replace(plan, hyperparameters={**usual, **_suggest(trial, algorithm)})
        where = folder / "trials" / f"{trial.number:04d}"
        trained = train_on_tasks(tasks_and_banks, chosen, where, on_progress=report)
        return _best(trained.progress.curve)

    if not study.trials:
        study.enqueue_trial(_parameters(algorithm, usual))
    while (done := _n_done(study)) < n_trials:
        study.sampler = _sampler(plan.seed, done)
        study.optimize(train, n_trials=1)
        if on_trial is not None:
            on_trial((done + 1) / n_trials)
    best, done = _read(algorithm, study.best_trial.params), _n_done(study)
    lines = [
        f"# {algorithm}: the best of {done} trials, reward {study.best_value:.4f} on the "
        "validation frames.",
        "",
        "[default]",
    ]
    for name, value in best.items():
        lines.append(f"{name} = {repr(value) if isinstance(value, float) else toml_value(value)}")
    atomic.write_text(folder / FILE, "\n".join(lines) + "\n")
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    return Optimised(best, folder / FILE, float(study.best_value), done, len(pruned))


def _open_study(folder: Path, seed: int) -> optuna.Study:
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingExtraError("--optimize", "Optuna", "optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        study_name=STUDY,
        direction="maximize",
        sampler=_sampler(seed, 0),
        pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_CHECKPOINTS),
        load_if_exists=True,
    )
    # what was running when the search was killed will never end
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _sampler(seed: int, number: int) -> Any:
    import optuna

    drawn = derive_seed(seed, number)
    return optuna.samplers.TPESampler(seed=drawn, n_startup_trials=STARTUP_TRIALS)


def _n_done(study: optuna.Study) -> int:
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.trials)


def _best(curve: Sequence[Mapping[str, float]]) -> float:
    return max(point["reward"] for point in curve)


def _suggest(trial: optuna.Trial, algorithm: str) -> dict[str, Any]:
    for name, where in SEARCHED[algorithm].items():
        if isinstance(where, Range):
            trial.suggest_float(name, where.low, where.high, log=where.log)
        else:
            trial.suggest_categorical(name, [_choice(value) for value in where])
    return _read(algorithm, trial.params)


def _parameters(algorithm: str, usual: Mapping[str, Any]) -> dict[str, Any]:
    """The usual hyperparameters as Optuna's, as far as they lie where is searched."""
    parameters: dict[str, Any] = {}
    for name, where in SEARCHED[algorithm].items():
        value = usual[name]
        if isinstance(where, Range):
            if isinstance(value, int | float):
                parameters[name] = float(min(max(value, where.low), where.high))
        elif value in where:
            parameters[name] = _choice(value)
    return parameters


def _read(algorithm: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's parameters as hyperparameters."""
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        where = SEARCHED[algorithm][name]
        if isinstance(where, Range):
            values[name] = float(value)
        else:
            values[name] = next(choice for choice in where if _choice(choice) == value)
    return values


def _choice(value: Any) -> Any:
    """Optuna's choices are plain: a list becomes a text."""
    return "x".join(map(str, value)) if isinstance(value, list) else value
