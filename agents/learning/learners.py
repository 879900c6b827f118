"""Learners of Stable-Baselines3 and sb3-contrib, started at static settings.

An untrained policy answers the same settings on every frame, the task's or those that a short
search found on the training frames, so that learning never begins worse than the baseline; or,
where a policy was fitted to the gaze before (`gaze_fit`), what that one answers. The
Gaussians of PPO, A2C and TRPO are clipped to the action's range: their means begin at those encoded
settings. The policies of SAC, TQC, TD3 and DDPG are squashed, and a squashed mean near a bound
could hardly move: they act in coordinates centred on the settings instead (`CentredAction`), where
they begin at 0.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from samstar_rl.agents.learning.hyperparameters import ALGORITHMS, algorithm_name
from samstar_rl.agents.policies.network import Normalisation, PolicyNetwork
from samstar_rl.errors import MissingExtraError

if TYPE_CHECKING:
    from samstar_rl.agents.policies.network import Array

CLIPPED = ("ppo", "a2c", "trpo")
"""Learners whose policy is a Gaussian that is clipped to the action's range."""

NOISY = ("td3", "ddpg")
"""Learners whose policy is deterministic and explores by noise of our choice."""

SPAN = 2.0
"""Half the range of a centred action: from any centre, both bounds can be reached."""

FINAL_RATE = 0.1
"""The learning rate falls linearly to this share of its first value."""

OWN = (
    "total_steps", "n_envs", "initial_std", "net_arch", "embedding_gain", "targets_gain",
    "start_share", "gaze_share", "learning_rate",
)  # fmt: skip
"""Hyperparameters that are not arguments of SB3's classes, or not as they stand."""


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """The class of a learner.

    Raises
    ------
    AlgorithmError
        If there is no such learner.
    ImportError
        If sb3-contrib is not installed and the learner comes from there.
    """
    package, _, kind = ALGORITHMS[algorithm_name(name)].partition(":")
    try:
        found: type[BaseAlgorithm] = getattr(importlib.import_module(package), kind)
    except ImportError as error:
        raise MissingExtraError(f"the learner {kind}", "sb3-contrib", "contrib") from error
    return found


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
    if algorithm in CLIPPED:
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
    algorithm : str
        A name of `ALGORITHMS`.
    env : VecEnv
        Its environments wrapped as `wrapper_for` says.
    centre : (n,) array
        The encoded static settings, which the untrained policy answers.
    normalisation : Normalisation
    hyperparameters : mapping
        As in agents/learning/hyperparams.
    seed : int

    Returns
    -------
    BaseAlgorithm

    Raises
    ------
    AlgorithmError
        If there is no such learner.
    ImportError
        If it comes from sb3-contrib, which is not installed.
    """
    kind = algorithm_class(algorithm)
    rate = float(hyperparameters["learning_rate"])
    std = float(hyperparameters["initial_std"])
    given = {key: value for key, value in hyperparameters.items() if key not in OWN}
    if algorithm in NOISY:
        n = len(centre)
        given["action_noise"] = NormalActionNoise(np.zeros(n), np.full(n, std / SPAN))
    learner = kind(
        "MlpPolicy",
        env,
        learning_rate=lambda progress: rate * (FINAL_RATE + (1 - FINAL_RATE) * progress),
        policy_kwargs=_policy_arguments(algorithm, normalisation, hyperparameters["net_arch"], std),
        seed=seed,
        device="cpu",
        **given,
    )
    _start_at(learner, np.asarray(centre, dtype=np.float32), std)
    return learner


def _policy_arguments(
    algorithm: str, normalisation: Normalisation, net_arch: list[int], std: float
) -> dict[str, Any]:
    clipped = algorithm in CLIPPED
    arguments: dict[str, Any] = {
        "net_arch": list(net_arch),
        "features_extractor_class": NormalisingExtractor,
        "features_extractor_kwargs": {"normalisation": normalisation},
        "activation_fn": nn.Tanh if clipped else nn.ReLU,
    }
    return arguments | ({"log_std_init": math.log(std)} if clipped else {})


def to_network(learner: Any, *, centre: Array) -> PolicyNetwork:
    """The learner's policy, without exploration, as plain numbers."""
    layers = _layers(learner)
    if isinstance(learner, OnPolicyAlgorithm):
        extractor: Any = learner.policy.features_extractor
        centre, span, squash = np.zeros_like(centre), 1.0, False
    else:
        extractor = learner.actor.features_extractor
        span, squash = SPAN, True
    return PolicyNetwork(
        normalisation=Normalisation(
            _numbers(extractor.mean), _numbers(extractor.scale), extractor.limit
        ),
        weights=tuple(_numbers(layer.weight) for layer in layers),
        biases=tuple(_numbers(layer.bias) for layer in layers),
        activation="relu" if squash else "tanh",
        squash=squash,
        centre=np.asarray(centre, dtype=np.float32),
        span=span,
    )


def _layers(learner: Any) -> list[nn.Linear]:
    """The linear layers from the normalised observation to the action's mean."""
    if isinstance(learner, OnPolicyAlgorithm):
        policy: Any = learner.policy
        layers = [*policy.mlp_extractor.policy_net, policy.action_net]
    elif isinstance(learner.actor.mu, nn.Sequential):  # TD3, DDPG
        layers = list(learner.actor.mu)
    else:
        layers = [*learner.actor.latent_pi, learner.actor.mu]
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


@torch.no_grad()
def begin_with(learner: Any, network: PolicyNetwork) -> None:
    """Let a learner of `CLIPPED` begin with the weights of a policy of the same layers."""
    for layer, weight, bias in zip(_layers(learner), network.weights, network.biases, strict=True):
        layer.weight.copy_(torch.as_tensor(weight))
        layer.bias.copy_(torch.as_tensor(bias))


@torch.no_grad()
def _start_at(learner: Any, centre: Array, std: float) -> None:
    """Let the policy answer the centre whatever it sees, with a small spread."""
    last = _layers(learner)[-1]
    last.weight.zero_()
    last.bias.zero_()
    if isinstance(learner, OnPolicyAlgorithm):
        last.bias.copy_(torch.as_tensor(centre))
    elif hasattr(learner, "actor_target"):
        learner.actor_target.load_state_dict(learner.actor.state_dict())
    else:
        learner.actor.log_std.weight.zero_()
        learner.actor.log_std.bias.fill_(math.log(std / SPAN))


def _numbers(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float32).copy()
