"""What every learner and every search maximises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samstar_rl.errors import SamstarError
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.tuning.budget import PRICE

if TYPE_CHECKING:
    from samstar_rl.tasks.task import Task


class Objective:
    """What every learner and every search maximises: the task's score less the price of its cost.

    reward = score - price * cost / 1000

    The cost counts prompts decoded, and a constant of the SAM for each view that was encoded, the
    whole frame included: never seconds, so that it is the same on every machine.

    Parameters
    ----------
    task : Task
    price : float
        Score that 1,000 of cost must gain to be worth it; 0 maximises the score.

    Raises
    ------
    SamstarError
        If the price is negative or not finite.
    """

    def __init__(self, task: Task, price: float = PRICE) -> None:
        if not 0 <= price < float("inf"):
            raise SamstarError(
                f"price must be a finite number >= 0, got {price}; "
                "give 0 to maximise the score alone"
            )
        self.task = task
        self.price = float(price)
        self.physics = PhysicsReward(task)

    def reward(self, score: float, cost: float) -> float:
        """The score less the price of the cost."""
        return score - self.price * cost / 1000
