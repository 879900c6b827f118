"""Masks and scores of frozen proposals: recorded once, whatever the code behind them becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from frozen_proposals import frozen_choices, frozen_frame, frozen_maps, frozen_proposals

from samstar_rl.foreground.network import LazyMaps
from samstar_rl.rewards import PhysicsReward
from samstar_rl.segmentation.filters import segment
from samstar_rl.tasks.task import load_task

RECORDED = json.loads(Path(__file__).with_name("frozen_scores.json").read_text())


@pytest.fixture(scope="module")
def frozen():
    frame, truth = frozen_frame()
    LazyMaps.of(frame).maps = frozen_maps(truth)
    return frame, frozen_proposals(frame, truth)


@pytest.mark.parametrize("name", RECORDED)
def test_masks_and_scores_are_those_recorded(frozen, name):
    frame, proposals = frozen
    task = load_task(name)
    reward, previous = PhysicsReward(task), None
    gauge = reward.gauge(frame)
    for settings, recorded in zip(frozen_choices(task), RECORDED[name], strict=True):
        found = segment(proposals, settings, **gauge)
        assert found.kept.tolist() == recorded["kept"]
        score = reward.score(found, frame, previous)
        assert score.terms == pytest.approx(recorded["terms"], abs=1e-9)
        assert score.total == pytest.approx(recorded["total"], abs=1e-9)
        previous = found
