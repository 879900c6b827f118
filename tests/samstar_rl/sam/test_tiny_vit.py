"""MobileSAM's encoder takes the published weights by their names."""

import hashlib

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from samstar_rl.sam.architectures.tiny_vit import Attention, WindowedBlock, build_mobile_sam
from samstar_rl.sam.load import SamLoadError, load_sam

# "NAME SHAPE" of all 439 tensors that MobileSAM's own code has in its state dict, sorted
NAMES_AND_SHAPES = "d794ba6abcfafd91e08aa7d88d0d262661527cf678468f1d83fc4ade45680356"
CLASSIFIER = {
    "image_encoder.head.bias": (1000,),
    "image_encoder.head.weight": (1000, 320),
    "image_encoder.norm_head.bias": (320,),
    "image_encoder.norm_head.weight": (320,),
}


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return build_mobile_sam().state_dict() | {
        name: torch.zeros(shape) for name, shape in CLASSIFIER.items()
    }


def test_names_and_shapes_are_those_of_the_published_checkpoint(weights):
    lines = sorted(f"{name} {tuple(value.shape)}" for name, value in weights.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == NAMES_AND_SHAPES


@pytest.mark.parametrize("wrap", [dict, lambda state: {"model_state": state}])
def test_a_checkpoint_loads_by_path_and_by_name(tmp_path, weights, wrap):
    path = tmp_path / "mobile_sam.pt"
    torch.save(wrap(weights), path)
    by_path = load_sam(path)
    assert by_path.samstar_name == load_sam("vit_t_lm", path).samstar_name == "vit_t"
    assert all(torch.equal(by_path.state_dict()[key], weights[key]) for key in by_path.state_dict())


def test_micro_sams_own_trainings_load(tmp_path, weights):
    path = tmp_path / "best.pt"
    torch.save({"model_state": {f"sam.{name}": value for name, value in weights.items()}}, path)
    assert load_sam(path).samstar_name == "vit_t"


def test_a_name_without_a_file_says_what_to_do():
    with pytest.raises(SamLoadError, match=r"'vit_t_em_organelles' .* give its path, --sam PATH"):
        load_sam("vit_t_em_organelles")


def test_another_tinyvit_is_refused(tmp_path, weights):
    path = tmp_path / "other.pt"
    torch.save({**weights, "image_encoder.neck.0.weight": torch.zeros(256, 448, 1, 1)}, path)
    with pytest.raises(SamLoadError, match="does not fit the model 'vit_t'"):
        load_sam(path)


def test_a_bias_belongs_to_the_distance_of_two_tokens():
    attention = Attention(8, heads=2, window=3)
    distances = attention.attention_bias_idxs
    assert distances.shape == (9, 9)
    # token 1 is in row 0, column 1; token 6 in row 2, column 0: two rows and one column apart
    assert distances[1, 6] == distances[6, 1] == 2 * 3 + 1
    assert distances[0, 0] == distances[8, 8] == 0


def test_windows_do_not_see_one_another():
    torch.manual_seed(0)
    block = WindowedBlock(8, heads=2, window=4).eval()
    features = torch.randn(1, 8, 6, 10)
    changed = features.clone()
    changed[..., 8:] += 1
    with torch.no_grad():
        difference = (block._attend(changed) - block._attend(features)).abs().amax(dim=(0, 1, 2))
    assert (difference[:8] == 0).all()
    assert (difference[8:] > 0).all()


@pytest.mark.slow
def test_the_stock_predictor_takes_it(tmp_path, weights):
    torch.save(weights, tmp_path / "mobile_sam.pt")
    predictor = SamPredictor(load_sam(tmp_path / "mobile_sam.pt"))
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    predictor.set_image(image)
    masks, iou_pred, logits = predictor.predict(
        point_coords=np.array([[60.0, 45.0]]), point_labels=np.array([1]), multimask_output=True
    )
    assert masks.shape == (3, 90, 120)
    assert iou_pred.shape == (3,)
    assert logits.shape == (3, 256, 256)
