"""What other samples teach about one that was never seen: their static settings, and a policy."""

from __future__ import annotations

from samstar_rl.agents.benchmark.arena import Arena, Ready
from samstar_rl.agents.learning.hyperparameters import load_hyperparameters
from samstar_rl.agents.learning.train import Progress, TrainingPlan, train_multi_policy
from samstar_rl.envs import STREAM_ID
from samstar_rl.envs.variation import VARIATION
from samstar_rl.settings import SETTINGS, Settings
from samstar_rl.tasks.task import Task
from samstar_rl.tuning.tuner import FrameContext


class ForeignStaticTuner:
    """The static settings of another task, its lengths in the unit of the task at hand.

    Parameters
    ----------
    foreign : Task
        Whose static settings are used.
    task : Task
        That is at hand.
    """

    searches = False

    def __init__(self, foreign: Task, task: Task) -> None:
        self.name = f"static of {foreign.name}"
        self.foreign = foreign
        self.task = task

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: FrameContext) -> Settings:
        """The settings, whatever is in the frame; only its pixel size matters, for the lengths."""
        frame, static = context.frame, self.foreign.static
        factor = self.foreign.length_unit_px(frame) / self.task.length_unit_px(frame)
        lengths = [name for name, spec in SETTINGS.items() if spec.unit == "length"]
        return static.replace(**{name: factor * getattr(static, name) for name in lengths})


def prepare_others_static(arena: Arena, seed: int) -> Ready:
    """The static settings of another task: who meets a new sample has no others.

    The seed says of which of the other tasks.
    """
    foreign, _ = list(arena.others.values())[seed]
    return Ready(ForeignStaticTuner(foreign, arena.task))


def prepare_unseen(arena: Arena, seed: int) -> Ready:
    """One policy that PPO learned on the other tasks: it never met this one, nor its settings."""
    hyperparameters = load_hyperparameters(
        "ppo", task="all", env_id=STREAM_ID, overrides={"total_steps": arena.steps}
    )
    plan = TrainingPlan("ppo", hyperparameters, seed=seed, variation=VARIATION)
    others = list(arena.others.values())
    trained = train_multi_policy(others, plan, arena.folder, resume=True)
    progress = trained.progress
    return Ready(
        trained.tuner(arena.test, arena.task, "unseen"),
        curve_of(progress),
        progress.steps,
        progress.seconds,
        tuple(bank for _, bank in others),
        trained.network,
        dict(hyperparameters),
    )


def curve_of(progress: Progress) -> list[tuple[int, float, float]]:
    """A training's curve as (evaluations, seconds, score)."""
    return [(int(p["steps"]), p["seconds"], p["score"]) for p in progress.curve]
