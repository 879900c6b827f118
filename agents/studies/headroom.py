"""Where adapting pays: how much better settings that follow the frames could be, before training.

Everything is measured on the same frames, among the same settings: drawn at random from the task's
space, and for each stream the best static choices for its first frames and, in hindsight, for all
of it, refined beyond what was drawn. F1 at IoU 0.5 judges; the score, where it chooses, never sees
the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl.agents.judging.statistics import mean_interval
from samstar_rl.agents.search.static import FIRST_FRAMES, search_static
from samstar_rl.errors import SamstarError
from samstar_rl.truth.metrics import Truth, f1_at
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.tuner import FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.agents.judging.statistics import Estimate
    from samstar_rl.bank.bank import Bank
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.objective import Objective

FROZEN, HINDSIGHT = "frozen start", "hindsight static"
HINDSIGHT_TRUTH = "hindsight static by truth"
BY_SCORE, BY_TRUTH = "per frame by score", "per frame by truth"
CROSS_VALIDATED = "cross-validated"
SPLITS = 4
"""Random halvings of a frame's particles, each used both ways round."""
LEVELS = 21
"""Values tried of a setting that adapts alone."""
MATCH = 0.5

LEVELS_IN_ORDER = (FROZEN, HINDSIGHT, BY_SCORE, HINDSIGHT_TRUTH, BY_TRUTH)
_COMPARED = (
    (BY_SCORE, FROZEN),
    (HINDSIGHT, FROZEN),
    (BY_SCORE, HINDSIGHT),
    (BY_TRUTH, HINDSIGHT),
    (BY_TRUTH, HINDSIGHT_TRUTH),
)

Grid = NDArray[np.float64]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class HeadroomPlan:
    """How thoroughly to look.

    Attributes
    ----------
    n_settings : int
        Drawn from the task's space.
    n_refined : int
        Evaluations a frame that refine the static choices.
    seed : int
    """

    n_settings: int = 300
    n_refined: int = 300
    seed: int = 0


@dataclass(eq=False)
class Headroom:
    """What could be gained on the streams of a bank.

    Attributes
    ----------
    n_frames : int
    is_stream : bool
        Whether the frames follow one another; else all are one set, and nothing is frozen.
    levels : dict of str to Estimate
        Mean F1 of each way to choose, with its interval over streams.
    scores : dict of str to Estimate
        Mean score of the same choices.
    gains : dict of str to Estimate
        Paired differences of F1, as ``"A - B"``.
    settings : dict of str to (Estimate, Estimate)
        What adapting one setting alone gains over the static choice in hindsight, chosen by score
        and by truth.
    """

    n_frames: int
    is_stream: bool
    levels: dict[str, Estimate] = field(default_factory=dict)
    scores: dict[str, Estimate] = field(default_factory=dict)
    gains: dict[str, Estimate] = field(default_factory=dict)
    settings: dict[str, tuple[Estimate, Estimate]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The content as plain types, fit for JSON."""

        def plain(estimates: dict[str, Estimate]) -> dict[str, list[float]]:
            return {name: [e.value, e.low, e.high] for name, e in estimates.items()}

        return {
            "n_frames": self.n_frames,
            "is_stream": self.is_stream,
            "f1": plain(self.levels),
            "score": plain(self.scores),
            "gains": plain(self.gains),
            "settings": {
                name: {"by_score": [s.value, s.low, s.high], "by_truth": [t.value, t.low, t.high]}
                for name, (s, t) in self.settings.items()
            },
        }


def gain_name(first: str, second: str) -> str:
    """How the difference between two ways to choose is called."""
    return f"{first} - {second}"


def measure_headroom(
    bank: Bank,
    objective: Objective,
    plan: HeadroomPlan,
    *,
    is_stream: bool,
    each_setting: bool = True,
    on_progress: Progress = lambda share: None,
) -> Headroom:
    """Measure what adapting could gain on the frames of a bank.

    Parameters
    ----------
    bank : Bank
        With truth.
    objective : Objective
    plan : HeadroomPlan
    is_stream : bool
        Whether each of the bank's streams is one that drifts. Otherwise all frames are one set: a
        static choice serves all of them, and intervals resample frames instead of streams.
    each_setting : bool
        Also adapt one setting at a time.
    on_progress : callable
        Called with the share done, in [0, 1].

    Returns
    -------
    Headroom

    Raises
    ------
    SamstarError
        If a frame has no truth, or there are fewer than two streams (or frames, where all are one
        set): nothing could be said about chance.
    """
    if not bank.has_truth:
        raise SamstarError("headroom is judged by ground truth: give frames with labels")
    count, units = (len(bank.streams), "streams") if is_stream else (len(bank), "frames")
    if count < 2:
        raise SamstarError(f"intervals need at least 2 {units}, got {count}: give more")
    return _Measurement(bank, objective, plan, is_stream, on_progress).run(each_setting)


@dataclass(eq=False)
class _Tried:
    """What each of many settings came to on one frame, (S,) arrays and (splits, 2, S)."""

    rewards: Grid
    scores: Grid
    f1s: Grid
    halves: Grid


class _Measurement:
    def __init__(
        self,
        bank: Bank,
        objective: Objective,
        plan: HeadroomPlan,
        is_stream: bool,
        on_progress: Progress,
    ) -> None:
        self.bank, self.objective, self.plan = bank, objective, plan
        self.is_stream, self.on_progress = is_stream, on_progress
        self.space = objective.task.space
        self.groups = bank.streams if is_stream else (range(len(bank)),)
        rng = np.random.default_rng(plan.seed)
        self.drawn = [objective.task.static] + [
            self.space.decode(rng.uniform(-1.0, 1.0, self.space.n))
            for _ in range(plan.n_settings - 1)
        ]
        self._sources = [BankFrame(bank, index) for index in range(len(bank))]
        self._truths = [Truth(bank.truth(index)) for index in range(len(bank))]
        self._done = 0.0

    def run(self, each_setting: bool) -> Headroom:
        headroom = Headroom(len(self.bank), self.is_stream)
        share = 0.7 / len(self.groups)
        choices: dict[str, list[Grid]] = {}
        alone: list[dict[str, Grid]] = []
        for number, group in enumerate(self.groups):
            refined = [self._refine(group[:FIRST_FRAMES], number), self._refine(group, number)]
            candidates = [*self.drawn, *refined]
            tried = [self._try(index, candidates, share / len(group)) for index in group]
            picks = self._pick(tried)
            for name, values in _read_off(tried, picks).items():
                choices.setdefault(name, []).append(values)
            if each_setting:
                best = candidates[int(picks[HINDSIGHT][0])]
                alone.append(self._adapt_alone(group, best, 0.3 / len(self.groups)))
        self._summarise(headroom, choices)
        for name in self.space.names if each_setting else ():
            by = [mean_interval(self._cells([a[name][:, k] for a in alone])) for k in (0, 1)]
            headroom.settings[name] = by[0], by[1]
        self.on_progress(1.0)
        return headroom

    def _refine(self, group: Sequence[int], number: int) -> Settings:
        """The best static choice for some frames by the score, beyond any drawn."""
        sources = [self._sources[index] for index in group]
        found = search_static(
            sources,
            self.objective,
            algorithm="refined",
            n_evaluations=self.plan.n_refined * len(sources),
            seed=self.plan.seed + number,
        )
        return found.settings

    def _try(self, index: int, candidates: Sequence[Settings], share: float) -> _Tried:
        """Evaluate settings on a frame, against the whole truth and halves of its particles."""
        evaluator = FrameEvaluator(self._sources[index], self.objective)
        truth = self._truths[index]
        halvings = _halve(len(truth), np.random.default_rng([self.plan.seed, 4, index]))
        n = len(candidates)
        tried = _Tried(np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((SPLITS, 2, n)))
        for k, settings in enumerate(candidates):
            evaluation = evaluator(settings)
            tried.rewards[k], tried.scores[k] = evaluation.reward, evaluation.score.total
            tried.f1s[k] = f1_at(evaluation.segmentation, truth)
            tried.halves[:, :, k] = f1_of_parts(evaluation.segmentation, truth, halvings)
        self._advance(share)
        return tried

    def _pick(self, tried: Sequence[_Tried]) -> dict[str, NDArray[np.intp]]:
        """Which candidate each way to choose takes on the frames of a group, (frames,)."""
        rewards = np.stack([one.rewards for one in tried])
        f1s = np.stack([one.f1s for one in tried])

        def static(values: Grid) -> NDArray[np.intp]:
            return np.full(len(tried), values.mean(axis=0).argmax())

        picks = {
            HINDSIGHT: static(rewards),
            BY_SCORE: rewards.argmax(axis=1),
            HINDSIGHT_TRUTH: static(f1s),
            BY_TRUTH: f1s.argmax(axis=1),
        }
        if self.is_stream:  # who froze early did not know the choice refined in hindsight, the last
            picks[FROZEN] = static(rewards[:FIRST_FRAMES, :-1])
        return picks

    def _adapt_alone(self, group: Sequence[int], best: Settings, share: float) -> dict[str, Grid]:
        """What adapting one setting gains in F1 on each frame, by score and by truth, (frames, 2).

        The others stay at the static choice in hindsight.
        """
        centre = self.space.encode(best)
        gains = {name: np.zeros((len(group), 2)) for name in self.space.names}
        for position, index in enumerate(group):
            evaluator = FrameEvaluator(self._sources[index], self.objective)
            static = f1_at(evaluator(best).segmentation, self._truths[index])
            for axis, name in enumerate(self.space.names):
                values = self._scan(evaluator, index, centre, axis)
                by_score = max(values, key=lambda value: value[0])[1]
                by_truth = max(value[1] for value in values)
                gains[name][position] = by_score - static, max(by_truth, static) - static
            self._advance(share / len(group))
        return gains

    def _scan(
        self, evaluator: FrameEvaluator, index: int, centre: NDArray[np.float32], axis: int
    ) -> list[tuple[float, float]]:
        """Reward and F1 along one setting, the static value first."""
        values = []
        for code in (float(centre[axis]), *np.linspace(-1.0, 1.0, LEVELS)):
            vector = centre.copy()
            vector[axis] = code
            evaluation = evaluator(self.space.decode(vector))
            f1 = f1_at(evaluation.segmentation, self._truths[index])
            values.append((evaluation.reward, f1))
        return values

    def _summarise(self, headroom: Headroom, choices: dict[str, list[Grid]]) -> None:
        plain = [name for name in LEVELS_IN_ORDER if name in choices]
        f1s = {name: self._cells([group[:, 0] for group in choices[name]]) for name in plain}
        scores = {name: self._cells([group[:, 1] for group in choices[name]]) for name in plain}
        headroom.levels = {name: mean_interval(cells) for name, cells in f1s.items()}
        headroom.scores = {name: mean_interval(cells) for name, cells in scores.items()}
        for first, second in _COMPARED:
            if first in f1s and second in f1s:
                gain = mean_interval(f1s[first] - f1s[second])
                headroom.gains[gain_name(first, second)] = gain
        for column, static in enumerate((HINDSIGHT, HINDSIGHT_TRUTH)):
            cells = self._cells([group[:, column] for group in choices[CROSS_VALIDATED]])
            headroom.gains[gain_name(CROSS_VALIDATED, static)] = mean_interval(cells)

    def _cells(self, groups: Sequence[Grid]) -> Grid:
        """Values of frames as (1, units of chance): streams, or frames where there are none."""
        if self.is_stream:
            return np.array([[group.mean() for group in groups]])
        return np.concatenate(groups)[None, :]

    def _advance(self, share: float) -> None:
        self._done = min(1.0, self._done + share)
        self.on_progress(self._done)


def _read_off(tried: Sequence[_Tried], picks: dict[str, NDArray[np.intp]]) -> dict[str, Grid]:
    """F1 and score of each way to choose on the frames of a group, (frames, 2).

    What is cross-validated are gains instead, over the static choices in hindsight by score and by
    truth.
    """
    read = {
        name: np.array([(one.f1s[k], one.scores[k]) for one, k in zip(tried, picked, strict=True)])
        for name, picked in picks.items()
    }
    statics = [int(picks[name][0]) for name in (HINDSIGHT, HINDSIGHT_TRUTH)]
    read[CROSS_VALIDATED] = np.stack([_cross_validated(one.halves, statics) for one in tried])
    return read


def _cross_validated(halves: Grid, statics: Sequence[int]) -> Grid:
    """Gains in F1 over static candidates, chosen on half of the particles, judged on the rest."""
    gains = []
    for first, second in halves:
        for seen, unseen in ((first, second), (second, first)):
            best = np.flatnonzero(seen == seen.max())  # what ties is as likely to be taken
            gains.append(unseen[best].mean() - unseen[statics])
    return np.mean(gains, axis=0)


def _halve(n_particles: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Random halves of the particles: True is the first half, (SPLITS, particles)."""
    order = np.argsort(rng.random((SPLITS, n_particles)), axis=1)
    return order < n_particles // 2


def f1_of_parts(
    segmentation: Segmentation, truth: Truth, halvings: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """F1 at IoU 0.5 on the two halves of a frame's particles.

    A mask belongs to the half of the particle that it overlaps most; one that overlaps none counts
    one half in each. So 2 TP / (masks + particles) is formed for either half, and masks on the
    other half's particles are no fault.

    Parameters
    ----------
    segmentation : Segmentation
    truth : Truth
    halvings : (S, particles) bool array
        True for the particles of the first half.

    Returns
    -------
    (S, 2) array
    """
    ious = truth.ious(segmentation)
    dense = ious.toarray()
    if dense.shape[1] == 0:
        return np.full((len(halvings), 2), float(dense.shape[0] == 0))
    found = (dense >= MATCH).any(axis=0)
    touching = dense.max(axis=1) > 0 if len(dense) else np.zeros(0, dtype=bool)
    homes = dense.argmax(axis=1)[touching]
    stray = 0.5 * np.count_nonzero(~touching)
    result = np.zeros((len(halvings), 2))
    for s, first in enumerate(halvings):
        for side, part in enumerate((first, ~first)):
            total = np.count_nonzero(part[homes]) + stray + np.count_nonzero(part)
            hits = np.count_nonzero(found & part)
            result[s, side] = 2.0 * hits / total if total else 1.0
    return result
