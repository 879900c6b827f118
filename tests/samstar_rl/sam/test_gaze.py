"""Looking prompt by prompt: fewer prompts are the first ones of more, and budgets hold."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from samstar_rl.bank.bank import BankError
from samstar_rl.bank.build import build_bank
from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.gaze import SeenMasks
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.segmentation.proposals import Floor, ProposalsError
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import PromptSettings, Settings
from samstar_rl.truth.metrics import f1_at

MASKS = Settings(pred_iou_thresh=0.7, stability_score_thresh=0.8, n_prompts=48, zoom=2)


@pytest.fixture(scope="module")
def engine():
    return ProposalEngine(load_sam("tiny"))


def draw_discs(copies=1, seed=0):
    """36 discs of 20 px in 512 x 512 px, and copies of it side by side, with labels."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.25, 0.03, (512, 512)).astype(np.float32)
    labels = np.zeros((512, 512), dtype=np.int32)
    for k in range(36):
        x, y = (int(40 + 84 * place + rng.integers(-12, 12)) for place in (k % 6, k // 6))
        cv2.circle(labels, (x, y), 10, k + 1, -1)
    image[labels > 0] += 0.5
    image = cv2.GaussianBlur(image, (0, 0), 1)
    numbers = np.arange(copies**2).reshape(copies, copies) * 36
    offsets = np.kron(numbers, np.ones((512, 512), dtype=np.int32))
    tiled = np.tile(labels, (copies, copies))
    return np.tile(image, (copies, copies)), np.where(tiled > 0, tiled + offsets, 0)


@pytest.fixture(scope="module")
def frame():
    image, _ = draw_discs()
    return Frame(image[:256, :320], id="discs")


@pytest.fixture(scope="module")
def proposals(engine, frame):
    return engine.propose(frame, MASKS.prompt)


def assert_same(one, other):
    # a batch that is cut short rounds differently
    np.testing.assert_allclose(one.iou_pred, other.iou_pred, atol=1e-5)
    np.testing.assert_array_equal(one.point_xy, other.point_xy)
    np.testing.assert_array_equal(one.prompt_index, other.prompt_index)
    np.testing.assert_allclose(one.box_xyxy, other.box_xyxy, atol=1)
    np.testing.assert_array_equal(one.effort.costs, other.effort.costs)
    assert one.effort.stopped_by == other.effort.stopped_by


@pytest.mark.parametrize("n_prompts", [4, 19, 32, 47])
def test_fewer_prompts_are_the_first_ones_of_more(engine, frame, proposals, n_prompts):
    prompt = PromptSettings(n_prompts=n_prompts, zoom=2)
    assert_same(proposals.first(prompt), engine.propose(frame, prompt))


@pytest.mark.parametrize("budget", [36, 40, 75, 90.5, 130])
def test_a_budget_ends_decoding_before_it_is_exceeded(engine, frame, proposals, budget):
    found = engine.propose(frame, MASKS.prompt, cost_limit=budget)
    assert found.effort.cost <= budget
    assert found.effort.stopped_by == "budget"
    assert found.effort.cost_limit == budget
    assert_same(proposals.first(MASKS.prompt, budget), found)


def test_cost_counts_prompts_and_views(proposals):
    effort = proposals.effort
    n_views = 1 + len(set(effort.views.tolist()) - {0})
    assert effort.cost == len(effort.costs) + n_views * effort.view_cost
    assert effort.n_tiles_left_out == effort.n_tiles + 1 - n_views


def test_proposals_hold_only_their_zoom(proposals):
    with pytest.raises(ProposalsError, match="do not hold"):
        proposals.first(PromptSettings(n_prompts=8, zoom=3))
    with pytest.raises(ProposalsError, match="compute or load"):
        filter_proposals(proposals, MASKS.replace(n_prompts=8))


def test_live_and_recorded_give_the_same(engine, frame, proposals):
    for settings in (MASKS, MASKS.replace(n_prompts=17, pred_iou_thresh=0.8)):
        live = engine.segment(frame, settings)
        recorded = filter_proposals(proposals.first(settings.prompt), settings)
        assert len(live) == len(recorded) > 5
        assert (live.to_labels() != recorded.to_labels()).mean() < 1e-4


def test_copies_fall_before_they_are_brought_to_full_size(engine, frame, proposals):
    assert len(proposals) < 3 * proposals.n_prompts_decoded * 0.95
    high = engine.propose(frame, MASKS.prompt, floor=Floor(0.8, 0.0))
    above = proposals.iou_pred > 0.8
    np.testing.assert_allclose(high.iou_pred, proposals.iou_pred[above], atol=1e-5)


def test_a_bank_holds_a_zoom_once(engine, frame, proposals, tmp_path):
    bank = build_bank([[frame]], tmp_path, engine, [MASKS.prompt])
    assert_same(bank.proposals(0, MASKS.prompt), proposals)
    fewer = PromptSettings(n_prompts=19, zoom=2)
    assert_same(bank.proposals(0, fewer), proposals.first(fewer))
    with pytest.raises(BankError, match="does not hold"):
        bank.proposals(0, PromptSettings(n_prompts=49, zoom=2))


def test_small_discs_are_found_by_looking_closer(engine):
    image, labels = draw_discs(copies=2)
    frame = Frame(image)
    far = engine.segment(frame, MASKS.replace(zoom=1, n_prompts=160))
    near = engine.segment(frame, MASKS.replace(zoom=4, n_prompts=160))
    assert f1_at(near, labels) > 0.95 > f1_at(far, labels)


@pytest.mark.slow
def test_a_large_frame_of_small_discs(engine):
    image, labels = draw_discs(copies=4)
    found = engine.segment(Frame(image), MASKS.replace(zoom=8, n_prompts=700))
    assert f1_at(found, labels) > 0.95


def disc(shape, x, y, radius):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - y, columns - x) < radius


@pytest.mark.parametrize(("n_pieces", "n_kept"), [(3, 1), (16, 17)])
def test_pieces_of_a_large_body_go_unless_they_fill_it(n_pieces, n_kept):
    shape = (256, 256)
    places = [(62 + 44 * (k % 4), 62 + 44 * (k // 4)) for k in range(n_pieces)]
    masks = [disc(shape, 128, 128, 110), *(disc(shape, x, y, 22) for x, y in places)]
    base = Segmentation.from_masks(masks, Frame(np.zeros(shape))).proposals
    tiles = np.array([[0, 0, 256, 256], [0, 0, 140, 140]])
    proposals = replace(
        base,
        prompt=PromptSettings(n_prompts=32, zoom=2),
        crop_boxes=tiles,
        crop_index=np.array([0] + [1] * n_pieces, dtype=np.int32),
        iou_pred=np.linspace(0.99, 0.9, len(masks)).astype(np.float32),
    )
    # tiles that do not cut any of the masks
    proposals.__dict__["cut_by_crop"] = np.zeros(len(masks), dtype=bool)
    found = filter_proposals(proposals, Settings(n_prompts=32, zoom=2))
    assert len(found) == n_kept and found.table.area.max() > 30_000


def test_copies_are_told_by_their_pixels_and_rank():
    masks = np.zeros((4, 16, 16), dtype=bool)
    masks[0, :8], masks[1, :8], masks[2, 8:], masks[3, :8, :14] = True, True, True, True
    seen = SeenMasks()
    assert seen.new(masks[:1], np.array([0.8], np.float32)).tolist() == [True]
    # a copy that is worse goes, one that is better stays; so do others
    scores = np.array([0.7, 0.9, 0.5], np.float32)
    assert seen.new(masks[1:], scores).tolist() == [False, True, True]
    assert seen.new(masks[1:2], np.array([0.85], np.float32)).tolist() == [True]
    assert seen.new(masks[:0], np.zeros(0, np.float32)).tolist() == []
