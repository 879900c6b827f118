"""ONNX Runtime computes what torch computes."""

import numpy as np
import pytest
import torch

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import Floor, ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.settings import PromptSettings

POINTS = np.random.default_rng(0).uniform(8, 150, (21, 2))


@pytest.fixture
def frame():
    rows, columns = np.mgrid[:160, :200]
    disc = np.hypot(rows - 80, columns - 90) < 40
    return Frame(disc + np.random.default_rng(1).normal(0, 0.1, disc.shape))


def near_outline(low):
    """Logits without what only says that they are far from an outline."""
    return np.clip(low, -16, 16)


def test_logits_are_within_a_thousandth_of_torchs(frame):
    exact = ProposalEngine(load_sam("tiny"), backend="torch")
    quick = ProposalEngine(load_sam("tiny"), backend="onnxruntime")
    assert (exact.backend, quick.backend) == ("torch", "onnxruntime")
    one, other = exact.embed(frame), quick.embed(frame)
    assert one.input_size == other.input_size
    torch.testing.assert_close(one.features, other.features, atol=1e-4, rtol=0)
    found, near = (
        engine._decoder.begin(embedding, POINTS, np.arange(len(POINTS)), Floor()).finish()
        for engine, embedding in [(exact, one), (quick, other)]
    )
    np.testing.assert_allclose(found.iou_pred, near.iou_pred, atol=1e-5, rtol=0)
    np.testing.assert_allclose(near_outline(found.low), near_outline(near.low), atol=1e-3, rtol=0)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_only_masks_above_the_floor_are_computed(frame, backend):
    engine = ProposalEngine(load_sam("tiny"), backend=backend)
    embedding, numbers = engine.embed(frame), np.arange(len(POINTS))
    everything = engine._decoder.begin(embedding, POINTS, numbers, Floor()).finish()
    middle = float(np.median(everything.iou_pred))
    for least, expected in [(middle, everything.iou_pred > middle), (1.5, np.zeros(63, bool))]:
        found = engine._decoder.begin(embedding, POINTS, numbers, Floor(least)).finish()
        np.testing.assert_array_equal(found.point, everything.point[expected])
        np.testing.assert_allclose(found.iou_pred, everything.iou_pred[expected], atol=1e-6)
        low = near_outline(everything.low[expected])
        np.testing.assert_allclose(near_outline(found.low), low, atol=1e-3, rtol=0)


def test_weights_that_were_trained_further_are_exported_anew(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMSTAR_CACHE", str(tmp_path))
    for n_files in (2, 2, 4):
        sam = load_sam("tiny")
        if n_files == 4:
            with torch.no_grad():
                for weights in sam.parameters():
                    weights.mul_(1.01)
        engine = ProposalEngine(sam)
        engine.propose(frame, PromptSettings(2))
        assert engine.backend == "onnxruntime"
        assert len(list((tmp_path / "onnx").iterdir())) == n_files


@pytest.mark.parametrize(
    "options", [{"arithmetic": "stock"}, {"precision": "bfloat16"}], ids=["stock", "bfloat16"]
)
def test_torch_computes_what_only_torch_does(options):
    assert ProposalEngine(load_sam("tiny"), **options).backend == "torch"
    with pytest.raises(SamstarError, match="backend='torch'"):
        ProposalEngine(load_sam("tiny"), backend="onnxruntime", **options)


def test_a_sam_that_does_not_export_is_computed_by_torch(frame, monkeypatch, caplog):
    def refuse(*args, **options):
        raise RuntimeError("no exporter")

    monkeypatch.setattr("samstar_rl.sam.backends.onnx_sam.open_session", refuse)
    engine = ProposalEngine(load_sam("tiny"))
    engine.embed(frame)
    assert engine.backend == "torch"
    assert "no exporter" in caplog.text
    with pytest.raises(SamstarError, match="does not export"):
        ProposalEngine(load_sam("tiny"), backend="onnxruntime").embed(frame)


@pytest.mark.parametrize("shape", [(256, 256), (90, 301), (301, 90)])
def test_pictures_are_prepared_as_sam_prepares_them(shape):
    decoder = ProposalEngine(load_sam("tiny"))._decoder
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    images, size = decoder._prepared(picture)
    resized = torch.from_numpy(decoder._resize.apply_image(picture)).permute(2, 0, 1)
    assert size == resized.shape[1:]
    assert torch.equal(images, decoder.sam.preprocess(resized.contiguous()[None]))
