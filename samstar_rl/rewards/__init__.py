"""The physics of the sample as a score: one pure function a term, combined by `PhysicsReward`."""

from samstar_rl.rewards.reward import PhysicsReward, Score, combine
from samstar_rl.rewards.terms import TARGETS, TERMS

__all__ = ["TARGETS", "TERMS", "PhysicsReward", "Score", "combine"]
