"""Points moved into particles."""

import cv2
import numpy as np
import pytest
from segment_anything.utils.amg import build_point_grid

from samstar_rl.sam.prompt_order import POINTS_PER_PARTICLE, ParticlePoints


def discs(shape, centres, radius, rng):
    image = 0.2 + 0.02 * rng.standard_normal(shape).astype(np.float32)
    for centre in centres:
        cv2.circle(image, centre, radius, 0.8, -1)
    return image.clip(0, 1)


def near(points, centre, radius):
    return np.hypot(*(points - centre).T) <= radius


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_few_points_in_each_particle_and_none_elsewhere(rng):
    centres = [(60, 60), (200, 90), (110, 190)]
    likely = ParticlePoints(discs((256, 256), centres, 22, rng))
    grid = build_point_grid(16) * 256
    points = likely.chosen(grid, (0, 0, 256, 256))
    inside = np.array([near(points, centre, 25) for centre in centres])
    assert inside.any(axis=0).all()
    assert (inside.sum(axis=1) >= 1).all()
    # nearer to the rim than the cores, cells have points of their own
    cores = np.array([near(points, centre, 11) for centre in centres])
    assert (cores.sum(axis=1) <= POINTS_PER_PARTICLE).all()
    assert len(points) < len(grid) / 8


def test_a_particle_between_two_points_gets_one(rng):
    # a grid of 4 has points at 32, 96, ...: none within this particle
    likely = ParticlePoints(discs((256, 256), [(64, 64)], 14, rng))
    points = likely.chosen(build_point_grid(4) * 256, (0, 0, 256, 256))
    assert near(points, (64, 64), 14).any()


def test_points_of_a_crop_are_relative_to_it(rng):
    likely = ParticlePoints(discs((300, 400), [(310, 220)], 20, rng))
    box = (250, 150, 400, 300)
    points = likely.chosen(build_point_grid(8) * 150, box)
    assert len(points) >= 1
    assert near(points + box[:2], (310, 220), 24).all()


def test_a_constant_frame_has_none():
    likely = ParticlePoints(np.full((90, 120), 0.5, dtype=np.float32))
    assert likely.chosen(build_point_grid(8) * [120, 90], (0, 0, 120, 90)).shape == (0, 2)


def test_only_square_grids(rng):
    likely = ParticlePoints(rng.random((40, 40), dtype=np.float32))
    with pytest.raises(ValueError, match="square grid"):
        likely.chosen(np.zeros((7, 2)), (0, 0, 40, 40))
