"""Masks and scores of frozen proposals: recorded once, whatever the code behind them becomes.

The network of `plausibility` is part of the score: where it is fitted anew, they are recorded anew,
by ``python tests/samstar_rl/rewards/test_frozen.py``, and the commit says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from frozen_proposals import frozen_choices, frozen_frame, frozen_maps, frozen_proposals

from samstar_rl.foreground.network import LazyMaps
from samstar_rl.rewards import PhysicsReward
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.tasks.task import load_task

RECORD = Path(__file__).with_name("frozen_scores.json")
RECORDED = json.loads(RECORD.read_text())


def freeze():
    frame, truth = frozen_frame()
    LazyMaps.of(frame).maps = frozen_maps(truth)
    return frame, frozen_proposals(frame, truth)


def observe(frame, proposals, name):
    """What a task keeps and scores of each frozen choice of settings."""
    task = load_task(name)
    reward, previous = PhysicsReward(task), None
    gauge = reward.gauge(frame)
    for settings in frozen_choices(task):
        found = filter_proposals(proposals, settings, **gauge)
        score = reward.score(found, frame, previous)
        yield {"kept": found.kept.tolist(), "total": score.total, "terms": score.terms}
        previous = found


@pytest.fixture(scope="module")
def frozen():
    return freeze()


@pytest.mark.parametrize("name", RECORDED)
def test_masks_and_scores_are_those_recorded(frozen, name):
    for observed, recorded in zip(observe(*frozen, name), RECORDED[name], strict=True):
        assert observed["kept"] == recorded["kept"]
        # convolutions round differently from machine to machine
        assert observed["terms"] == pytest.approx(recorded["terms"], abs=1e-5)
        assert observed["total"] == pytest.approx(recorded["total"], abs=1e-5)


if __name__ == "__main__":
    observed = {name: list(observe(*freeze(), name)) for name in RECORDED}
    RECORD.write_text(json.dumps(observed, sort_keys=True, separators=(",", ":")) + "\n")
