"""Amortised search: learn from each training frame's searched optimum, then answer at once.

The baseline that any reviewer asks for: no reinforcement, just regression from what a policy sees
to what a genetic search found. Same observation, same action, same number of evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.policies.network import Array, Normalisation
from samstar_rl.agents.search.ask_tell import GeneticSearch, Vectors, maximise
from samstar_rl.agents.tuners.tuners import PolicyTuner
from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.errors import MissingExtraError, SamstarError
from samstar_rl.tuning.tuner import FrameEvaluator, Objective

EMBEDDING_GAIN = 0.25
"""Weight of the pooled embedding, as for PPO."""


class Regressor(Protocol):
    """Maps normalised observations to actions."""

    def fit(self, inputs: Array, actions: Array) -> None:
        """Learn from (N, D) inputs and (N, n) actions."""

    def predict(self, inputs: Array) -> Array:
        """Actions (N, n)."""


class NearestNeighbour:
    """Answer what was best on the most similar training frame."""

    def fit(self, inputs: Array, actions: Array) -> None:
        """Remember all."""
        self._inputs, self._actions = inputs, actions

    def predict(self, inputs: Array) -> Array:
        """The actions of the nearest neighbours."""
        distances = ((inputs[:, None, :] - self._inputs[None, :, :]) ** 2).sum(axis=2)
        return self._actions[distances.argmin(axis=1)]


class Mlp:
    """A small multilayer perceptron, fitted by Adam with weight decay.

    Parameters
    ----------
    seed : int
    width : int
        Of its two hidden layers.
    epochs : int
    """

    def __init__(self, *, seed: int = 0, width: int = 64, epochs: int = 400) -> None:
        self.seed, self.width, self.epochs = seed, width, epochs

    def fit(self, inputs: Array, actions: Array) -> None:
        """Minimise the squared error of the actions."""
        torch.manual_seed(self.seed)
        sizes = (inputs.shape[1], self.width, self.width, actions.shape[1])
        self._net = nn.Sequential(
            nn.Linear(sizes[0], sizes[1]),
            nn.Tanh(),
            nn.Linear(sizes[1], sizes[2]),
            nn.Tanh(),
            nn.Linear(sizes[2], sizes[3]),
        )
        optimiser = torch.optim.AdamW(self._net.parameters(), lr=3e-3, weight_decay=1e-2)
        x, y = torch.as_tensor(inputs), torch.as_tensor(actions)
        for _ in range(self.epochs):
            optimiser.zero_grad()
            nn.functional.mse_loss(self._net(x), y).backward()
            optimiser.step()

    @torch.no_grad()
    def predict(self, inputs: Array) -> Array:
        """Actions, clipped to their range."""
        return self._net(torch.as_tensor(inputs)).clamp(-1, 1).numpy()


class Forest:
    """A random forest; needs the extra ``amortised`` (scikit-learn).

    Parameters
    ----------
    seed : int

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """

    def __init__(self, *, seed: int = 0) -> None:
        try:
            from sklearn.ensemble import RandomForestRegressor
        except ImportError as error:
            raise MissingExtraError("the random forest", "scikit-learn", "amortised") from error
        self._forest: Any = RandomForestRegressor(n_estimators=200, random_state=seed)

    def fit(self, inputs: Array, actions: Array) -> None:
        """Grow the trees."""
        self._forest.fit(inputs, actions)

    def predict(self, inputs: Array) -> Array:
        """Mean of the trees."""
        return np.asarray(self._forest.predict(inputs), dtype=np.float32)


REGRESSORS: dict[str, Callable[[int], Regressor]] = {
    "nearest": lambda seed: NearestNeighbour(),
    "mlp": lambda seed: Mlp(seed=seed),
    "forest": lambda seed: Forest(seed=seed),
}


def search_each_frame(
    frames: BankFrames,
    indices: Sequence[int],
    objective: Objective,
    *,
    n_evaluations: int,
    seed: int,
    on_frame: Callable[[int], None] | None = None,
) -> Array:
    """The best action that a genetic search finds on each frame.

    Parameters
    ----------
    frames : BankFrames
    indices : sequence of int
        Of the frames in the bank.
    objective : Objective
    n_evaluations : int
        For all frames together.
    seed : int
    on_frame : callable, optional
        Called with the number of frames done.

    Returns
    -------
    (N, n) float32 array

    Raises
    ------
    SamstarError
        If there are fewer evaluations than frames.
    """
    each = n_evaluations // len(indices)
    if each < 1:
        raise SamstarError(f"{n_evaluations} evaluations do not suffice for {len(indices)} frames")
    space = objective.task.space
    start = np.asarray([space.encode(objective.task.static)], dtype=float)
    best = []
    for done, index in enumerate(indices, start=1):
        evaluator = FrameEvaluator(frames.source(index), objective)
        search = GeneticSearch(space.n, seed=seed + index, start=start)

        def reward(vector: Vectors, evaluator: FrameEvaluator = evaluator) -> float:
            return evaluator(space.decode(vector)).reward

        found = maximise(search, reward, each)
        best.append(found.vector)
        if on_frame is not None:
            on_frame(done)
    return np.asarray(best, dtype=np.float32)


def amortise(
    frames: BankFrames,
    indices: Sequence[int],
    actions: Array,
    kind: str,
    *,
    seed: int = 0,
    judged: BankFrames | None = None,
) -> PolicyTuner:
    """Fit a regressor from observations to searched actions.

    Parameters
    ----------
    frames : BankFrames
        The training bank's.
    indices : sequence of int
    actions : (N, n) array
        From `search_each_frame`.
    kind : {"nearest", "mlp", "forest"}
    seed : int
    judged : BankFrames, optional
        Of the bank on which the tuner will be judged, to look observations up.

    Returns
    -------
    PolicyTuner
        It does not look at the last frame: a search's optimum does not depend on it.
    """
    builder = frames.builder
    parts = np.stack([frames.part(index) for index in indices])
    whole = fit_normalisation(builder.schema, parts, embedding_gain=EMBEDDING_GAIN)
    width = parts.shape[1]
    normalisation = Normalisation(whole.mean[:width], whole.scale[:width], whole.limit)
    regressor = REGRESSORS[kind](seed)
    regressor.fit(normalisation(parts), actions)

    def act(observation: Array) -> Array:
        return regressor.predict(normalisation(observation[None, :width]))[0]

    return PolicyTuner(act, builder, f"amortised ({kind})", frames=judged)
