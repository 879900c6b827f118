"""Searching one static choice of settings over many frames, or one for each steadied by all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samstar_rl.agents.search.ask_tell import make_search, maximise
from samstar_rl.agents.search.over_frames import evaluate_over
from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.agents.search.ask_tell import Vectors
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.objective import Objective
    from samstar_rl.tuning.tuner import FrameSource

SEARCH_FRAMES = 32
FINALISTS = 5
FIRST_FRAMES = 6
"""Frames at the start of a stream on which an operator tunes before the experiment runs."""
#: The mean over the other frames counts as much as the frame itself.
SHRINKAGE = 1.0


@dataclass(frozen=True, eq=False)
class StaticFound:
    """The best static settings that a search found.

    Attributes
    ----------
    settings : Settings
    reward : float
        Mean over all frames given.
    n_evaluations : int
        Spent in all: one is one choice of settings on one frame.
    curve : list of (evaluations, settings, reward)
        The best so far after each round, its reward on the frames that the search looked at.
    """

    settings: Settings
    reward: float
    n_evaluations: int
    curve: list[tuple[int, Settings, float]]


def search_static(
    sources: Sequence[FrameSource],
    objective: Objective,
    *,
    algorithm: str = "genetic",
    n_evaluations: int,
    budget: float = math.inf,
    seed: int = 0,
    on_round: Callable[[int, Settings, float], None] | None = None,
) -> StaticFound:
    """Search the settings with the best mean reward over frames.

    The search looks at `SEARCH_FRAMES` frames spread evenly over those given; the five best choices
    are then compared on all of them. The task's static settings are among the first tried.

    Parameters
    ----------
    sources : sequence of FrameSource
    objective : Objective
    algorithm : {"genetic", "refined"}
    n_evaluations : int
        In all; one is one choice of settings on one frame.
    budget : float
        The cost that each frame may have: the engine stops there.
    seed : int
    on_round : callable, optional
        Called after each round with evaluations, best settings so far and their reward.

    Returns
    -------
    StaticFound

    Raises
    ------
    SamstarError
        If the algorithm is unknown, or there are no frames, or too few evaluations to try two
        choices.
    """
    choices = count_choices(n_evaluations, len(sources), n_searched=SEARCH_FRAMES)
    task = objective.task
    search = make_search(algorithm, task, seed=seed)
    spread = range(len(sources))
    if len(sources) > SEARCH_FRAMES:
        spread = np.linspace(0, len(sources) - 1, SEARCH_FRAMES).round().astype(int)  # type: ignore[assignment]
    panel = [sources[i] for i in spread]
    known = {id(source) for source in panel}
    rest = [source for source in sources if id(source) not in known]

    def evaluate(frames: Sequence[FrameSource], settings: Settings) -> float:
        return evaluate_over(frames, objective, settings, budget=budget).reward

    # search on the panel
    curve: list[tuple[int, Settings, float]] = []

    def record(done: int, vector: Vectors, reward: float) -> None:
        curve.append((done * len(panel), task.space.decode(vector), reward))
        if on_round is not None:
            on_round(*curve[-1])

    found = maximise(
        search, lambda vector: evaluate(panel, task.space.decode(vector)), choices, on_round=record
    )

    # compare the best different choices on all frames
    finalists: dict[Settings, float] = {}
    for i in np.argsort(-found.rewards, kind="stable"):
        finalists.setdefault(task.space.decode(found.vectors[i]), float(found.rewards[i]))
        if len(finalists) == FINALISTS:
            break
    spent = len(found.vectors) * len(panel)
    if rest:
        for settings, on_panel in finalists.items():
            others = evaluate(rest, settings)
            spent += len(rest)
            total = on_panel * len(panel) + others * len(rest)
            finalists[settings] = total / len(sources)
    best = max(finalists, key=lambda settings: finalists[settings])
    return StaticFound(best, finalists[best], spent, curve)


def count_choices(n_evaluations: int, n_frames: int, *, n_searched: int | None = None) -> int:
    """How many choices of settings a search may try.

    Parameters
    ----------
    n_evaluations : int
        One is one choice of settings on one frame.
    n_frames : int
    n_searched : int, optional
        Frames that the search looks at, by default all; `FINALISTS` choices are then compared on
        the others.

    Returns
    -------
    int
        Two or more.

    Raises
    ------
    SamstarError
        If there are no frames, or too few evaluations to try two choices.
    """
    if n_frames == 0:
        raise SamstarError("there are no frames to search settings for: give at least one")
    looked_at = min(n_frames, n_searched or n_frames)
    reserved = FINALISTS * (n_frames - looked_at)
    choices = (n_evaluations - reserved) // looked_at
    if choices < 2:
        raise SamstarError(
            f"{n_evaluations} evaluations are too few for {n_frames} frames: give at least "
            f"{reserved + 2 * looked_at}, or fewer frames"
        )
    return choices


@dataclass(frozen=True)
class PerFrameFound:
    """What a search for settings of each frame came to.

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
    budget: float = math.inf,
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
    algorithm : {"genetic", "refined"}
    n_evaluations : int
        In all; one is one choice of settings on one frame.
    budget : float
        The cost that each frame may have.
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
    choices = count_choices(n_evaluations, len(sources))
    space = objective.task.space
    rewards: list[NDArray[np.float64]] = []

    def mean_reward(vector: Vectors) -> float:
        tried = evaluate_over(sources, objective, space.decode(vector), budget=budget)
        rewards.append(tried.rewards)
        return tried.reward

    found = maximise(
        make_search(algorithm, objective.task, seed=seed),
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
        The rewards of S choices on F frames.
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
