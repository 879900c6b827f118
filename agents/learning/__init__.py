"""How policies learn: by reinforcement (`train`), imitation of searches, and evolution.

`plan` says what decides a training and `hyperparameters` with which numbers; both are light. A
trained policy is a `samstar_rl.agents.policies.network.PolicyNetwork`; nothing outside of agents
is imported but environments, banks and tuning.
"""
