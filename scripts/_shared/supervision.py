"""Which tuners take part in a live run, and who supervises them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from samstar_rl.agents import ChooseFilters, PolicyBundle, PolicyTuner, search_static
from samstar_rl.streaming.supervision.guard import Guard, GuardRules
from samstar_rl.streaming.supervision.switches import TunerSwitch
from samstar_rl.tuning.wrapper import TunerWrapper

if TYPE_CHECKING:
    from samstar_rl.agents.registry import NamedTuner
    from samstar_rl.envs.observation.schema import Vector
    from samstar_rl.segmenter import Segmenter
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.tuner import FrameContext, FrameSource, Tuner

# settings that a re-tune tries on each of its frames
RETUNE_CHOICES = 60
# blocks of the observation that say what the frame looks like
LOOKS = ("image", "gaze")


def choose_among(
    segmenter: Segmenter,
    named: Sequence[NamedTuner],
    *,
    rules: GuardRules | None,
    retune: bool,
    n_evaluations: int,
    seed: int,
) -> TunerSwitch:
    """Make the tuners to choose from, each with its guard; the first one begins.

    Parameters
    ----------
    segmenter : Segmenter
    named : sequence of NamedTuner
        One that is named twice is made once.
    rules : GuardRules or None
        Of the guard; None leaves policies without one.
    retune : bool
        Whether a guard searches new static settings after a fallback.
    n_evaluations, seed : int
        Of tuners that search.

    Returns
    -------
    TunerSwitch

    Raises
    ------
    SamstarError
        If a tuner does not exist or does not fit the task or the SAM.
    """
    tuners: dict[str, Tuner] = {}
    for one in named:
        if one.spec in tuners:
            continue
        tuner = one.make(
            segmenter.task,
            sam_sha256=segmenter.engine.sha256,
            n_evaluations=n_evaluations,
            seed=seed,
        )
        tuners[one.spec] = supervise(segmenter, tuner, rules=rules, retune=retune, seed=seed)
    return TunerSwitch(tuners)


def supervise(
    segmenter: Segmenter, tuner: Tuner, *, rules: GuardRules | None, retune: bool, seed: int
) -> TunerWrapper:
    """Put the guard around a policy, where asked for.

    Parameters
    ----------
    segmenter : Segmenter
    tuner : Tuner
        One that is no policy is wrapped without a guard.
    rules : GuardRules or None
        None asks for no guard.
    retune : bool
        Whether the guard searches new static settings after a fallback.
    seed : int
        Of that search.

    Returns
    -------
    TunerWrapper
    """
    if isinstance(tuner, ChooseFilters):
        # outside of the guard, which asks whether to believe a policy before SAM decodes for it
        inner = supervise(segmenter, tuner.inner, rules=rules, retune=retune, seed=seed)
        return ChooseFilters(inner, tuner.space)
    if rules is None or not isinstance(tuner, PolicyTuner):
        return TunerWrapper(tuner)
    return Guard(
        tuner,
        segmenter.objective,
        rules,
        distance=None if tuner.bundle is None else TrainingDistance(tuner, tuner.bundle),
        retune=retuner(segmenter, seed) if retune else None,
    )


def retuner(segmenter: Segmenter, seed: int) -> Callable[[Sequence[FrameSource]], Settings]:
    """A genetic search for static settings over recent frames."""

    def search(frames: Sequence[FrameSource]) -> Settings:
        keeping = segmenter.with_tuner(None, keep_proposals=True)
        kept = [keeping.prepare(frame.frame).source for frame in frames]
        n_evaluations = RETUNE_CHOICES * len(kept)
        found = search_static(kept, segmenter.objective, n_evaluations=n_evaluations, seed=seed)
        return found.settings

    return search


class TrainingDistance:
    """How far a frame's observation is from those that a policy was trained on.

    The root mean square, over the numbers of a block, of (value - mean) / standard deviation in the
    training, and of the blocks `LOOKS` the largest: about 1 for a frame as in the training.

    Parameters
    ----------
    tuner : PolicyTuner
        Its observation of the frame is taken as it acts, so that nothing is computed twice.
    bundle : PolicyBundle
        Of the same policy: what it was trained on.
    """

    def __init__(self, tuner: PolicyTuner, bundle: PolicyBundle) -> None:
        self._normalisation = bundle.normalisation
        self._blocks = [bundle.schema[name].slice for name in LOOKS]
        self._observation: Vector | None = None
        self._act, tuner.act = tuner.act, self._act_and_remember

    def __call__(self, context: FrameContext) -> float:
        """The distance of the frame for which the policy has just chosen."""
        if self._observation is None:
            return 0.0
        scale = self._normalisation.scale
        steps = (self._observation - self._normalisation.mean) * scale
        blocks = [steps[block][scale[block] > 0] for block in self._blocks]
        return max(
            float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if len(values) else 0.0
            for values in blocks
        )

    def _act_and_remember(self, observation: Vector) -> Vector:
        self._observation = observation
        return self._act(observation)
