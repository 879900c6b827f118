"""Imitation: learn from each training frame's best gaze at a budget, then answer at once.

The baseline that any reviewer asks for: no reinforcement, just regression from what a policy sees
to the gaze of the highest reward among all zooms and some numbers of prompts. Same observation,
same action, no more evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.policies.network import Normalisation
from samstar_rl.agents.search.gazes import evaluate_gazes, gazes_of
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.envs.observation.schema import LAST_FRAME

if TYPE_CHECKING:
    from samstar_rl.agents.policies.network import Array
    from samstar_rl.envs.bank_frames import BankFrames
    from samstar_rl.tuning.objective import Objective

EMBEDDING_GAIN = 0.25
"""Weight of the pooled embedding, as for PPO."""
WIDTH, EPOCHS = 64, 400


@dataclass(frozen=True, eq=False)
class Example:
    """A frame, what it may cost, and the action of its best gaze.

    Attributes
    ----------
    index : int
        Of the frame in the bank.
    budget : float
    action : (n,) float32 array
    """

    index: int
    budget: float
    action: Array


def search_gazes(
    frames: BankFrames,
    indices: Sequence[int],
    objective: Objective,
    budgets: Sequence[float],
    *,
    most: int,
    on_frame: Callable[[int], None] | None = None,
) -> tuple[list[Example], int]:
    """The gaze of the highest reward on each frame at each budget.

    Parameters
    ----------
    frames : BankFrames
    indices : sequence of int
        Of the frames in the bank.
    objective : Objective
    budgets : sequence of float
    most : int
        No further frame is looked at after so many evaluations.
    on_frame : callable, optional
        Called with the number of frames done.

    Returns
    -------
    examples : list of Example
    n_evaluations : int
        Spent.
    """
    gazes, examples, spent = gazes_of(objective.task), list[Example](), 0
    for done, index in enumerate(indices, start=1):
        values = evaluate_gazes(frames.source(index), objective, gazes, budgets)
        for budget, best in zip(budgets, values.reward.argmax(axis=1).tolist(), strict=True):
            examples.append(Example(index, budget, frames.builder.encode(gazes[best])))
        spent += values.n_evaluations
        if on_frame is not None:
            on_frame(done)
        if spent >= most:
            break
    return examples, spent


def imitate(
    frames: BankFrames,
    examples: Sequence[Example],
    *,
    seed: int = 0,
    judged: BankFrames | None = None,
) -> PolicyTuner:
    """Fit a small multilayer perceptron from observations to the actions of the best gazes.

    Parameters
    ----------
    frames : BankFrames
        The training bank's.
    examples : sequence of Example
    seed : int
    judged : BankFrames, optional
        Of the bank on which the tuner will be judged, to look observations up.

    Returns
    -------
    PolicyTuner
        It does not look at the last frame: the best gaze does not depend on it.
    """
    # normalise what frame and budget decide
    builder = frames.builder
    indices = dict.fromkeys(example.index for example in examples)
    whole = fit_normalisation(
        builder.schema, [frames.part(i) for i in indices], embedding_gain=EMBEDDING_GAIN
    )
    width = builder.schema[LAST_FRAME[0]].start
    normalisation = Normalisation(whole.mean[:width], whole.scale[:width], whole.limit)
    seen = np.stack([builder.build(frames.part(e.index), e.budget)[:width] for e in examples])
    actions = np.stack([example.action for example in examples])

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
    x, y = torch.as_tensor(normalisation(seen)), torch.as_tensor(actions)
    for _ in range(EPOCHS):
        optimiser.zero_grad()
        nn.functional.mse_loss(network(x), y).backward()
        optimiser.step()

    @torch.no_grad()
    def act(observation: Array) -> Array:
        found: Array = network(torch.as_tensor(normalisation(observation[None, :width])))[0].numpy()
        return np.clip(found, -1.0, 1.0)

    return PolicyTuner(act, builder, "mlp", frames=judged)
