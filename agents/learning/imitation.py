"""Imitation: learn from each training frame's searched optimum, then answer at once.

The baseline that any reviewer asks for: no reinforcement, just regression from what a policy sees
to what a genetic search found. Same observation, same action, same number of evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.policies.network import Normalisation
from samstar_rl.agents.search.ask_tell import make_search, maximise
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.errors import SamstarError
from samstar_rl.tuning.tuner import FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.agents.policies.network import Array
    from samstar_rl.envs.bank_frames import BankFrames
    from samstar_rl.tuning.objective import Objective

EMBEDDING_GAIN = 0.25
"""Weight of the pooled embedding, as for PPO."""
WIDTH, EPOCHS = 64, 400


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
    space, best = objective.task.space, []
    for done, index in enumerate(indices, start=1):
        evaluator = FrameEvaluator(frames.source(index), objective)
        found = maximise(
            make_search("genetic", objective.task, seed=seed + index),
            lambda vector, evaluator=evaluator: evaluator(space.decode(vector)).reward,  # type: ignore[misc]
            each,
        )
        best.append(found.vector)
        if on_frame is not None:
            on_frame(done)
    return np.asarray(best, dtype=np.float32)


def imitate(
    frames: BankFrames,
    indices: Sequence[int],
    actions: Array,
    *,
    seed: int = 0,
    judged: BankFrames | None = None,
) -> PolicyTuner:
    """Fit a small multilayer perceptron from observations to searched actions.

    Parameters
    ----------
    frames : BankFrames
        The training bank's.
    indices : sequence of int
        The training frames in it.
    actions : (N, n) array
        From `search_each_frame`.
    seed : int
    judged : BankFrames, optional
        Of the bank on which the tuner will be judged, to look observations up.

    Returns
    -------
    PolicyTuner
        It does not look at the last frame: a search's optimum does not depend on it.
    """
    # normalise what the frame alone decides
    parts = np.stack([frames.part(index) for index in indices])
    whole = fit_normalisation(frames.builder.schema, parts, embedding_gain=EMBEDDING_GAIN)
    width = parts.shape[1]
    normalisation = Normalisation(whole.mean[:width], whole.scale[:width], whole.limit)

    # minimise the squared error of the actions
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(width, WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, WIDTH),
        nn.Tanh(),
        nn.Linear(WIDTH, actions.shape[1]),
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    x, y = torch.as_tensor(normalisation(parts)), torch.as_tensor(actions)
    for _ in range(EPOCHS):
        optimiser.zero_grad()
        nn.functional.mse_loss(network(x), y).backward()
        optimiser.step()

    @torch.no_grad()
    def act(observation: Array) -> Array:
        found: Array = network(torch.as_tensor(normalisation(observation[None, :width])))[0].numpy()
        return np.clip(found, -1.0, 1.0)

    return PolicyTuner(act, frames.builder, "mlp", frames=judged)
