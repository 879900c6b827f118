"""Which changes of a task ask for another bank, and which do not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from samstar_rl.bank.simulated import SimulatedStreams, _key, with_ladder
from samstar_rl.tasks.task import load_task

ENGINE = SimpleNamespace(
    sha256="5" * 64, name="tiny", arithmetic="exact", precision="float32", view_cost=36.0
)
STREAMS = SimulatedStreams(2, 2, size_px=64)


@pytest.fixture(scope="module")
def task():
    return load_task("particles")


def test_score_and_static_settings_do_not_touch_the_bank(task):
    key = _key(task, ENGINE, STREAMS)
    other = task.with_targets(contrast={"weight": 3.0}, overlap={"allowed_overlap": 0.3})
    assert _key(other, ENGINE, STREAMS) == key
    assert _key(task.with_static(task.static.replace(pred_iou_thresh=0.1)), ENGINE, STREAMS) == key


def test_what_decides_about_proposals_does(task):
    keys = {
        _key(task, ENGINE, STREAMS),
        _key(with_ladder(task, (8, 16)), ENGINE, STREAMS),
        _key(load_task("overlap"), ENGINE, STREAMS),
        _key(task, SimpleNamespace(**{**vars(ENGINE), "sha256": "6" * 64}), STREAMS),
        _key(task, SimpleNamespace(**{**vars(ENGINE), "view_cost": 21.0}), STREAMS),
        _key(task, ENGINE, replace(STREAMS, n_frames=3)),
    }
    assert len(keys) == 6
