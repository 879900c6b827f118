from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import Floor, ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.settings import Bound, PromptSettings, Settings, SettingsSpace
from samstar_rl.simulator import SimulatedStream

SETTINGS = Settings(
    points_per_side=12, pred_iou_thresh=0.5, stability_score_thresh=0.5, box_nms_thresh=0.5
)
CROPPED = SETTINGS.replace(crop_n_layers=1, points_per_side=8)


@pytest.fixture(scope="module")
def item():
    return next(iter(SimulatedStream("particles", seed=2, size=192, length=1)))


@pytest.fixture(scope="module")
def engine():
    return ProposalEngine(load_sam("tiny"))


@pytest.fixture(scope="module")
def proposals(engine, item):
    return engine.propose(item.frame, SETTINGS.prompt)


def test_everything_sam_returns_is_there(proposals):
    assert len(proposals) == 3 * 12**2 == 3 * proposals.n_prompts_decoded
    assert proposals.stability.shape == (len(proposals), len(proposals.offsets))
    # the larger the offset, the less stable
    known = np.nan_to_num(proposals.stability, nan=1.0)
    assert (np.diff(known, axis=1) <= 0).all()
    assert proposals.seconds > 0


@pytest.mark.parametrize("min_mask_region_area", [0, 30])
def test_the_live_path_gives_the_same_as_proposals(engine, item, proposals, min_mask_region_area):
    settings = SETTINGS.replace(min_mask_region_area=min_mask_region_area, min_solidity=0.5)
    live = engine.segment(item.frame, settings)
    chosen = filter_proposals(proposals, settings)
    assert len(live) > 3
    np.testing.assert_array_equal(live.to_labels(), chosen.to_labels())
    for name in live.table.columns:
        np.testing.assert_allclose(live.table[name], chosen.table[name], rtol=1e-5, atol=1e-5)


def test_an_embedding_saves_the_encoder(engine, item, proposals, monkeypatch):
    embedding = engine.embed(item.frame)
    monkeypatch.setattr(engine, "embed", None)
    again = engine.propose(item.frame, SETTINGS.prompt, embedding=embedding)
    np.testing.assert_array_equal(again.iou_pred, proposals.iou_pred)


def test_frames_may_be_encoded_in_several_threads_at_once(engine):
    """As in a stream, which encodes the next frame beside the crops of the last."""
    frames = [item.frame for item in SimulatedStream("particles", seed=3, size=96, length=6)]
    alone = [engine.embed(frame).features for frame in frames]
    with ThreadPoolExecutor(3) as pool:
        together = [embedding.features for embedding in pool.map(engine.embed, frames)]
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)


def test_features_have_a_fixed_size_and_are_repeatable(engine, item):
    first, second = (engine.embed(item.frame).frame_features for _ in range(2))
    assert np.isfinite(first.pooled).all()
    np.testing.assert_array_equal(first.pooled, second.pooled)


def test_reduced_precision_is_close(item):
    exact = ProposalEngine(load_sam("tiny")).propose(item.frame, PromptSettings(4))
    engine = ProposalEngine(load_sam("tiny"), precision="bfloat16")
    reduced = engine.propose(item.frame, PromptSettings(4))
    assert np.abs(reduced.iou_pred - exact.iou_pred).mean() < 0.05


@pytest.mark.parametrize("shape", [(9, 200), (200, 9), (1, 1), (33, 64)])
def test_awkward_frames_survive(engine, shape):
    frame = Frame(np.random.default_rng(0).random(shape))
    settings = Settings(points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0)
    assert engine.segment(frame, settings).shape == shape
    assert engine.embed(frame).pooled.ndim == 1


def test_a_frame_too_small_for_its_crops_is_refused(engine):
    frame = Frame(np.zeros((3, 3)))
    settings = PromptSettings(4, crop_n_layers=3, crop_overlap_ratio=0.0)
    with pytest.raises(ValueError, match="too small for 3 crop layers"):
        engine.propose(frame, settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "float32, bfloat16, float16"),
        ({"arithmetic": "exact"}, "folded, stock"),
        ({"points_per_batch": 0}, "at least 1"),
        ({"arithmetic": "stock", "precision": "bfloat16"}, "exact"),
    ],
)
def test_wrong_options_are_refused(blob_sam, options, message):
    with pytest.raises(ValueError, match=message):
        ProposalEngine(blob_sam, **options)


def test_pictures_must_be_frames_or_rgb(engine):
    with pytest.raises(ValueError, match="make a Frame"):
        engine.embed(np.zeros((10, 10)))


def test_the_floor_of_a_space_is_under_all_its_settings():
    space = SettingsSpace({"pred_iou_thresh": Bound(0.3, 0.9)}, SETTINGS)
    assert Floor.under(space) == Floor(0.3, 0.5)
    assert Floor.under(space).is_under(space.decode([-1]))
    assert not Floor(0.6).is_under(space.decode([-1]))
