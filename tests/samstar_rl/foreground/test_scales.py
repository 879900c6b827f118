"""Foreground maps at several magnifications, with networks that are none."""

import numpy as np
import pytest
import torch
from torch import nn

from samstar_rl.foreground.network import (
    MAPS,
    MIDDLE_DIAMETER_PX,
    ForegroundMaps,
    ForegroundNetwork,
    for_inference,
)
from samstar_rl.foreground.scales import find_bodies, map_at_scales


class SeesDiameters(nn.Module):
    """Particles are what is bright; the whole frame and its tiles each say a given diameter."""

    session = None
    maps = MAPS

    def __init__(self, diameter_px):
        super().__init__()
        self.diameter_px = list(diameter_px)
        self.calls = 0

    def forward(self, image):
        bright = 20 * (image[:, 0] > 0.5).float() - 10
        value = np.log(self.diameter_px[min(self.calls, 1)] / MIDDLE_DIAMETER_PX)
        self.calls += 1
        logarithm = torch.full_like(bright, float(value))
        return torch.stack([bright, bright, torch.full_like(bright, -10.0), logarithm], dim=1)


def square(side=1024, edge=40):
    unit = np.zeros((side, side), np.float32)
    unit[200 : 200 + edge, 300 : 300 + edge] = 1
    return unit


def test_small_frames_are_seen_once_and_large_ones_up_to_their_own_pixels():
    network = for_inference(ForegroundNetwork(widths=(8, 8, 8, 8, 8)))
    for shape, expected in [((200, 300), (200, 300)), ((256, 256), (256, 256)),
                            ((300, 400), (256, 341)), ((512, 600), (512, 600)),
                            ((1500, 1500), (1024, 1024))]:  # fmt: skip
        unit = np.random.default_rng(0).random(shape, dtype=np.float32)
        maps = map_at_scales(network, unit)
        assert maps.probability.shape == maps.rim.shape == maps.diameter_px.shape == expected
        assert np.isfinite(maps.diameter_px).all() and (maps.diameter_px > 0).all()
        assert 0 <= maps.core.min() <= maps.core.max() <= 1


def test_each_place_takes_the_magnification_that_suits_its_particles():
    # at the whole frame 6 px, far from what the network knows; in tiles at twice the size 24
    network = SeesDiameters([6.0, 24.0])
    maps = map_at_scales(network, square(512), zooms=(1.0, 2.0))
    assert maps.diameter_px.shape == (512, 512)
    np.testing.assert_allclose(maps.diameter_px, 24, rtol=0.15)


def test_levels_agree_on_a_diameter_in_px_of_the_maps():
    maps = map_at_scales(SeesDiameters([12.0, 24.0]), square(512), zooms=(1.0, 2.0))
    np.testing.assert_allclose(maps.diameter_px, 24, rtol=1e-4)


def test_bodies_are_in_px_of_the_frame():
    core = np.zeros((50, 100), np.float32)
    core[10:21, 20:31] = core[10:21, 60:71] = 1
    rim = np.zeros_like(core)
    diameter_px = np.full_like(core, 15)
    diameter_px[:, 50:] = 20
    bodies = find_bodies(ForegroundMaps(core, core, rim, diameter_px), (100, 200))
    np.testing.assert_allclose(bodies.centres_px, [[51, 31], [131, 31]])
    np.testing.assert_allclose(bodies.diameters_px, [30, 40])
    assert bodies.typical_diameter_px == pytest.approx(35)


def test_a_rim_separates_cores():
    core, rim = np.zeros((30, 40), np.float32), np.zeros((30, 40), np.float32)
    core[5:25, 5:35] = 1
    rim[:, 20:22] = 1
    maps = ForegroundMaps(core, core, rim, np.full_like(core, 12))
    assert len(find_bodies(maps, (30, 40)).diameters_px) == 2


def test_a_blank_frame_has_no_bodies():
    network = for_inference(ForegroundNetwork(widths=(8, 8, 8, 8, 8)))
    maps = map_at_scales(network, np.full((300, 300), 0.5, np.float32))
    bodies = find_bodies(maps, (300, 300))
    assert bodies.centres_px.shape == (0, 2)
    assert bodies.typical_diameter_px is None


def test_weights_of_two_maps_are_refused():
    network = for_inference(ForegroundNetwork(widths=(8, 8, 8, 8, 8), maps=2))
    with pytest.raises(ValueError, match="estimate no diameters"):
        map_at_scales(network, square(64))
    flat = np.zeros((8, 8), np.float32)
    with pytest.raises(ValueError, match="hold no diameters"):
        find_bodies(ForegroundMaps(flat, flat), (8, 8))
