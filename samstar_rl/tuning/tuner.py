"""What chooses settings for a frame, what it may look at, and how its choices are evaluated.

A tuner gets a `FrameContext` and answers with `Settings`. Whatever it tries goes through the
context's `FrameEvaluator`, which counts evaluations and prompts, so that a policy that answers at
once and a search that tries hundreds of settings are charged by the same clerk. `run_tuner` is the
one evaluate loop of training curves, benchmarks and the live loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from samstar_rl.errors import SamstarError
from samstar_rl.rewards import PhysicsReward, Score
from samstar_rl.segmentation.segmentation import Plausibility, Segmentation, segment

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.frames.frame import Frame
    from samstar_rl.sam.engine import Embedding, FrameFeatures, ProposalEngine, Proposals
    from samstar_rl.settings import PromptSettings, Settings
    from samstar_rl.tasks.task import Task

COST_WEIGHT = 0.01
"""Score that the dearest prompt settings must gain over free ones to be worth their prompts."""


class Tuner(Protocol):
    """Anything that chooses settings for a frame.

    Attributes
    ----------
    name : str
        For tables and file names.
    searches : bool
        Whether it evaluates many settings on each frame. A live source then keeps all proposals
        instead of skipping what a single evaluation throws away.
    """

    @property
    def name(self) -> str:
        """For tables and file names."""

    @property
    def searches(self) -> bool:
        """Whether it evaluates many settings on each frame."""

    def reset(self) -> None:
        """Forget earlier frames: a new stream begins."""

    def propose(self, context: FrameContext) -> Settings:
        """Choose the settings for the context's frame."""


class StaticTuner:
    """The same settings for every frame.

    Parameters
    ----------
    settings : Settings
    name : str
    """

    searches = False

    def __init__(self, settings: Settings, name: str = "static") -> None:
        self.settings = settings
        self.name = name

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: FrameContext) -> Settings:
        """Return the settings, whatever the frame."""
        return self.settings


class FrameSource(Protocol):
    """One frame together with whatever turns settings into a segmentation of it."""

    frame: Frame

    @property
    def features(self) -> FrameFeatures:
        """Pooled embedding and coarse probe; computed when first asked for."""

    def segment(
        self,
        settings: Settings,
        length_unit_px: float,
        plausibility: Plausibility | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Segment the frame, as `samstar_rl.segmentation.segmentation.segment` does."""


class BankFrame:
    """A frame of a bank as a `FrameSource`: SAM has done its work already.

    Parameters
    ----------
    bank : Bank
    index : int
        Of the frame in the bank.
    """

    def __init__(self, bank: Bank, index: int) -> None:
        self.bank = bank
        self.index = index
        self.frame = bank.frame(index)

    @property
    def features(self) -> FrameFeatures:
        """Pooled embedding and coarse probe, as recorded in the bank."""
        return self.bank.features(self.index)

    def segment(
        self,
        settings: Settings,
        length_unit_px: float,
        plausibility: Plausibility | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Choose among the recorded proposals."""
        proposals = self.bank.proposals(self.index, settings.prompt)
        proposals = proposals.first(settings.prompt, cost_limit)
        return segment(
            proposals, settings, length_unit_px=length_unit_px, plausibility=plausibility
        )


class LiveFrame:
    """A frame from the microscope as a `FrameSource`: SAM works when asked to.

    Parameters
    ----------
    engine : ProposalEngine
    frame : Frame
    searches : bool
        The tuner evaluates many settings: decode all proposals of a choice of prompt settings once
        and filter them from then on. Otherwise decode only what the one evaluation keeps.
    """

    def __init__(self, engine: ProposalEngine, frame: Frame, *, searches: bool = False) -> None:
        self.engine = engine
        self.frame = frame
        self.searches = searches
        self._proposals: dict[PromptSettings, Proposals] = {}

    @cached_property
    def embedding(self) -> Embedding:
        """The frame's one encoder pass."""
        return self.engine.embed(self.frame)

    @cached_property
    def features(self) -> FrameFeatures:
        """Pooled embedding and coarse probe."""
        return self.engine.features(self.frame, embedding=self.embedding)

    def segment(
        self,
        settings: Settings,
        length_unit_px: float,
        plausibility: Plausibility | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Decode what is needed, then filter."""
        if not self.searches:
            return self.engine.segment(
                self.frame,
                settings,
                embedding=self.embedding,
                length_unit_px=length_unit_px,
                plausibility=plausibility,
                cost_limit=cost_limit,
            )
        record = next((held for held in self._proposals if held.holds(settings.prompt)), None)
        if record is None:
            record = settings.prompt
            self._proposals[record] = self.engine.propose(
                self.frame, record, embedding=self.embedding, cost_limit=cost_limit
            )
        return segment(
            self._proposals[record].first(settings.prompt, cost_limit),
            settings,
            length_unit_px=length_unit_px,
            plausibility=plausibility,
        )


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


@dataclass(frozen=True)
class Evaluation:
    """What settings gave on a frame."""

    settings: Settings
    segmentation: Segmentation
    score: Score
    reward: float


@dataclass
class Expense:
    """What was spent on a frame: the same account for every tuner.

    Attributes
    ----------
    n_evaluations : int
        Different settings that were evaluated.
    prompts : dict
        Prompts decoded for each choice of prompt settings that was needed, once each.
    n_probe_prompts : int
        Prompts of the coarse probe, 0 for who did not look at the features.
    """

    n_evaluations: int = 0
    prompts: dict[PromptSettings, int] = field(default_factory=dict)
    n_probe_prompts: int = 0

    @property
    def n_prompts_decoded(self) -> int:
        """Prompts decoded in all."""
        return sum(self.prompts.values()) + self.n_probe_prompts


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
        The budget of the frame, see `ProposalEngine.propose`.
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
        self.cost_limit = cost_limit
        self.expense = Expense()
        self._gauge = objective.physics.gauge(source.frame)
        self._known: dict[Settings, Evaluation] = {}

    @property
    def frame(self) -> Frame:
        """The frame that is evaluated."""
        return self.source.frame

    @property
    def features(self) -> FrameFeatures:
        """Pooled embedding and coarse probe; looking at them is charged."""
        features = self.source.features
        self.expense.n_probe_prompts = features.n_prompts_decoded
        return features

    def __call__(self, settings: Settings) -> Evaluation:
        """Evaluate the settings; the same settings again are neither computed nor charged anew."""
        if self.fix is not None:
            settings = self.fix(settings)
        known = self._known.get(settings)
        if known is None:
            known = self._known[settings] = self._evaluate(settings)
        return known

    def _evaluate(self, settings: Settings) -> Evaluation:
        segmentation = self.source.segment(settings, **self._gauge, cost_limit=self.cost_limit)
        score = self.objective.physics.score(segmentation, self.frame, self.previous)
        self.expense.n_evaluations += 1
        self.expense.prompts[settings.prompt] = segmentation.n_prompts_decoded
        n_prompts = segmentation.n_prompts_decoded + self.expense.n_probe_prompts
        reward = score.total - self.objective.penalty(n_prompts)
        return Evaluation(settings, segmentation, score, reward)


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
        """Pooled embedding and coarse probe of the frame; their prompts are charged."""
        return self._evaluator.features

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
    tuner: Tuner, sources: Iterable[FrameSource], objective: Objective
) -> Iterator[TunedFrame]:
    """Let a tuner choose for one frame after the other of a stream: the one evaluate loop.

    Parameters
    ----------
    tuner : Tuner
        Reset before the first frame.
    sources : iterable of FrameSource
        The frames of one stream in their order.
    objective : Objective

    Yields
    ------
    TunedFrame
        One a frame.
    """
    tuner.reset()
    last: Evaluation | None = None
    for source in sources:
        previous = None if last is None else last.segmentation
        tuned = tune_frame(tuner, FrameEvaluator(source, objective, previous=previous), last)
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
