"""Masks in polar coordinates about their centres."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import draw, found, grid

from samstar_rl.errors import SamstarError
from samstar_rl.evidence.polar_views import N_ANGLES, RADII, Pyramid, polar_views
from samstar_rl.frames.frame import Frame

SHAPE = (200, 240)


@pytest.fixture(scope="module")
def drawn():
    return draw(SHAPE, grid(SHAPE, 40, 22))


def views_of(frame, masks, bounds=None):
    table = found(frame, masks).table
    return polar_views(Pyramid(table.scene.unit), table, bounds)


def changed(frame, masks, change):
    """Views of a frame that is changed with all its masks."""
    image = np.ascontiguousarray(change(frame.image))
    masks = [np.ascontiguousarray(change(mask)) for mask in masks]
    return views_of(Frame(image=image, id="changed"), masks)


def test_a_disc_ends_at_its_radius(drawn):
    grey, cover = views_of(*drawn).transpose(1, 0, 2, 3)
    inside, outside = RADII < 0.85, (RADII > 1.15) & (RADII < 1.6)
    assert cover[:, inside].min() > 0.99 and cover[:, outside].max() < 0.01
    assert grey[:, inside].mean() > 0.5 > -0.5 > grey[:, outside].mean()


def test_a_quarter_turn_shifts_a_flip_reverses_and_inversion_does_nothing(drawn):
    frame, masks = drawn
    views = views_of(frame, masks)
    turned = changed(frame, masks, np.rot90)
    np.testing.assert_allclose(turned, np.roll(views, -N_ANGLES // 4, axis=-1), atol=2e-4)
    flipped = changed(frame, masks, np.flipud)
    np.testing.assert_allclose(flipped, np.roll(views[..., ::-1], 1, axis=-1), atol=2e-4)
    inverted = Frame(image=-frame.image, id="inverted")
    np.testing.assert_allclose(views_of(inverted, masks), views, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 5])
def test_a_larger_mask_on_a_larger_frame_looks_the_same(drawn, factor):
    frame, masks = drawn

    def enlarge(array):
        return np.kron(array, np.ones((factor, factor), array.dtype))

    views = views_of(frame, masks)
    large = views_of(
        Frame(image=enlarge(frame.image), id="large"), [enlarge(mask) for mask in masks]
    )
    assert np.abs(large - views).mean() < 0.05


def test_an_image_goes_on_beyond_the_bounds_as_it_is_at_them(drawn):
    frame, masks = drawn
    rows, columns = np.nonzero(masks[7])
    x0, y0, x1, y1 = columns.min() - 6, rows.min() - 6, columns.max() + 7, rows.max() + 7
    bounds = np.array([[x0, y0, x1, y1]])
    cut = frame.image[y0:y1, x0:x1]
    # the same greys, whatever a smaller frame would be normalised to
    unit = found(frame, masks[7:8]).table.scene.unit
    small = found(Frame(image=cut, id="cut"), [masks[7][y0:y1, x0:x1]]).table
    within = views_of(frame, masks[7:8], bounds)
    alone = polar_views(Pyramid(unit[y0:y1, x0:x1]), small)
    # but for the coarse levels of the pyramid, which look across the cut
    assert (
        np.abs(within - alone).mean() < 0.02 < np.abs(within - views_of(frame, masks[7:8])).mean()
    )


def test_no_mask_and_an_empty_one(drawn):
    frame, masks = drawn
    assert views_of(frame, []).shape == (0, 2, len(RADII), N_ANGLES)
    empty = views_of(frame, [np.zeros_like(masks[0])])
    assert np.isfinite(empty).all() and empty[:, 1].max() == 0


def test_a_pyramid_is_of_a_grey_image():
    with pytest.raises(SamstarError, match="expected a grey image"):
        Pyramid(np.zeros((4, 4, 3), np.float32))
