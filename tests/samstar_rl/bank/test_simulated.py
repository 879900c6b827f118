"""Which changes of a task ask for another bank, and which do not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from samstar_rl.bank.simulated import _key, with_ladder
from samstar_rl.tasks.task import load_task

ENGINE = SimpleNamespace(sha256="5" * 64, name="tiny", arithmetic="exact", precision="float32")
PARAMETERS = {"n_streams": 2, "n_frames": 2, "size_px": 64, "drift": 1.0, "first_seed": 0}


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


def test_score_and_static_settings_do_not_touch_the_bank(task):
    key = _key(task, ENGINE, PARAMETERS)
    other = task.with_targets(contrast={"weight": 3.0}, overlap={"allowed_overlap": 0.3})
    assert _key(other, ENGINE, PARAMETERS) == key
    assert (
        _key(task.with_static(task.static.replace(pred_iou_thresh=0.1)), ENGINE, PARAMETERS) == key
    )


def test_what_decides_about_proposals_does(task):
    keys = {
        _key(task, ENGINE, PARAMETERS),
        _key(with_ladder(task, (8, 16)), ENGINE, PARAMETERS),
        _key(load_task("overlap"), ENGINE, PARAMETERS),
        _key(task, SimpleNamespace(**{**vars(ENGINE), "sha256": "6" * 64}), PARAMETERS),
        _key(task, ENGINE, {**PARAMETERS, "n_frames": 3}),
    }
    assert len(keys) == 5
