"""The term `plausibility`: masks that look like particles, and masks that do not."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import draw, found, grid

from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.evidence.plausibility import EVIDENCE, describe_masks, packaged_likeness
from samstar_rl.evidence.polar_views import RADII, Pyramid, polar_views
from samstar_rl.foreground.sample import Sample
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards import PhysicsReward
from samstar_rl.rewards.terms.expected_f1 import ExpectedF1Target, expected_f1
from samstar_rl.rewards.terms.plausibility import PlausibilityTarget, plausibility
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.adversaries import ADVERSARIES

SHAPE = (200, 240)
TARGET = PlausibilityTarget()
#: Differences of plausibility that mean nothing.
ALIKE = 0.02


@pytest.fixture(scope="module")
def drawn():
    return draw(SHAPE, grid(SHAPE, 40, 22))


def judge(frame, masks) -> np.ndarray:
    return FrameEvidence.of(frame, Sample()).likeness(found(frame, masks).table)


@pytest.fixture(scope="module")
def kinds(drawn):
    """True masks and wrong ones: plausibilities of all sizes."""
    _, masks = drawn
    rng = np.random.default_rng(0)
    wrong = [
        mask for name in ("split", "merged", "shifted") for mask in ADVERSARIES[name](masks, rng)
    ]
    return [*masks, *wrong]


def test_a_mask_is_judged_alike_in_any_company(drawn, kinds) -> None:
    frame, _ = drawn
    table = found(frame, kinds).table
    views, figures = polar_views(Pyramid(table.scene.unit), table), describe_masks(table)
    assert figures.shape == (len(kinds), len(EVIDENCE)) and np.isfinite(figures).all()
    network = packaged_likeness()
    together = network.of(views, figures)
    assert np.array_equal(together[::-1], network.of(views[::-1], figures[::-1]))
    alone = [network.of(views[k : k + 1], figures[k : k + 1])[0] for k in range(len(kinds))]
    assert np.array_equal(together, alone)
    assert len(network.of(views[:0], figures[:0])) == 0


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_turns_and_flips_change_no_judgement(drawn, kinds, turn: int, flip: bool) -> None:
    frame, _ = drawn

    def moved(array):
        return np.ascontiguousarray(np.rot90(array[::-1] if flip else array, turn))

    turned = judge(Frame(image=moved(frame.image), id="turned"), [moved(mask) for mask in kinds])
    assert turned == pytest.approx(judge(frame, kinds), abs=ALIKE)


def test_inversion_of_contrast_changes_no_judgement(drawn, kinds) -> None:
    frame, _ = drawn
    inverted = Frame(image=1 - frame.image, id="inverted")
    assert judge(inverted, kinds) == pytest.approx(judge(frame, kinds), abs=ALIKE)


@pytest.mark.parametrize("around", ["edge", "symmetric", "montage"])
def test_a_larger_frame_around_changes_no_judgement(drawn, kinds, around: str) -> None:
    frame, _ = drawn
    sides = ((200, 400), (240, 480)) if around == "montage" else ((37, 90), (11, 300))
    larger = np.pad(frame.image, sides, mode="wrap" if around == "montage" else around)
    # what lies beyond the border of the smaller frame is another view
    inner = [mask for mask in kinds if _distance_to_border_in_radii(mask) > RADII[-1]]
    assert len(inner) > 30
    masks = [np.pad(mask, sides) for mask in inner]
    expected = judge(frame, inner)
    assert judge(Frame(image=larger, id=around), masks) == pytest.approx(expected, abs=ALIKE)


def test_shading_is_no_particle() -> None:
    rows, columns = np.mgrid[:200, :240]
    away = np.hypot(rows - 100, columns - 120)
    noise = np.random.default_rng(0).normal(0, 0.02, away.shape)
    frame = Frame(image=(1 - (away / 200) ** 2 + noise).astype(np.float32), id="vignette")
    level_sets = [away < radius for radius in (20, 40, 60)]
    assert judge(frame, level_sets).max() < 0.3
    assert judge(frame, [columns < 80, rows > 120]).max() < 0.5


def _distance_to_border_in_radii(mask: np.ndarray) -> float:
    """From a mask's centre to the nearest border of its frame."""
    y, x = np.argwhere(mask).mean(axis=0)
    height, width = mask.shape
    return float(min(y, x, height - 1 - y, width - 1 - x) / np.sqrt(mask.sum() / np.pi))


@pytest.mark.parametrize(
    ("name", "margin"),
    # particles shifted by a fifth still match; merged and cut ones have true rims almost all around
    [("shifted", 0.05), ("dilated", 0.01), ("noise blobs", 0.1), ("split", 0.0), ("merged", 0.0)],
)
def test_wrong_masks_look_less_like_particles(drawn, name: str, margin: float) -> None:
    frame, masks = drawn
    known = FrameEvidence.of(frame, Sample())
    wrong = ADVERSARIES[name](masks, np.random.default_rng(0))
    true = known.likeness(found(frame, masks).table)
    assert true.mean() > known.likeness(found(frame, wrong).table).mean() + margin


def test_the_whole_truth_beats_a_part_and_copies(drawn) -> None:
    frame, masks = drawn
    whole = plausibility(found(frame, masks), frame, TARGET)
    assert whole > 0.6
    assert plausibility(found(frame, masks[::2]), frame, TARGET) < 0.65 * whole
    assert plausibility(found(frame, [*masks, *masks]), frame, TARGET) == pytest.approx(
        whole / 2, rel=0.1
    )


def test_expected_f1_counts_what_is_missed_and_what_is_too_much(drawn) -> None:
    frame, masks = drawn
    known = FrameEvidence.of(frame, Sample())
    likeness = known.likeness(found(frame, masks).table)

    def score(kept: list[np.ndarray]) -> float:
        return expected_f1(found(frame, kept), frame, ExpectedF1Target())

    whole = score(masks)
    assert known.foreground.n_particles == len(masks)
    assert whole == pytest.approx(likeness.mean(), abs=0.03)
    # half of the particles, and so the F1 of half a recall
    assert score(masks[::2]) == pytest.approx(2 / 3 * whole, abs=0.03)
    assert score([*masks, *masks]) == pytest.approx(2 / 3 * whole, abs=0.03)
    assert score([]) == 0


def test_the_gate_drops_wrong_masks_and_prefers_the_more_plausible(drawn) -> None:
    frame, masks = drawn
    wrong = ADVERSARIES["merged"](masks, np.random.default_rng(0))
    proposals = found(frame, [*wrong, *masks]).proposals
    proposals.iou_pred[: len(wrong)], proposals.iou_pred[len(wrong) :] = 0.9, 0.8
    task = load_task("particles")
    permissive = task.static.replace(
        n_prompts=None,
        pred_iou_thresh=0,
        stability_score_thresh=0,
        box_nms_thresh=1,
        max_overlap=0.3,
    )
    gauge = PhysicsReward(task).gauge(frame)
    gated = filter_proposals(proposals, permissive.replace(min_plausibility=0.5), **gauge)
    assert gated.kept.tolist() == list(range(len(wrong), len(wrong) + len(masks)))
    # without the gate SAM's own judgement decides, and takes the joined ones
    assert (
        filter_proposals(proposals, permissive.replace(min_plausibility=0), **gauge).kept.min() == 0
    )
