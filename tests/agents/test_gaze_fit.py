from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic_bank import SyntheticBank

from samstar_rl.agents.learning.gaze_fit import (
    PLAUSIBILITIES,
    GazeRewards,
    _interpolate,
    evaluate_all_gazes,
    fit_gaze,
)
from samstar_rl.agents.learning.normalisation import fit_normalisation
from samstar_rl.agents.search.gazes import evaluate_gazes, gazes_of
from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.objective import Objective


@pytest.fixture(scope="module")
def frames():
    task = load_task("particles")
    return BankFrames(SyntheticBank(task, n_streams=3, n_frames=3), task)


def test_every_gaze_is_evaluated_at_every_budget(frames):
    task = frames.builder.task
    objective = Objective(task)
    known = evaluate_all_gazes(frames, [4, 1], objective, filters=task.static, most=10_000)
    numbers, zooms = known.axes
    assert known.rewards.shape == (2, len(known.budgets), len(numbers), len(zooms))
    assert known.indices == [4, 1] and known.n_evaluations > 0
    gazes = gazes_of(task, len(numbers))
    source, values = frames.source(1), task.space.spread("min_plausibility", PLAUSIBILITIES)
    alone, filtered = (
        evaluate_gazes(source, objective, gazes, known.budgets, plausibilities=tried)
        for tried in ((), values)
    )
    np.testing.assert_allclose(known.rewards[1].reshape(alone.reward.shape), filtered.reward)
    assert (filtered.reward >= alone.reward).all() and (filtered.reward > alone.reward).any()
    # one choice of filters may be the gaze's own
    least, most = (count * alone.n_evaluations for count in (len(values), len(values) + 1))
    assert least <= filtered.n_evaluations <= most
    for gaze, place in zip(gazes, np.ndindex(len(numbers), len(zooms)), strict=True):
        entries = dict(zip(task.space.names, frames.builder.encode(gaze), strict=True))
        assert entries["n_prompts"] == pytest.approx(numbers[place[0]])
        assert entries["zoom"] == pytest.approx(zooms[place[1]])


def test_no_further_frame_is_looked_at_when_the_evaluations_are_spent(frames):
    task = frames.builder.task
    known = evaluate_all_gazes(frames, range(9), Objective(task), filters=task.static, most=1)
    assert known.indices == [0]


def test_values_between_gazes_are_bilinear_and_constant_beyond_the_ends():
    axes = (torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-1.0, 1.0]))
    table = torch.tensor([[[0.0, 1.0], [2.0, 3.0], [8.0, 9.0]]])
    for action, value in [
        ((-1, -1), 0),
        ((0, 1), 3),
        ((0.5, 0), 5.5),
        ((-0.5, -1), 1),
        ((3, 3), 9),
    ]:
        found = _interpolate(table, torch.tensor([action], dtype=torch.float32), axes)
        assert found.item() == pytest.approx(value)


def test_the_policy_takes_the_gaze_that_pays_on_each_frame_at_each_budget(frames):
    task = frames.builder.task
    numbers, zooms = np.linspace(-1, 1, 7), np.linspace(-1, 1, 4)
    indices, budgets = list(range(9)), [60.0, 600.0]
    # close looks pay on every other frame, many prompts where there is time
    wanted = [[(-0.5 + b, 1.0 if index % 2 else -1.0) for b in range(2)] for index in indices]
    rewards = np.array(
        [
            [-((numbers[:, None] - n) ** 2) - (zooms - z) ** 2 for n, z in of_frame]
            for of_frame in wanted
        ]
    )
    known = GazeRewards(indices, budgets, (numbers, zooms), rewards, 0)
    parts = [frames.part(index) for index in indices]
    normalisation = fit_normalisation(frames.builder.schema, parts)
    centre = frames.builder.encode(task.static)
    network = fit_gaze(frames, known, normalisation, centre=centre)
    moved = [task.space.names.index(name) for name in ("n_prompts", "zoom")]
    for index, of_frame in zip(indices, wanted, strict=True):
        for budget, gaze in zip(budgets, of_frame, strict=True):
            action = network(frames.builder.build(frames.part(index), budget))
            np.testing.assert_allclose(action[moved], gaze, atol=0.35)
            np.testing.assert_allclose(np.delete(action, moved), np.delete(centre, moved))
    again = fit_gaze(frames, known, normalisation, centre=centre)
    for one, other in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
