from __future__ import annotations

from types import SimpleNamespace

import pytest

from samstar_rl.rewards import Score
from samstar_rl.settings import Settings
from samstar_rl.streaming.supervision.guard import Guard, GuardRules, out_of_bounds
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.objective import Objective

TASK = load_task("particles")
GOOD = TASK.static.replace(pred_iou_thresh=0.5)


class Policy:
    """Answers what it is told to, or raises it."""

    name = "policy"
    searches = False

    def __init__(self, answer: Settings | Exception = GOOD) -> None:
        self.answer = answer

    def reset(self) -> None:
        pass

    def propose(self, context: object) -> Settings:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Context:
    """Knows what settings score, and counts who asked."""

    def __init__(self, policy: float, static: float = 0.5) -> None:
        self.scores = {GOOD: policy, TASK.static: static}
        self.n_evaluations = 0

    def evaluate(self, settings: Settings) -> Score:
        self.n_evaluations += 1
        return Score(self.scores[settings], {})


def make_guard(policy: Policy | None = None, **options: object) -> Guard:
    rules = GuardRules(check_every=2, patience=2, margin=0.02, max_distance=3.0)
    return Guard(policy or Policy(), Objective(TASK), rules, **options)  # type: ignore[arg-type]


def run(guard: Guard, n: int, **scores: float) -> list[str]:
    chosen = []
    for _ in range(n):
        settings = guard.propose(Context(**scores))  # type: ignore[arg-type]
        assert settings == (TASK.static if guard.name != "policy" else GOOD)
        chosen.append(guard.name)
    return chosen


def test_a_good_policy_is_left_alone():
    guard = make_guard()
    assert run(guard, 10, policy=0.9) == ["policy"] * 10
    assert guard.take_notes() == []


def test_a_policy_that_loses_twice_in_a_row_is_replaced_and_said_so():
    guard = make_guard()
    assert run(guard, 6, policy=0.3) == ["static", "policy", "static", "static", "static", "static"]
    assert guard.fallen_back
    assert any("fell back" in note and "0.300" in note for note in guard.take_notes())


def test_a_difference_within_the_margin_does_not_count():
    guard = make_guard()
    run(guard, 20, policy=0.49)
    assert not guard.fallen_back


def test_a_policy_that_recovers_is_believed_again():
    guard = make_guard()
    run(guard, 4, policy=0.3)
    assert guard.fallen_back
    guard.take_notes()
    run(guard, 4, policy=0.9)
    assert not guard.fallen_back
    assert any("believed again" in note for note in guard.take_notes())
    assert run(guard, 2, policy=0.9) == ["policy", "policy"]


def test_only_a_sample_of_frames_is_evaluated_twice():
    guard = make_guard()
    contexts = [Context(0.9) for _ in range(10)]
    for context in contexts:
        guard.propose(context)  # type: ignore[arg-type]
    assert [context.n_evaluations for context in contexts] == [2, 0] * 5


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (RuntimeError("NaN in the network"), "NaN in the network"),
        (GOOD.replace(pred_iou_thresh=0.99), "pred_iou_thresh = 0.99, which the task bounds"),
        (GOOD.replace(crop_nms_thresh=0.1), "crop_nms_thresh = 0.1, which the task fixes"),
    ],
)
def test_an_answer_that_cannot_be_believed_costs_the_policy_this_frame(answer, note):
    guard = make_guard(Policy(answer))
    assert run(guard, 1, policy=0.9) == ["static"]
    assert any(note in text for text in guard.take_notes())
    assert guard.take_notes() == []


@pytest.mark.parametrize("distance", [3.5, float("nan"), float("inf")])
def test_a_frame_unlike_the_training_gets_the_static_settings(distance):
    guard = make_guard(distance=lambda context: distance)
    assert run(guard, 1, policy=0.9) == ["static"]
    assert "unlike" in guard.take_notes()[0]


def test_bounds_are_the_tasks():
    assert out_of_bounds(TASK.static, TASK) == ""
    assert out_of_bounds(GOOD, TASK) == ""


@pytest.mark.parametrize(("found_score", "taken"), [(0.8, True), (0.2, False)])
def test_a_retune_is_taken_over_only_if_it_scores_better(found_score, taken, monkeypatch):
    found = TASK.static.replace(pred_iou_thresh=0.33)
    seen: list[int] = []

    def retune(frames):
        seen.append(len(frames))
        return found

    def mean_score(self, settings, frames):
        return found_score if settings == found else 0.5

    monkeypatch.setattr(Guard, "_mean_score", mean_score)
    guard = make_guard(retune=retune)
    for _ in range(4):
        guard.observe(SimpleNamespace(source=object()))  # type: ignore[arg-type]
    run(guard, 3, policy=0.3)
    guard.wait_for_retune(10)
    assert seen == [2]
    context = Context(0.3)
    context.scores[found] = 0.8
    assert guard.propose(context) == (found if taken else TASK.static)  # type: ignore[arg-type]
    assert any("took over" in note for note in guard.take_notes()) is taken


def test_a_retune_that_breaks_is_said_and_changes_nothing():
    def retune(frames):
        raise RuntimeError("no memory for the search")

    guard = make_guard(retune=retune)
    for _ in range(4):
        guard.observe(SimpleNamespace(source=object()))  # type: ignore[arg-type]
    run(guard, 3, policy=0.3)
    guard.wait_for_retune(10)
    guard.propose(Context(0.3))  # type: ignore[arg-type]
    assert any("no memory for the search" in note for note in guard.take_notes())
    assert guard.fallback == TASK.static
