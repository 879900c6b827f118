"""What every learner and every search maximises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.errors import SamstarError
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.tuning.tuner import COST_WEIGHT

if TYPE_CHECKING:
    from samstar_rl.tasks.task import Task


class Objective:
    """What every learner and every search maximises: the task's score less a cost for prompts.

    reward = score - cost_weight * n_prompts / dearest_n_prompts

    where ``n_prompts`` are those that the settings decode, plus those of the coarse probe for who
    looked at it, and ``dearest_n_prompts`` those of the dearest settings that the task's space can
    reach. Prompts are counted, never seconds: the cost is the same on every machine.

    Parameters
    ----------
    task : Task
    cost_weight : float
        Score that the dearest prompt settings must gain over free ones; 0 maximises the score.

    Raises
    ------
    SamstarError
        If the weight is negative or not finite.
    """

    def __init__(self, task: Task, cost_weight: float = COST_WEIGHT) -> None:
        if not 0 <= cost_weight < float("inf"):
            raise SamstarError(
                f"cost_weight must be a finite number >= 0, got {cost_weight}; "
                "give 0 to maximise the score alone"
            )
        self.task = task
        self.cost_weight = float(cost_weight)
        self.physics = PhysicsReward(task)
        self.dearest_n_prompts = max(prompt.most_prompts for prompt in task.space.prompts())

    def penalty(self, n_prompts: int) -> float:
        """What decoding that many prompts costs, in units of the score."""
        return self.cost_weight * n_prompts / self.dearest_n_prompts
