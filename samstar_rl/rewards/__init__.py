"""The physics of the sample as a score: one pure function a term, combined by `PhysicsReward`."""

from samstar_rl.rewards.registry import TARGETS, TERMS
from samstar_rl.rewards.reward import PhysicsReward, Score, combine

__all__ = ["TARGETS", "TERMS", "PhysicsReward", "Score", "combine"]
