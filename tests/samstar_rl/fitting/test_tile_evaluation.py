"""Recall of proposals in tiles, with a network that is none."""

import numpy as np
import pytest
import torch
from torch import nn

from samstar_rl.fitting import tile_evaluation
from samstar_rl.fitting.tile_evaluation import prompt_points, proposal_recall
from samstar_rl.foreground.network import ForegroundMaps
from samstar_rl.sam.architectures.tiny import build_tiny_sam


def two_bodies():
    core = np.zeros((64, 96), np.float32)
    core[10:20, 10:20] = core[30:51, 60:81] = 1
    return ForegroundMaps(core.copy(), core)


def test_points_begin_in_the_middle_of_each_core_and_stay_in_particles():
    maps = two_bodies()
    points = prompt_points(maps, (128, 192), 40)
    assert points.shape == (40, 2)
    first = {tuple(np.abs(points[k] - c).max() < 4 for c in ((30, 30), (141, 81))) for k in (0, 1)}
    assert first == {(True, False), (False, True)}
    x, y = (points / 2).astype(int).T
    assert (maps.probability[y, x] == 1).all()


def test_where_nothing_is_seen_points_lie_all_over():
    nothing = np.zeros((50, 50), np.float32)
    points = prompt_points(ForegroundMaps(nothing, nothing), (50, 50), 30)
    assert len(points) == 30
    assert np.ptp(points, axis=0).min() > 35


def everywhere(image):
    return ForegroundMaps(image / np.float32(255), np.zeros(image.shape, np.float32))


class KnowsTheTruth:
    """A predictor whose masks are the bright pixels at the prompt's height."""

    def __init__(self, sam):
        self.model = sam

    def set_image(self, rgb):
        self.bright = torch.from_numpy(rgb[..., 0] > 128)

    def predict_torch(self, coords, labels, *, multimask_output):
        rows = torch.arange(len(self.bright))[None, :, None]
        near = (rows - coords[:, 0, 1, None, None]).abs() < 40
        masks = (self.bright & near)[:, None].expand(-1, 3, -1, -1)
        return masks, None, None


def test_an_instance_is_found_where_a_mask_matches_it(monkeypatch):
    image, labels = np.zeros((256, 256), np.uint8), np.zeros((256, 256), np.int32)
    for number, top in enumerate((20, 120, 200)):
        image[top : top + 24, 50:90] = 255
        labels[top : top + 24, 50:90] = number + 1
    labels[200:224, 90:250] = 3  # three quarters of the last body are dark
    monkeypatch.setattr(tile_evaluation, "SamPredictor", KnowsTheTruth)
    monkeypatch.setattr(tile_evaluation, "particle_probability", everywhere)
    sam = nn.Module()
    sam.image_encoder = build_tiny_sam().image_encoder
    result = proposal_recall(sam, [(image, labels)], zooms=(1,), prompts=60)
    assert result.instances == 3
    assert result.recall["1"] == result.recall["as needed"] == pytest.approx(2 / 3)


def test_frames_without_instances_are_refused():
    with pytest.raises(ValueError, match="no frame holds an instance"):
        proposal_recall(build_tiny_sam(), [(np.zeros((64, 64), np.uint8), np.zeros((64, 64), int))])
