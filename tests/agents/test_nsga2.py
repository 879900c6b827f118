from __future__ import annotations

import numpy as np
import pytest
from synthetic_bank import SyntheticBank

from samstar_rl.agents.search.ask_tell import non_dominated
from samstar_rl.agents.tuners.search import Nsga2Tuner
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import StaticTuner, run_tuner


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


@pytest.fixture(scope="module")
def tuned(task):
    bank = SyntheticBank(task, n_streams=1, n_frames=2)
    tuner = Nsga2Tuner(task, n_evaluations=90, seed=1)
    sources = [BankFrame(bank, index) for index in range(2)]
    frames = list(run_tuner(tuner, sources, Objective(task)))
    static = list(run_tuner(StaticTuner(task.static), sources, Objective(task)))
    return tuner, frames, static


def test_it_spends_its_budget_and_is_no_worse_than_where_it_starts(tuned):
    _, frames, static = tuned
    for one, other in zip(frames, static, strict=True):
        assert 1 < one.expense.n_evaluations <= 90
        assert one.evaluation.reward >= other.evaluation.reward


def test_what_it_takes_lies_on_the_front_and_has_the_highest_reward(tuned):
    tuner, frames, _ = tuned
    for front, frame in zip(tuner.fronts, frames, strict=True):
        assert front.values.shape == (len(front.rewards), 2)
        assert front.optimal[front.chosen]
        assert front.rewards[front.chosen] == pytest.approx(front.rewards[front.optimal].max())
        assert frame.evaluation.reward == pytest.approx(front.rewards[front.chosen])


def test_the_front_is_what_nothing_dominates():
    points = np.array([[1.0, 0.0], [0.0, 1.0], [0.4, 0.4], [0.3, 0.4], [0.4, 0.4]])
    assert non_dominated(points).tolist() == [True, True, True, False, True]
