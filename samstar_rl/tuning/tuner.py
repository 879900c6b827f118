"""What chooses settings for a frame, what it may look at, and how its choices are evaluated.

A tuner gets a `FrameContext` and answers with `Settings`. Whatever it tries goes through the
context's `FrameEvaluator`, which counts evaluations and cost, so that a policy that answers at
once and a search that tries hundreds of settings are charged alike. `run_tuner` is the one evaluate
loop of training curves, benchmarks and the live loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from samstar_rl.evidence.frame_evidence import FrameEvidence
    from samstar_rl.frames.frame import Frame
    from samstar_rl.rewards.reward import Score
    from samstar_rl.sam.embedding import FrameFeatures
    from samstar_rl.segmentation.pooling import Pool
    from samstar_rl.segmentation.proposals import Proposals
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.settings import PromptSettings, Settings
    from samstar_rl.tuning.objective import Objective


class Tuner(Protocol):
    """Anything that chooses settings for a frame.

    Attributes
    ----------
    name : str
        For tables and file names.
    searches : bool
        Whether it evaluates settings that keep other masks than its first choice. A live source
        then keeps all proposals instead of skipping what a single evaluation throws away.
    """

    @property
    def name(self) -> str:
        """What tables and file names call it."""

    @property
    def searches(self) -> bool:
        """Whether it evaluates settings that keep other masks than its first choice."""

    def reset(self) -> None:
        """Forget earlier frames: a new stream begins."""

    def propose(self, context: FrameContext) -> Settings:
        """Choose the settings for the context's frame."""


class StaticTuner:
    """The same settings for every frame, but for frames that have settings of their own.

    Parameters
    ----------
    settings : Settings
    name : str
    by_frame : mapping of str to Settings, optional
        Settings of single frames, by the frame's id.
    """

    searches = False

    def __init__(
        self,
        settings: Settings,
        name: str = "static",
        by_frame: Mapping[str, Settings] | None = None,
    ) -> None:
        self.settings = settings
        self.name = name
        self.by_frame = dict(by_frame or {})

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: FrameContext) -> Settings:
        """Return the frame's own settings, or those for all frames."""
        return self.by_frame.get(context.frame.id, self.settings)


class FrameSource(Protocol):
    """One frame together with whatever turns settings into a segmentation of it."""

    frame: Frame

    @property
    def features(self) -> FrameFeatures:
        """The whole frame's embedding, pooled; computed when first asked for."""

    @property
    def records(self) -> Sequence[Proposals]:
        """All proposals of the frame that are at hand, of each gaze as many as there are."""

    def segment(
        self,
        settings: Settings,
        length_unit_px: float,
        evidence: FrameEvidence | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Segment the frame, as `samstar_rl.segmentation.filters.filter_proposals` does.

        Parameters
        ----------
        settings : Settings
        length_unit_px : float
            One unit of length of the task in px of the frame.
        evidence : FrameEvidence, optional
            Of the frame and the sample, for the gate ``min_plausibility``.
        cost_limit : float, optional
            The budget of the frame, see `ProposalEngine.propose`.

        Returns
        -------
        Segmentation
        """


@dataclass(frozen=True)
class Evaluation:
    """What settings gave on a frame."""

    settings: Settings
    segmentation: Segmentation
    score: Score
    reward: float

    @property
    def cost(self) -> float:
        """What SAM was asked for: prompts decoded, and a constant for each encoded view."""
        return self.segmentation.proposals.cost


@dataclass
class Expense:
    """What was spent on a frame: the same account for every tuner.

    Settings of one zoom share their views and prompts: only the longest prefix of the prompt order
    is charged, whatever filters are tried on its masks. All zooms share the whole frame's view.

    Attributes
    ----------
    n_evaluations : int
        Different settings that were evaluated.
    longest : dict
        What was decoded for each zoom that was needed, or for each choice of grids and crops.
    """

    n_evaluations: int = 0
    longest: dict[float | PromptSettings, Proposals] = field(default_factory=dict)

    @property
    def looks(self) -> list[Proposals]:
        """What was decoded, of each gaze as much as there is."""
        return list(self.longest.values())

    @property
    def n_prompts_decoded(self) -> int:
        """Prompts decoded in all."""
        return sum(look.n_prompts_decoded for look in self.looks)

    @property
    def cost(self) -> float:
        """Cost in all."""
        whole = self.looks[0].view_cost if self.longest else 0.0
        return whole + sum(look.cost - whole for look in self.looks)

    def beside(self, prompt: PromptSettings) -> float:
        """What was spent on other zooms than that of these prompt settings."""
        own = _shared(prompt)
        return sum(look.cost - look.view_cost for key, look in self.longest.items() if key != own)

    def charge(self, segmentation: Segmentation) -> None:
        """Account for an evaluation."""
        proposals = segmentation.proposals
        self.n_evaluations += 1
        key = _shared(proposals.prompt)
        known = self.longest.get(key)
        if known is None or known.cost < proposals.cost:
            self.longest[key] = proposals


def _shared(prompt: PromptSettings) -> float | PromptSettings:
    """What tells work apart that is done for these settings from work done for others."""
    return prompt if prompt.n_prompts is None else prompt.zoom


class FrameEvaluator:
    """Evaluate settings on one frame, and keep account of it.

    Parameters
    ----------
    source : FrameSource
        The frame: of a bank (`BankFrame`) or live (`LiveFrame`).
    objective : Objective
    previous : Segmentation, optional
        Of the last frame, for terms that look at change.
    fix : callable, optional
        Puts into settings what the user has fixed of them, whoever chose them.
    cost_limit : float, optional
        The budget of the frame, see `ProposalEngine.propose`; infinite or None for no limit.
        Whoever evaluates several zooms has it for all of them together.

    Attributes
    ----------
    pools : bool
        Whether evaluations are looks that follow one another: each adds its masks to those found
        before, duplicates falling. Otherwise each evaluation stands by itself.
    """

    def __init__(
        self,
        source: FrameSource,
        objective: Objective,
        *,
        previous: Segmentation | None = None,
        fix: Callable[[Settings], Settings] | None = None,
        cost_limit: float | None = None,
    ) -> None:
        self.source = source
        self.objective = objective
        self.previous = previous
        self.fix = fix
        self.cost_limit = None if cost_limit == math.inf else cost_limit
        self.pools = False
        self.expense = Expense()
        self._gauge = objective.physics.gauge(source.frame)
        self._known: dict[Settings, Evaluation] = {}

    @property
    def frame(self) -> Frame:
        """The frame that is evaluated."""
        return self.source.frame

    @property
    def features(self) -> FrameFeatures:
        """The whole frame's embedding, pooled."""
        return self.source.features

    @property
    def left(self) -> float:
        """What is left of the budget; infinite where there is no limit."""
        return math.inf if self.cost_limit is None else self.cost_limit - self.expense.cost

    def __call__(self, settings: Settings) -> Evaluation:
        """Evaluate the settings; the same settings again are neither computed nor charged anew."""
        if self.fix is not None:
            settings = self.fix(settings)
        known = self._known.get(settings)
        if known is None:
            looks = self.expense.looks
            known = self._evaluate(settings)
            # what other settings leave has changed where masks were found
            if self.pools and list(map(id, looks)) != list(map(id, self.expense.looks)):
                self._known.clear()
            self._known[settings] = known
        return known

    def _evaluate(self, settings: Settings) -> Evaluation:
        limit = self.cost_limit
        if limit is not None:
            limit -= self.expense.beside(settings.prompt)
        segmentation = self.source.segment(settings, **self._gauge, cost_limit=limit)
        self.expense.charge(segmentation)
        looks = self.expense.looks
        n_decoded = [look.n_prompts_decoded for look in looks]
        if self.pools and n_decoded != [segmentation.proposals.n_prompts_decoded]:
            from samstar_rl.segmentation.filters import (
                filter_proposals,  # torch, which takes seconds
            )

            pooled = self._pool().part(looks, settings.prompt)
            segmentation = filter_proposals(pooled, settings, **self._gauge)
        score = self.objective.physics.score(segmentation, self.frame, self.previous)
        reward = self.objective.reward(score.total, segmentation.proposals.cost)
        return Evaluation(settings, segmentation, score, reward)

    def _pool(self) -> Pool:
        """The pool of all records of the frame, which it keeps."""
        from samstar_rl.segmentation.pooling import Pool

        records = self.source.records
        known, key = self.frame.known, (Pool, *map(id, records))
        if key not in known:
            known[key] = Pool(records)
        pool: Pool = known[key]
        return pool


class FrameContext:
    """All that a tuner may look at when it chooses settings for a frame. Truth is not in it.

    Parameters
    ----------
    evaluator : FrameEvaluator
    last : Evaluation, optional
        What the last frame of the stream came to; None on a first or single frame.
    """

    def __init__(self, evaluator: FrameEvaluator, last: Evaluation | None = None) -> None:
        self._evaluator = evaluator
        self.last = last

    @property
    def frame(self) -> Frame:
        """The frame to choose settings for."""
        return self._evaluator.frame

    @property
    def features(self) -> FrameFeatures:
        """The whole frame's embedding, pooled."""
        return self._evaluator.features

    @property
    def left(self) -> float:
        """What is left of the budget after what was evaluated."""
        return self._evaluator.left

    @property
    def looks(self) -> list[Proposals]:
        """What was decoded so far, of each gaze as much as there is."""
        return self._evaluator.expense.looks

    def look(self, settings: Settings) -> Evaluation:
        """Look at the frame once more: its masks join those of earlier looks. Counted."""
        self._evaluator.pools = True
        return self._evaluator(settings)

    @property
    def budget(self) -> float:
        """The cost that the frame may have; infinite without a limit."""
        limit = self._evaluator.cost_limit
        return math.inf if limit is None else limit

    @property
    def last_settings(self) -> Settings | None:
        """Settings of the last frame."""
        return None if self.last is None else self.last.settings

    @property
    def last_score(self) -> Score | None:
        """Score of the last frame."""
        return None if self.last is None else self.last.score

    @property
    def n_evaluations(self) -> int:
        """Different settings evaluated so far on this frame."""
        return self._evaluator.expense.n_evaluations

    def try_out(self, settings: Settings) -> Evaluation:
        """Try settings on the frame: what comes out, its score and its cost. Counted."""
        return self._evaluator(settings)

    def evaluate(self, settings: Settings) -> Score:
        """Try settings on the frame and return the score. The evaluation is counted."""
        return self._evaluator(settings).score

    def reward(self, settings: Settings) -> float:
        """Try settings on the frame: what is to be maximised, the score less the cost. Counted."""
        return self._evaluator(settings).reward


@dataclass(frozen=True)
class TunedFrame:
    """A frame after a tuner has chosen: what came out and what it cost.

    Attributes
    ----------
    source : FrameSource
    evaluation : Evaluation
        Of the chosen settings.
    expense : Expense
        Of the whole frame, the evaluation of the chosen settings included.
    seconds : float
        Wall time from the frame to its segmentation. From a bank this leaves out SAM's own time.
    """

    source: FrameSource
    evaluation: Evaluation
    expense: Expense
    seconds: float

    @property
    def frame(self) -> Frame:
        """The frame that was segmented."""
        return self.source.frame


def run_tuner(
    tuner: Tuner,
    sources: Iterable[FrameSource],
    objective: Objective,
    *,
    cost_limit: float | None = None,
) -> Iterator[TunedFrame]:
    """Let a tuner choose for one frame after the other of a stream: the one evaluate loop.

    Parameters
    ----------
    tuner : Tuner
        Reset before the first frame.
    sources : iterable of FrameSource
        The frames of one stream in their order.
    objective : Objective
    cost_limit : float, optional
        The budget of each frame.

    Yields
    ------
    TunedFrame
        One a frame.
    """
    tuner.reset()
    last: Evaluation | None = None
    for source in sources:
        previous = None if last is None else last.segmentation
        evaluator = FrameEvaluator(source, objective, previous=previous, cost_limit=cost_limit)
        tuned = tune_frame(tuner, evaluator, last)
        last = tuned.evaluation
        yield tuned


def tune_frame(
    tuner: Tuner, evaluator: FrameEvaluator, last: Evaluation | None = None
) -> TunedFrame:
    """Let a tuner choose for a single frame and evaluate its choice.

    Parameters
    ----------
    tuner : Tuner
    evaluator : FrameEvaluator
        Of the frame.
    last : Evaluation, optional
        What the last frame came to, where there is one.

    Returns
    -------
    TunedFrame
    """
    started = time.perf_counter()
    settings = tuner.propose(FrameContext(evaluator, last))
    evaluation = evaluator(settings)
    seconds = time.perf_counter() - started
    return TunedFrame(evaluator.source, evaluation, evaluator.expense, seconds)
