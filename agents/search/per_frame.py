"""One choice of settings for each frame of a set, steadied by what the other frames say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samstar_rl.agents.search.ask_tell import Vectors, maximise
from samstar_rl.agents.tuners.tuners import SEARCHES
from samstar_rl.errors import SamstarError
from samstar_rl.settings import Settings
from samstar_rl.tuning.tuner import FrameContext, FrameEvaluator, FrameSource, Objective

#: The mean over the other frames counts as much as the frame itself.
SHRINKAGE = 1.0


@dataclass(frozen=True)
class PerFrameFound:
    """What a search came to.

    Attributes
    ----------
    by_frame : dict of str to Settings
        For each frame's id.
    settings : Settings
        Of the best mean reward: for frames that were not searched on.
    reward : float
        Mean over frames, each with its own settings.
    n_evaluations : int
        One is one choice of settings on one frame.
    """

    by_frame: Mapping[str, Settings]
    settings: Settings
    reward: float
    n_evaluations: int


def search_per_frame(
    sources: Sequence[FrameSource],
    objective: Objective,
    *,
    algorithm: str = "genetic",
    n_evaluations: int,
    shrinkage: float = SHRINKAGE,
    seed: int = 0,
    on_round: Callable[[int], None] | None = None,
) -> PerFrameFound:
    """Search settings over all frames, and let each frame choose among all that were tried.

    Every choice is evaluated on every frame, as the search for the best mean asks; a frame then
    takes the one of the best `shrunk` reward.

    Parameters
    ----------
    sources : sequence of FrameSource
        With ids of their own.
    objective : Objective
    algorithm : {"genetic", "random", "tpe"}
    n_evaluations : int
        In all; one is one choice of settings on one frame.
    shrinkage : float
        0 looks at each frame alone, infinity would give all frames the same.
    seed : int
    on_round : callable, optional
        Called after each round with the evaluations so far.

    Returns
    -------
    PerFrameFound

    Raises
    ------
    SamstarError
        If there are no frames, too few evaluations, or the shrinkage is negative.
    """
    if not 0 <= shrinkage < float("inf"):
        raise SamstarError(f"shrinkage must be a finite number >= 0, got {shrinkage}")
    choices = n_evaluations // max(len(sources), 1)
    if not sources or choices < 2:
        raise SamstarError(
            f"{n_evaluations} evaluations are too few for {len(sources)} frames: two choices of "
            f"settings on each frame are the least, {2 * len(sources)}"
        )
    space = objective.task.space
    start = np.asarray([space.encode(objective.task.static)], dtype=float)
    rewards: list[NDArray[np.float64]] = []

    def mean_reward(vector: Vectors) -> float:
        settings = space.decode(vector)
        rewards.append(
            np.array([FrameEvaluator(source, objective)(settings).reward for source in sources])
        )
        return float(rewards[-1].mean())

    found = maximise(
        SEARCHES[algorithm](space.n, seed, start),
        mean_reward,
        choices,
        on_round=lambda done, *_: on_round(done * len(sources)) if on_round else None,
    )
    table = np.array(rewards)
    chosen = shrunk(table, shrinkage).argmax(axis=0)
    return PerFrameFound(
        by_frame={
            source.frame.id: space.decode(found.vectors[choice])
            for source, choice in zip(sources, chosen.tolist(), strict=True)
        },
        settings=space.decode(found.vector),
        reward=float(table[chosen, np.arange(len(sources))].mean()),
        n_evaluations=table.size,
    )


def shrunk(rewards: NDArray[np.float64], weight: float = SHRINKAGE) -> NDArray[np.float64]:
    r"""Rewards of choices on frames, each drawn towards the mean over the other frames.

    .. math:: \frac{r_{sf} + w \, \frac{1}{F - 1} \sum_{g \ne f} r_{sg}}{1 + w}

    The best of many noisy scores is best by luck as well; the other frames do not share that luck.

    Parameters
    ----------
    rewards : (S, F) array
        Of S choices on F frames.
    weight : float

    Returns
    -------
    (S, F) array
        With one frame, the rewards as they are.
    """
    n_frames = rewards.shape[1]
    if n_frames == 1:
        return rewards
    others = (rewards.sum(axis=1, keepdims=True) - rewards) / (n_frames - 1)
    return (rewards + weight * others) / (1 + weight)


class PerFrameTuner:
    """Settings by the frame's id.

    Parameters
    ----------
    by_frame : mapping of str to Settings
    settings : Settings
        For all other frames.
    name : str
    """

    searches = False

    def __init__(
        self, by_frame: Mapping[str, Settings], settings: Settings, name: str = "per-frame"
    ) -> None:
        self.by_frame = by_frame
        self.settings = settings
        self.name = name

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: FrameContext) -> Settings:
        """Return the frame's own settings, or those for frames unknown."""
        return self.by_frame.get(context.frame.id, self.settings)
