"""The gaze by full information: fit a policy to the rewards of all gazes on the training frames.

A bank knows what every gaze would have come to on a frame, so that the gaze need not be found by
trial: a small network is fitted to the mean reward itself, interpolated between the gazes that were
evaluated. It begins at the best single gaze for each budget and learns when to depart from that.
A gaze counts for what it comes to with filters that suit the frame, roughly as `ChooseFilters` will
find them. Reinforcement learning goes on from there, and moves the filters as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samstar_rl.agents.policies.network import PolicyNetwork
from samstar_rl.agents.search.gazes import evaluate_gazes, gazes_of
from samstar_rl.envs.observation.schema import LAST_FRAME
from samstar_rl.tuning.budget import BUDGET_RANGE

if TYPE_CHECKING:
    from samstar_rl.agents.policies.network import Array, Normalisation
    from samstar_rl.envs.bank_frames import BankFrames
    from samstar_rl.settings import Settings
    from samstar_rl.tuning.objective import Objective

GAZE = ("n_prompts", "zoom")
NUMBERS, BUDGETS = 7, 6
"""Numbers of prompts that are tried at each zoom, and budgets, spread evenly by their logarithm."""

PLAUSIBILITIES = 4
"""Values of ``min_plausibility`` that are tried with each gaze where the task lets it move."""

START_STEPS, STEPS, BATCH = 300, 400, 512
RATE, DECAY, DROPOUT = 3e-3, 1e-2, 0.3
NOISE = 1.0
"""Of what is sensed in a frame, in standard deviations: few frames are soon learned by heart."""
FIRST_SPREAD, LAST_SPREAD, DRAWS = 0.35, 0.1, 4
"""Standard deviations of the noise under which actions are to do well, and draws of it a step."""


@dataclass(frozen=True, eq=False)
class GazeRewards:
    """What each gaze came to on each frame at each budget.

    Attributes
    ----------
    indices : list of int
        F frames of the bank.
    budgets : list of float
        B of them.
    axes : tuple of (N,) and (Z,) float64 arrays
        Entries of the action that ask for the numbers of prompts and for the zooms, rising.
    rewards : (F, B, N, Z) float64 array
    n_evaluations : int
        Spent.
    """

    indices: list[int]
    budgets: list[float]
    axes: tuple[NDArray[np.float64], NDArray[np.float64]]
    rewards: NDArray[np.float64]
    n_evaluations: int


def moves_gaze(frames: BankFrames) -> bool:
    """Whether the frames' task leaves both the number of prompts and the zoom to a policy."""
    return set(GAZE) <= set(frames.builder.task.space.names)


def evaluate_all_gazes(
    frames: BankFrames,
    indices: Sequence[int],
    objective: Objective,
    *,
    filters: Settings,
    most: int,
    budget: float | tuple[float, float] = BUDGET_RANGE,
    on_spent: Callable[[int], None] | None = None,
) -> GazeRewards:
    """Evaluate the gazes of a task on training frames.

    Parameters
    ----------
    frames : BankFrames
    indices : sequence of int
        Of the frames in the bank.
    objective : Objective
    filters : Settings
        Whose filter settings go with every gaze, but for the plausibility.
    most : int
        Evaluations; no further frame is looked at where another one would exceed them.
    budget : float or (float, float)
        That frames may have, or its range.
    on_spent : callable, optional
        Called with the evaluations spent, after each frame.

    Returns
    -------
    GazeRewards
    """
    gazes = gazes_of(objective.task, NUMBERS, filters)
    ends = budget if isinstance(budget, tuple) else (budget, budget)
    budgets = np.unique(np.geomspace(*ends, BUDGETS)).tolist()
    entries = np.stack([frames.builder.encode(gaze) for gaze in gazes])
    space = objective.task.space
    columns = [space.names.index(name) for name in GAZE]
    plausibilities: tuple[float, ...] = ()
    if "min_plausibility" in space.names:
        plausibilities = space.spread("min_plausibility", PLAUSIBILITIES)
    numbers, zooms = (np.unique(entries[:, column]).astype(np.float64) for column in columns)
    spent, tables = 0, []
    for index in indices:
        source = frames.source(index)
        values = evaluate_gazes(source, objective, gazes, budgets, plausibilities=plausibilities)
        tables.append(values.reward.reshape(len(budgets), len(numbers), len(zooms)))
        spent += values.n_evaluations
        if on_spent is not None:
            on_spent(spent)
        if spent + spent / len(tables) > most:
            break
    return GazeRewards(
        list(indices[: len(tables)]), budgets, (numbers, zooms), np.stack(tables), spent
    )


def fit_gaze(
    frames: BankFrames,
    known: GazeRewards,
    normalisation: Normalisation,
    *,
    centre: Array,
    widths: Sequence[int] = (64, 64),
    seed: int = 0,
) -> PolicyNetwork:
    """Fit a policy that chooses the gaze by frame and budget, and nothing else.

    Parameters
    ----------
    frames : BankFrames
        The training bank's.
    known : GazeRewards
    normalisation : Normalisation
        Of the whole observation.
    centre : (n,) array
        The action whose other entries the policy answers whatever it sees.
    widths : sequence of int
        Of the hidden layers.
    seed : int

    Returns
    -------
    PolicyNetwork
        It does not react to the last frame: the best gaze does not depend on that.
    """
    builder, (numbers, zooms) = frames.builder, known.axes
    columns = [builder.task.space.names.index(name) for name in GAZE]
    n_frames, n_budgets = known.rewards.shape[:2]
    raw = np.stack(
        [builder.build(frames.part(i), budget) for i in known.indices for budget in known.budgets]
    )
    last = [builder.schema[name].slice for name in LAST_FRAME]
    seen = normalisation(raw)
    for block in last:
        seen[:, block] = 0.0
    observations = torch.as_tensor(seen)
    sensed = observations.std(dim=0)
    sensed[builder.schema["budget"].slice] = 0.0
    rewards = torch.as_tensor(known.rewards.reshape(-1, len(numbers), len(zooms))).float()
    axes = (torch.as_tensor(numbers).float(), torch.as_tensor(zooms).float())

    # begin at the best single gaze for each budget
    mean = known.rewards.mean(axis=0).reshape(n_budgets, -1)
    best_number, best_zoom = np.divmod(mean.argmax(axis=1), len(zooms))
    single = np.stack([numbers[best_number], zooms[best_zoom]], axis=1)
    start = torch.as_tensor(np.tile(single, (n_frames, 1))).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _perceptron(observations.shape[1], widths)
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
        network.eval()
        for _ in range(START_STEPS):
            chosen = torch.randint(len(observations), (BATCH,), generator=generator)
            _descend(
                optimiser,
                nn.functional.mse_loss(network(observations[chosen]), start[chosen]),
            )

        # then follow the rewards, with less and less noise
        network.train()
        for step in range(STEPS):
            left = 1 - step / STEPS
            for group in optimiser.param_groups:
                group["lr"] = RATE * (0.1 + 0.9 * left)
            chosen = torch.randint(len(observations), (BATCH,), generator=generator)
            blurred = observations[chosen] + NOISE * sensed * torch.randn(
                (BATCH, len(sensed)), generator=generator
            )
            actions = network(blurred)
            spread = LAST_SPREAD + (FIRST_SPREAD - LAST_SPREAD) * left
            noise = torch.randn((DRAWS, *actions.shape), generator=generator)
            values = torch.stack(
                [_interpolate(rewards[chosen], actions + spread * draw, axes) for draw in noise]
            )
            outside = (actions.abs() - 1).clamp(min=0).square().mean()
            _descend(optimiser, 0.1 * outside - values.mean())
    return _as_policy(network, normalisation, columns, np.asarray(centre), last)


def _perceptron(n_inputs: int, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(n_inputs, width), nn.Tanh(), nn.Dropout(DROPOUT)]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, len(GAZE)))


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _interpolate(tables: Tensor, actions: Tensor, axes: tuple[Tensor, Tensor]) -> Tensor:
    """Values (K,) of tables (K, N, Z) at actions (K, 2), bilinear and constant beyond the ends."""
    rows = torch.arange(len(tables))
    (low, high, share), (left, right, part) = (
        _between(axis, actions[:, k]) for k, axis in enumerate(axes)
    )
    near = tables[rows, low, left] * (1 - part) + tables[rows, low, right] * part
    far = tables[rows, high, left] * (1 - part) + tables[rows, high, right] * part
    return near * (1 - share) + far * share


def _between(axis: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours on an axis of each value, and how far it lies from the lower to the upper one."""
    last = len(axis) - 1
    low = (torch.searchsorted(axis, values.detach().contiguous()) - 1).clamp(0, max(last - 1, 0))
    high = (low + 1).clamp(max=last)
    share = (values - axis[low]) / (axis[high] - axis[low]).clamp(min=math.ulp(1.0))
    return low, high, share.clamp(0, 1)


def _as_policy(
    network: nn.Sequential,
    normalisation: Normalisation,
    columns: Sequence[int],
    centre: NDArray[Any],
    last: Sequence[slice],
) -> PolicyNetwork:
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    weights = [layer.weight.detach().numpy().copy() for layer in layers]
    biases = [layer.bias.detach().numpy().copy() for layer in layers]
    for block in last:
        weights[0][:, block] = 0.0
    answer = np.zeros((len(centre), weights[-1].shape[1]), dtype=np.float32)
    answer[columns] = weights[-1]
    offset = centre.astype(np.float32)
    offset[columns] = biases[-1]
    return PolicyNetwork(
        normalisation,
        (*weights[:-1], answer),
        (*biases[:-1], offset),
        activation="tanh",
        squash=False,
        centre=np.zeros(len(centre), dtype=np.float32),
        span=1.0,
    )
