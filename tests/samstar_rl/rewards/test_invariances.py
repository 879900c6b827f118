"""What physics demands: a score does not depend on how the frame lies or on the unit of length.

Tolerance under flips and turns by 90 degrees: 0.02 of the score:
estimates of the foreground work on a shrunk frame, whose pixels fall differently after a turn.
Under a consistent change of pixel size: 1e-9.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from samstar_rl.foreground.sample import DENSITY, LENGTH, Quantities
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.rewards import TARGETS, PhysicsReward, Score
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.simulator import SimulatedStream
from samstar_rl.tasks.shipped import task_names
from samstar_rl.tasks.task import Task, load_task

TOLERANCE = 0.02
TURNS = {
    "mirrored": np.fliplr,
    "upside down": np.flipud,
    "turned": np.rot90,
    "transposed": np.transpose,
}


@cache
def labelled_frame(task: str) -> LabelledFrame:
    with SimulatedStream(task, seed=700_002, size=256) as stream:
        return stream.frame_at(10)


def part_of(labels: np.ndarray) -> np.ndarray:
    """Truth with every third particle left out, so that no term stands at its best."""
    return np.where(labels % 3 == 0, 0, labels)


def score(task: Task, frame: Frame, labels: np.ndarray) -> Score:
    return PhysicsReward(task).score(Segmentation.from_labels(labels, frame), frame)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", task_names())
def test_flips_and_turns_do_not_change_the_score(name: str, turn: str) -> None:
    labelled, task = labelled_frame(name), load_task(name)
    labels = part_of(labelled.truth)
    frame = labelled.frame
    turned = Frame(np.ascontiguousarray(TURNS[turn](frame.image)), frame.pixel_size_nm)
    plain = score(task, frame, labels)
    other = score(task, turned, np.ascontiguousarray(TURNS[turn](labels)))
    assert other.total == pytest.approx(plain.total, abs=TOLERANCE)


@pytest.mark.parametrize("name", task_names())
def test_the_unit_of_length_does_not_change_the_score(name: str) -> None:
    """The same pixels said to be 3.7 times as large, and every length of the task with them."""
    labelled, task = labelled_frame(name), load_task(name)
    factor = 3.7 if task.length_unit == "nm" else 1.0
    larger = Frame(labelled.frame.image, 3.7 * (labelled.frame.pixel_size_nm or 1.0))
    labels = part_of(labelled.truth)
    plain = score(task, labelled.frame, labels)
    other = score(scaled(task, factor), larger, labels)
    assert other.total == pytest.approx(plain.total, abs=1e-9)
    assert other.terms == pytest.approx(plain.terms, abs=1e-9)


def scaled(task: Task, factor: float) -> Task:
    """The task with every length of its targets multiplied, every density divided by the square."""
    changes: dict[str, dict[str, Any]] = {"sample": lengths(task.sample, factor)}
    changes |= {name: lengths(target, factor) for name, target in task.terms.items()}
    return task.with_targets(**{name: fields for name, fields in changes.items() if fields})


def lengths(target: Quantities, factor: float) -> dict[str, Any]:
    other = target.scaled(factor).model_dump(mode="json")
    kind = type(target)
    return {
        field: other[field]
        for field in kind.model_fields
        if kind.dimension_of(field) in (LENGTH, DENSITY) and other[field] is not None
    }


def test_every_target_can_be_scaled() -> None:
    assert all(issubclass(kind, Quantities) for kind in TARGETS.values())
