"""What evaluations of several gazes cost a frame, and what a budget leaves of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from samstar_rl.bank.bank import Bank
from samstar_rl.bank.build import build_bank
from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.settings import PromptSettings, Settings
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameContext, FrameEvaluator

ALL = Settings(pred_iou_thresh=0.0, stability_score_thresh=0.0, n_prompts=24)


@pytest.fixture(scope="module")
def engine():
    return ProposalEngine(load_sam("tiny"))


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    image = rng.normal(0.3, 0.02, (128, 128)).astype(np.float32)
    for x, y in ((30, 40), (90, 30), (60, 100)):
        image[y - 5 : y + 5, x - 5 : x + 5] += 0.4
    return Frame(image, id="squares")


@pytest.fixture(scope="module")
def bank(engine, frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("account") / "bank"
    prompts = [PromptSettings(n_prompts=24, zoom=zoom) for zoom in (1.0, 2.0)]
    return Bank(build_bank([[frame]], folder, engine, prompts).path, cached_proposals=2)


@pytest.fixture(scope="module")
def objective():
    return Objective(load_task("particles"))


def test_a_zoom_is_charged_once_and_for_its_longest_prefix(bank, objective, engine):
    evaluator = FrameEvaluator(BankFrame(bank, 0), objective)
    view = engine.view_cost
    for n_prompts, threshold in ((10, 0.0), (20, 0.0), (20, 0.3), (5, 0.0)):
        evaluator(ALL.replace(n_prompts=n_prompts, pred_iou_thresh=threshold))
    assert evaluator.expense.cost == view + 20
    assert evaluator.expense.n_prompts_decoded == 20
    evaluation = evaluator(ALL.replace(zoom=2.0, n_prompts=8))
    alone = evaluation.segmentation.proposals.cost
    assert evaluator.expense.cost == view + 20 + (alone - view)
    assert evaluator.expense.n_evaluations == 5


def test_all_zooms_share_a_budget(bank, objective, engine):
    limit = engine.view_cost + 15
    evaluator = FrameEvaluator(BankFrame(bank, 0), objective, cost_limit=limit)
    context = FrameContext(evaluator)
    assert context.budget == limit
    first = evaluator(ALL.replace(n_prompts=10)).segmentation.proposals
    assert first.effort.stopped_by == "n_prompts"
    # five prompts are left, a tile's view costs more
    second = evaluator(ALL.replace(zoom=2.0)).segmentation.proposals
    assert second.effort.stopped_by == "budget"
    assert evaluator.expense.cost <= limit
    third = evaluator(ALL.replace(n_prompts=20)).segmentation.proposals
    assert third.effort.stopped_by == "budget"
    assert first.n_prompts_decoded < third.n_prompts_decoded < 20
    assert evaluator.expense.cost <= limit
    assert FrameContext(FrameEvaluator(BankFrame(bank, 0), objective)).budget == math.inf


def test_a_prefix_is_filtered_as_if_nothing_had_followed(bank, engine):
    for limit in (engine.view_cost + 9, 2 * engine.view_cost + 9, None):
        for settings in (ALL, ALL.replace(zoom=2.0, n_prompts=15, box_nms_thresh=0.3)):
            prefix = bank.proposals(0, settings.prompt, limit)
            alone = replace(prefix)  # forgets what it shares with the record
            found, expected = filter_proposals(prefix, settings), filter_proposals(alone, settings)
            np.testing.assert_array_equal(found.kept, expected.kept)
            assert len(found.kept) or prefix.n_prompts_decoded == 0


def test_prefixes_leave_what_was_recorded_open(bank):
    record = bank.proposals(0, bank.prompts[1])
    for n_prompts in range(4, 12):
        bank.proposals(0, PromptSettings(n_prompts=n_prompts, zoom=1.0))
    assert bank.proposals(0, bank.prompts[1]) is record
