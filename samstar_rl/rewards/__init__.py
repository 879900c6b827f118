"""The score of a segmentation: physics and learned plausibility, one pure function a term.

`terms/` holds the functions, each with the target that a task file gives it; `registry` lists them,
and `reward` combines the terms of a task into one score in [0, 1]. Most terms say how well the
masks agree with what is known of the sample (sizes, shapes, overlap, coverage, contrast);
`plausibility` and `expected_f1` say how likely the masks are to be particles, by a network that was
fitted once to labelled micrographs (`samstar_rl.evidence.plausibility`). On the shipped tasks that
are not experimental these two have most of the weight. No term sees the truth of its frame.
"""

from samstar_rl.rewards.registry import TARGETS, TERMS
from samstar_rl.rewards.reward import PhysicsReward, Score, combine

__all__ = ["TARGETS", "TERMS", "PhysicsReward", "Score", "combine"]
