"""Models load, or say clearly why not."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

from samstar_rl.sam.architectures.tiny import build_tiny_sam
from samstar_rl.sam.load import (
    SamLoadError,
    file_sha256,
    load_sam,
    packaged_weights_path,
    packaged_weights_sha256,
    weights_sha256,
)


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights = {
        key: value.half().contiguous()
        for key, value in build_tiny_sam(seed=7).state_dict().items()
        if value.is_floating_point()
    }
    save_file(weights, path)
    return path


def test_a_path_is_recognised_and_hashed(tiny_file):
    sam = load_sam(tiny_file)
    assert sam.samstar_name == "tiny"
    assert sam.samstar_sha256 == file_sha256(tiny_file) == weights_sha256(tiny_file)


def test_weights_are_known_without_being_loaded(tmp_path):
    assert weights_sha256("tiny") == packaged_weights_sha256()
    with pytest.raises(SamLoadError, match=r"missing\.pth"):
        weights_sha256("vit_b", tmp_path / "missing.pth")


def test_the_packaged_weights_are_small():
    assert packaged_weights_path().stat().st_size <= 16 * 2**20


def test_the_stock_predictor_and_generator_take_it():
    sam = load_sam("tiny")
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    masks, iou_pred, logits = predictor.predict(
        point_coords=np.array([[60.0, 45.0]]), point_labels=np.array([1]), multimask_output=True
    )
    assert masks.shape == (3, 90, 120)
    assert iou_pred.shape == (3,)
    assert logits.shape == (3, 128, 128)
    records = SamAutomaticMaskGenerator(
        sam, points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0
    ).generate(image)
    assert records
    assert records[0]["segmentation"].shape == (90, 120)


def test_loading_is_deterministic():
    first, second = load_sam("tiny").state_dict(), load_sam("tiny").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("model", "checkpoint", "message"),
    [
        ("sam2", None, "unknown SAM 'sam2'"),
        ("vit_b", "nowhere.pth", "no SAM checkpoint at nowhere.pth"),
    ],
)
def test_a_wrong_request_is_refused(model, checkpoint, message):
    with pytest.raises(SamLoadError, match=message):
        load_sam(model, checkpoint)


def test_a_foreign_file_is_refused(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, foreign)
    with pytest.raises(SamLoadError, match="of no SAM that is known here"):
        load_sam(foreign)
    with pytest.raises(SamLoadError, match="does not fit the model 'tiny'"):
        load_sam("tiny", foreign)


def test_a_damaged_file_is_refused(tmp_path, tiny_file):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(tiny_file.read_bytes()[:1000])
    with pytest.raises(SamLoadError, match="not a readable checkpoint"):
        load_sam(damaged)


def test_a_pickle_is_never_executed(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'executed')!r}, 'w')",))

    evil = tmp_path / "evil.pth"
    torch.save({"model": Malicious()}, evil)
    with pytest.raises(SamLoadError, match="not a readable checkpoint"):
        load_sam(evil)
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow
def test_an_official_architecture_loads_from_its_file(tmp_path):
    path = tmp_path / "vit_b.pth"
    torch.save(sam_model_registry["vit_b"]().state_dict(), path)
    assert load_sam("vit_b", path).samstar_name == "vit_b"
    assert load_sam(path).samstar_name == "vit_b"
