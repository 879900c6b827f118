"""PPO and SAC of Stable-Baselines3, started at the task's static settings.

An untrained policy answers the static settings on every frame, so that learning never begins worse
than the baseline. PPO's Gaussian is clipped to the action's range: its mean begins at the encoded
static settings. SAC's is squashed, and a squashed mean near a bound could hardly move: SAC acts in
coordinates centred on the static settings instead (`CentredAction`), where it begins at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from samstar_rl.agents.network import Array, Normalisation, PolicyNetwork

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC}

SPAN = 2.0
"""Half the range of a centred action: from any centre, both bounds can be reached."""

FINAL_RATE = 0.1
"""The learning rate falls linearly to this share of its first value."""

_OWN = ("total_steps", "n_envs", "initial_std", "net_arch", "embedding_gain", "learning_rate")


class CentredAction(gymnasium.ActionWrapper):
    """Act relative to a centre: the environment gets ``clip(centre + span * action, -1, 1)``.

    Parameters
    ----------
    env : gymnasium.Env
        With the action space Box(-1, 1, (n,)).
    centre : (n,) array
    """

    def __init__(self, env: gymnasium.Env[Any, Any], centre: Array) -> None:
        super().__init__(env)
        self.centre = np.asarray(centre, dtype=np.float32)

    def action(self, action: Array) -> Array:
        """From centred coordinates to those of the environment."""
        return np.clip(self.centre + SPAN * action, -1.0, 1.0)


class NormalisingExtractor(BaseFeaturesExtractor):
    """Normalise and clip raw observations; the statistics are buffers, not parameters.

    Parameters
    ----------
    observation_space : Box
    normalisation : Normalisation
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, observation_space: spaces.Box, normalisation: Normalisation) -> None:
        super().__init__(observation_space, features_dim=len(normalisation.mean))
        self.limit = normalisation.limit
        self.register_buffer("mean", torch.as_tensor(normalisation.mean))
        self.register_buffer("scale", torch.as_tensor(normalisation.scale))

    def forward(self, observations: Tensor) -> Tensor:
        """Normalise (B, D) observations."""
        return ((observations - self.mean) * self.scale).clamp(-self.limit, self.limit)


def wrapper_for(algorithm: str, centre: Array) -> Callable[[gymnasium.Env], gymnasium.Env] | None:
    """What an algorithm's environments are wrapped in, if anything."""
    if algorithm != "sac":
        return None
    return lambda env: CentredAction(env, centre)


def make_learner(
    algorithm: str,
    env: VecEnv,
    *,
    centre: Array,
    normalisation: Normalisation,
    hyperparameters: Mapping[str, Any],
    seed: int,
) -> BaseAlgorithm:
    """Build a learner whose untrained policy answers the static settings.

    Parameters
    ----------
    algorithm : {"ppo", "sac"}
    env : VecEnv
        Its environments wrapped as `wrapper_for` says.
    centre : (n,) array
        The encoded static settings.
    normalisation : Normalisation
    hyperparameters : mapping
        As in agents/hyperparams.
    seed : int

    Raises
    ------
    ValueError
        If the algorithm is unknown.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")
    rate = float(hyperparameters["learning_rate"])
    given = {key: value for key, value in hyperparameters.items() if key not in _OWN}
    policy = {
        "net_arch": list(hyperparameters["net_arch"]),
        "features_extractor_class": NormalisingExtractor,
        "features_extractor_kwargs": {"normalisation": normalisation},
        "activation_fn": nn.Tanh if algorithm == "ppo" else nn.ReLU,
    }
    std = float(hyperparameters["initial_std"])
    if algorithm == "ppo":
        policy["log_std_init"] = math.log(std)
    learner = ALGORITHMS[algorithm](
        "MlpPolicy",
        env,
        learning_rate=lambda progress: rate * (FINAL_RATE + (1 - FINAL_RATE) * progress),
        policy_kwargs=policy,
        seed=seed,
        device="cpu",
        **given,
    )
    _start_at(learner, np.asarray(centre, dtype=np.float32), std)
    return learner


def to_network(learner: Any, *, centre: Array) -> PolicyNetwork:
    """The learner's policy, without exploration, as plain numbers."""
    extractor: Any
    if isinstance(learner, PPO):
        extractor = learner.policy.features_extractor
        layers = [*learner.policy.mlp_extractor.policy_net, learner.policy.action_net]
        centre, span, squash = np.zeros_like(centre), 1.0, False
    else:
        extractor = learner.actor.features_extractor
        layers = [*learner.actor.latent_pi, learner.actor.mu]
        span, squash = SPAN, True
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return PolicyNetwork(
        normalisation=Normalisation(
            _numbers(extractor.mean), _numbers(extractor.scale), extractor.limit
        ),
        weights=tuple(_numbers(layer.weight) for layer in linear),
        biases=tuple(_numbers(layer.bias) for layer in linear),
        activation="tanh" if isinstance(learner, PPO) else "relu",
        squash=squash,
        centre=np.asarray(centre, dtype=np.float32),
        span=span,
    )


@torch.no_grad()
def _start_at(learner: Any, centre: Array, std: float) -> None:
    """Let the policy answer the centre whatever it sees, with a small spread."""
    if isinstance(learner, PPO):
        action_net: Any = learner.policy.action_net
        action_net.weight.zero_()
        action_net.bias.copy_(torch.as_tensor(centre))
        return
    actor = learner.actor
    actor.mu.weight.zero_()
    actor.mu.bias.zero_()
    actor.log_std.weight.zero_()
    actor.log_std.bias.fill_(math.log(std / SPAN))


def _numbers(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float32).copy()
