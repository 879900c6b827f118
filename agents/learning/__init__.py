"""Training of policies by reinforcement learning, imitation and evolution."""
