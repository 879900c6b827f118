"""The order of prompts: bodies first, the same for any number of prompts."""

import cv2
import numpy as np
import pytest

from samstar_rl.foreground.network import LazyMaps
from samstar_rl.frames.frame import Frame
from samstar_rl.sam.prompt_order import (
    CELL,
    FEW,
    FIRST,
    SECOND,
    SPREAD,
    find_bodies,
    plan_prompts,
    spread_points,
)


def discs(shape, centres, radius, seed=0):
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    image = 0.2 + 0.02 * noise
    for centre in centres:
        cv2.circle(image, centre, radius, 0.8, -1)
    return image.clip(0, 1)


CENTRES = [(60, 60), (200, 90), (110, 190)]


def nearest(points, centres):
    return np.linalg.norm(points[:, None] - np.array(centres)[None], axis=2).argmin(axis=1)


def test_one_point_in_each_body_then_a_second_elsewhere_in_it():
    plan = plan_prompts(discs((256, 256), CENTRES, 22), zoom=1)
    first, second = plan.xy[plan.stage == FIRST], plan.xy[plan.stage == SECOND]
    assert sorted(nearest(first, CENTRES)) == sorted(nearest(second, CENTRES)) == [0, 1, 2]
    for points, reach in ((first, 8), (second, 22)):
        distance = np.linalg.norm(points - np.array(CENTRES)[nearest(points, CENTRES)], axis=1)
        assert (distance < reach).all()
    assert (np.linalg.norm(second - first[nearest(second, first)], axis=1) > 3).all()
    assert (np.diff(plan.stage) >= 0).all()


def test_wide_bodies_are_looked_at_whole_and_small_ones_in_tiles():
    image = discs((512, 512), [(130, 130)], 100)
    small = [(400, 60 + 40 * k) for k in range(10)]
    for centre in small:
        cv2.circle(image, centre, 8, 0.8, -1)
    plan = plan_prompts(image, zoom=3)
    bodies = np.isin(plan.stage, (FIRST, FEW))
    wide = np.linalg.norm(plan.xy[bodies] - [130, 130], axis=1) < 50
    assert wide.any() and (plan.view[bodies][wide] == 0).all()
    tiny = np.abs(plan.xy[bodies][:, 0] - 400) < 12
    assert tiny.sum() >= 9 and (plan.view[bodies][tiny] > 0).all()
    # each prompt lies in its view
    x0, y0, x1, y1 = plan.boxes[plan.view].T
    x, y = plan.xy.T
    assert ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).all()


def test_the_order_is_the_same_again():
    image = discs((300, 400), CENTRES, 15)
    one, other = plan_prompts(image, 2), plan_prompts(image, 2)
    np.testing.assert_array_equal(one.xy, other.xy)
    np.testing.assert_array_equal(one.view, other.view)


def test_a_constant_frame_is_looked_at_evenly():
    plan = plan_prompts(np.full((90, 120), 0.5, dtype=np.float32), zoom=1)
    assert set(plan.stage) == {SPREAD}
    quarters = (plan.xy[:64] > [60, 45]) @ [1, 2]
    assert np.bincount(quarters, minlength=4).min() >= 12


def test_likely_cells_lie_outside_of_bodies():
    image = discs((256, 256), CENTRES, 22)
    cv2.circle(image, (200, 200), 18, 0.27, -1)  # faint
    bodies = find_bodies(image, 256)
    cells = bodies.cell_xy
    if len(cells):
        centres = np.array(CENTRES)
        assert np.linalg.norm(cells - centres[nearest(cells, centres)], axis=1).min() > 10
    plan = plan_prompts(image, 1)
    assert (plan.stage == CELL).sum() == len(cells)


@pytest.mark.parametrize("count", [16, 100, 1000])
def test_spread_points_leave_no_large_gap(count):
    points = spread_points(count)
    assert ((points >= 0) & (points < 1)).all()
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 21)] * 2), axis=-1).reshape(-1, 2)
    gaps = np.linalg.norm(grid[:, None] - points[None], axis=2).min(axis=1)
    assert gaps.max() < 1.6 / np.sqrt(count)
    np.testing.assert_array_equal(spread_points(2 * count)[:count], points)


@pytest.mark.parametrize(
    ("shape", "zoom"), [((256, 256), 1.0), ((256, 300), 1.0), ((300, 300), 2.0)]
)
def test_what_the_network_said_before_changes_no_prompt(shape, zoom):
    frame = Frame(discs(shape, CENTRES, 20))
    known = LazyMaps.of(frame)
    _ = known.maps
    expected = plan_prompts(known.unit, zoom)
    found = plan_prompts(known.unit, zoom, known)
    np.testing.assert_array_equal(found.xy, expected.xy)
    np.testing.assert_array_equal(found.view, expected.view)
