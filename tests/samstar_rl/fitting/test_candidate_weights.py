"""Weights that wait to be shipped fit the networks that will take them."""

from pathlib import Path

import numpy as np
import torch

from samstar_rl.foreground.network import load_network, map_particles
from samstar_rl.sam.load import load_sam

FOLDER = Path(__file__).parents[2] / "data" / "candidate_weights"


def test_the_sam_loads_and_differs_from_the_shipped_one():
    candidate, shipped = load_sam("tiny", FOLDER / "tiny_sam.safetensors"), load_sam("tiny")
    pairs = zip(candidate.parameters(), shipped.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


def test_the_foreground_network_draws_four_maps():
    network = load_network(FOLDER / "foreground.safetensors")
    image = np.full((128, 128), 0.3, dtype=np.float32)
    image[40:80, 40:80] = 0.8
    maps = map_particles(network, image, symmetries=1)
    assert maps.rim is not None and maps.diameter_px is not None
    assert maps.probability[60, 60] > 0.5 > maps.probability[10, 10]
