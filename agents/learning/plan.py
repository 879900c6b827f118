"""What decides how a training goes, and how far one is; light enough to be read before the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samstar_rl.agents.learning.hyperparameters import algorithm_name, load_hyperparameters
from samstar_rl.envs import STREAM_ID, TUNING_ID
from samstar_rl.envs.wrappers import VARIATION
from samstar_rl.errors import SamstarError
from samstar_rl.tuning.budget import BUDGET_RANGE, PRICE

if TYPE_CHECKING:
    from samstar_rl.tasks.task import Task


@dataclass(frozen=True)
class TrainingPlan:
    """All that decides how a training goes, besides tasks and banks.

    Attributes
    ----------
    algorithm : str
        A name of `samstar_rl.agents.learning.hyperparameters.ALGORITHMS`.
    hyperparameters : dict
        As in agents/learning/hyperparams.
    seed : int
    price : float
        Score that 1,000 of cost must gain, see `Objective`.
    budget : float or (float, float)
        The cost that frames may have, see `StreamOptions`.
    variation : float
        Share by which targets vary from episode to episode, see `vary_targets`.
    without : tuple of str
        Blocks of the observation that the policy does not see.
    env_id : str
        `samstar/Stream-v1` or `samstar/Tuning-v1`.
    """

    algorithm: str
    hyperparameters: Mapping[str, Any]
    seed: int = 0
    price: float = PRICE
    budget: float | tuple[float, float] = BUDGET_RANGE
    variation: float = 0.0
    without: tuple[str, ...] = ()
    env_id: str = STREAM_ID


@dataclass
class TrainingProgress:
    """How far a training is.

    Attributes
    ----------
    steps : int
        Environment steps, which are evaluations, so far.
    seconds : float
        Of training, judging left out.
    curve : list of dict
        ``steps``, ``seconds``, ``score`` and ``reward`` on the validation frames; of several tasks
        the mean, and ``score_TASK`` of each.
    """

    steps: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


def plan_training(
    algorithm: str,
    tasks: Sequence[Task],
    *,
    steps: int | None = None,
    path: str | Path | None = None,
    seed: int = 0,
    price: float = PRICE,
    budget: float | tuple[float, float] = BUDGET_RANGE,
    without: tuple[str, ...] = (),
    env_id: str = STREAM_ID,
) -> TrainingPlan:
    """Plan a training with the hyperparameters that ship for its learner and its tasks.

    Parameters
    ----------
    algorithm : str
        A learner's name, however it is capitalised.
    tasks : sequence of Task
        With more than one the targets vary from episode to episode, and the hyperparameters are
        those of a policy for many samples.
    steps : int, optional
        Evaluations to spend; by default the learner's.
    path : path, optional
        A TOML file of hyperparameters, applied on top of those that ship.
    seed : int
    price : float
        Score that 1,000 of cost must gain, see `Objective`.
    budget : float or (float, float)
        The cost that frames may have, see `StreamOptions`.
    without : tuple of str
        Blocks of the observation that the policy does not see.
    env_id : str
        `samstar/Stream-v1` or `samstar/Tuning-v1`.

    Returns
    -------
    TrainingPlan

    Raises
    ------
    SamstarError
        If there is no such learner, a hyperparameter is unknown or of the wrong type, or several
        tasks are to be learned in `samstar/Tuning-v1`.
    """
    name = algorithm_name(algorithm)
    if env_id == TUNING_ID and len(tasks) > 1:
        raise SamstarError(
            f"{TUNING_ID} is learned for one task, got {len(tasks)}: give one, or learn {STREAM_ID}"
        )
    is_one = len(tasks) == 1
    hyperparameters = load_hyperparameters(
        name,
        task=tasks[0].name if is_one else "all",
        env_id=env_id,
        path=path,
        overrides={} if steps is None else {"total_steps": steps},
    )
    variation = 0.0 if is_one else VARIATION
    return TrainingPlan(
        name,
        hyperparameters,
        seed=seed,
        price=price,
        budget=budget,
        variation=variation,
        without=without,
        env_id=env_id,
    )
