"""Fronts: what dominates is left out, points are picked as asked."""

from __future__ import annotations

import numpy as np
import pytest

from samstar_rl.agents.search.over_frames import OverFrames
from samstar_rl.agents.search.pareto import (
    ParetoFront,
    PickError,
    check_pick,
    checked_terms,
    knee,
    pick,
)
from samstar_rl.agents.search.static import shrunk
from samstar_rl.settings import Settings
from samstar_rl.tasks.task import load_task

TASK = load_task("overlap")


def front(values: list[tuple[float, float, float]]) -> ParetoFront:
    """Points of (score, size, shape), the best score first."""
    points = tuple(
        OverFrames(
            Settings(pred_iou_thresh=0.1 * k),
            score,
            score,
            {"size": size, "shape": shape},
            np.array([score]),
        )
        for k, (score, size, shape) in enumerate(values)
    )
    terms = np.array([[size, shape] for _, size, shape in values])
    return ParetoFront(("size", "shape"), points, terms, 10)


FRONT = front([(0.8, 0.9, 0.2), (0.75, 0.7, 0.7), (0.6, 0.1, 0.9)])


def test_picking_by_weights_knee_and_floors() -> None:
    assert pick(FRONT) == pick(FRONT, "weights") == 0
    assert pick(FRONT, "knee") == 1
    assert pick(FRONT, "floor:shape=0.5") == 1
    assert pick(FRONT, "floor:shape=0.8") == 2
    assert pick(FRONT, "floor:shape=0.5, size=0.6") == 1
    with pytest.raises(PickError, match=r"no point .* size=0\.95; at most: size 0\.900"):
        pick(FRONT, "floor:size=0.95")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("elbow", "weights, knee or floor"),
        ("floor:size", r"TERM=0\.8"),
        ("floor:sise=0.5", "no term 'sise'"),
    ],
)
def test_what_is_not_understood_is_said_before_the_work(how: str, message: str) -> None:
    with pytest.raises(PickError, match=message):
        check_pick(how, TASK)


def test_terms_to_search_over() -> None:
    weightiest = checked_terms(TASK, [])
    assert len(weightiest) == 3
    rest = [TASK.terms[name].weight for name in TASK.terms if name not in weightiest]
    assert min(TASK.terms[name].weight for name in weightiest) >= max(rest)
    with pytest.raises(ValueError, match="no term 'order'"):
        checked_terms(TASK, ["size", "order"])
    with pytest.raises(ValueError, match="two or more different"):
        checked_terms(TASK, ["size", "size"])


def test_scores_are_drawn_towards_the_mean_over_the_other_frames() -> None:
    rewards = np.array([[1.0, 0.0, 0.0], [0.6, 0.6, 0.6]])
    np.testing.assert_allclose(shrunk(rewards, 0.0), rewards)
    np.testing.assert_allclose(shrunk(rewards, 1.0)[0], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(shrunk(rewards, 1.0)[1], 0.6)
    assert rewards.argmax(axis=0)[0] == 0 and shrunk(rewards).argmax(axis=0)[0] == 1
    np.testing.assert_allclose(shrunk(rewards[:, :1]), rewards[:, :1])


def test_knee_of_a_bent_and_of_a_flat_front() -> None:
    assert knee(np.array([[0, 1.0], [0.8, 0.9], [1.0, 0]])) == 1
    assert knee(np.array([[0.5, 0.5]])) == 0
