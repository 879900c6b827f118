from __future__ import annotations

import json

import numpy as np
import pytest
from synthetic_bank import SyntheticBank

from samstar_rl.agents.studies.headroom import (
    BY_SCORE,
    BY_TRUTH,
    CROSS_VALIDATED,
    FROZEN,
    HINDSIGHT,
    HINDSIGHT_TRUTH,
    HeadroomPlan,
    f1_of_parts,
    gain_name,
    measure_headroom,
)
from samstar_rl.agents.studies.headroom_report import draw_headroom, verdict
from samstar_rl.frames.frame import Frame
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.metrics import Truth
from samstar_rl.tuning.objective import Objective

PLAN = HeadroomPlan(n_settings=40, n_refined=20)


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


@pytest.fixture(scope="module")
def measured(task):
    bank = SyntheticBank(task, n_streams=3, n_frames=3)
    return measure_headroom(bank, Objective(task), PLAN, is_stream=True)


def test_who_sees_the_truth_is_never_worse(measured):
    levels = {name: estimate.value for name, estimate in measured.levels.items()}
    assert set(levels) == {FROZEN, HINDSIGHT, HINDSIGHT_TRUTH, BY_SCORE, BY_TRUTH}
    assert levels[BY_TRUTH] == max(levels.values())
    assert levels[HINDSIGHT_TRUTH] >= levels[HINDSIGHT]
    assert measured.scores[BY_SCORE].value >= measured.scores[HINDSIGHT].value - 0.02


def test_gains_are_differences_of_levels(measured):
    for first, second in ((BY_SCORE, FROZEN), (BY_SCORE, HINDSIGHT), (BY_TRUTH, HINDSIGHT)):
        gain = measured.gains[gain_name(first, second)]
        difference = measured.levels[first].value - measured.levels[second].value
        assert gain.value == pytest.approx(difference)
        assert gain.low <= gain.value <= gain.high
    assert gain_name(CROSS_VALIDATED, HINDSIGHT) in measured.gains


def test_each_free_setting_is_adapted_alone(measured, task):
    assert tuple(measured.settings) == task.space.names
    assert all(by_truth.value >= 0 for _, by_truth in measured.settings.values())
    assert all(one.value >= other.value for other, one in measured.settings.values())


def test_single_images_are_one_set(task):
    bank = SyntheticBank(task, n_streams=4, n_frames=1)
    measured = measure_headroom(bank, Objective(task), PLAN, is_stream=False, each_setting=False)
    assert FROZEN not in measured.levels and not measured.settings
    assert measured.n_frames == 4
    assert len(verdict(measured)) == 2


def test_the_verdict_and_the_figure_come_of_it(measured, tmp_path):
    sentences = verdict(measured)
    assert len(sentences) >= 4 and "frozen" in sentences[0]
    draw_headroom(measured, {0.0: measured, 1.0: measured}).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    json.dumps(measured.to_dict(), allow_nan=False)


def test_what_cannot_be_said_is_refused(task):
    with pytest.raises(ValueError, match="labels"):
        measure_headroom(
            SyntheticBank(task, n_streams=2, n_frames=2, truth=False), Objective(task), PLAN,
            is_stream=True,
        )  # fmt: skip
    with pytest.raises(ValueError, match="at least 2 streams"):
        measure_headroom(
            SyntheticBank(task, n_streams=1, n_frames=2), Objective(task), PLAN, is_stream=True
        )


def test_masks_of_the_other_half_are_no_fault():
    labels = np.zeros((20, 40), dtype=np.int32)
    labels[2:8, 2:8], labels[2:8, 22:28] = 1, 2
    frame = Frame(np.zeros((20, 40), dtype=np.float32), id="two")
    stray = np.zeros((20, 40), dtype=bool)
    stray[12:18, 12:18] = True
    halvings = np.array([[True, False]])
    found_first = Segmentation.from_masks([labels == 1], frame)
    assert f1_of_parts(found_first, Truth(labels), halvings).tolist() == [[1.0, 0.0]]
    both_and_stray = Segmentation.from_masks([labels == 1, labels == 2, stray], frame)
    # 2 TP / (masks + particles): the stray mask counts one half on either side
    assert f1_of_parts(both_and_stray, Truth(labels), halvings)[0] == pytest.approx([0.8, 0.8])
    nothing = Segmentation.from_masks([], frame)
    assert f1_of_parts(nothing, Truth(labels), halvings).tolist() == [[0.0, 0.0]]
