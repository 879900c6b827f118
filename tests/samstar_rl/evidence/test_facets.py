"""Sides and facetting of masks whose polygon is known."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import disc, draw, found
from pydantic import ValidationError

from samstar_rl.evidence.facets import ROUND, count_sides, tightest_polygons
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.foreground.sample import Sample
from samstar_rl.rewards.terms.shape import ShapeTarget, shape, shape_memberships


def polygon(k: int, diameter: float, turn: float, stretch: float = 1.0) -> np.ndarray:
    """A regular polygon of the area of a disc of that diameter, perhaps stretched along x."""
    apothem = diameter / 2 * np.sqrt(np.pi / (k * np.tan(np.pi / k)))
    side = int(3 * diameter * stretch)
    rows, columns = np.mgrid[:side, :side] - side / 2 + 0.3
    columns = columns / stretch
    angles = turn + 2 * np.pi * np.arange(k) / k
    distances = [columns * np.cos(a) + rows * np.sin(a) for a in angles]
    return np.asarray(np.max(distances, axis=0) <= apothem)


def ellipse(diameter: float, stretch: float) -> np.ndarray:
    side = int(3 * diameter * stretch)
    rows, columns = np.mgrid[:side, :side] - side / 2 + 0.3
    return np.asarray((columns / stretch) ** 2 + rows**2 <= (diameter / 2) ** 2)


TURNS = np.linspace(0, 1.3, 7)


@pytest.mark.parametrize(("k", "diameter"), [(3, 10), (4, 12), (5, 16), (6, 20), (6, 60), (8, 40)])
def test_sides_of_regular_polygons(k: int, diameter: float) -> None:
    for turn in TURNS:
        sides, facetting = count_sides(polygon(k, diameter, turn))
        assert sides == k
        assert facetting > 0.6


@pytest.mark.parametrize("diameter", [8, 12, 20, 30, 60])
@pytest.mark.parametrize("stretch", [1.0, 1.5])
def test_discs_and_ellipses_have_no_sides(diameter: float, stretch: float) -> None:
    sides, facetting = count_sides(ellipse(diameter, stretch))
    assert sides == ROUND
    assert facetting < 0.5


def test_a_stretched_square_keeps_its_four_sides() -> None:
    for turn in TURNS:
        assert count_sides(polygon(4, 20, turn, stretch=2.0))[0] == 4


def test_rounded_corners_do_not_hide_the_sides() -> None:
    square = polygon(4, 40, 0.0)
    rows, columns = np.nonzero(square)
    for y, x in ((rows.min(), columns.min()), (rows.max(), columns.max())):
        square[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] &= False
    assert count_sides(square)[0] == 4


def test_polygons_around_a_hexagon() -> None:
    angles = np.pi / 3 * np.arange(6)
    corners = np.column_stack([np.cos(angles), np.sin(angles)]).tolist()
    added = tightest_polygons(corners, 8)
    # a side taken away leaves an equilateral triangle, a sixth of the hexagon's 3 sqrt(3) / 2
    assert added[6:].tolist() == [0, 0, 0]
    assert added[5] == pytest.approx(np.sqrt(3) / 4)
    assert added[3] == pytest.approx(3 * np.sqrt(3) / 4)
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert tightest_polygons(square, 8)[3] == np.inf  # its sides never meet


def test_masks_without_area_count_as_round() -> None:
    assert count_sides(np.zeros((0, 0), bool)) == (ROUND, 0.0)
    assert count_sides(np.ones((1, 1), bool))[0] >= 3


def test_shape_tells_crystals_from_droplets() -> None:
    canvas = (120, 260)
    frame, discs = draw(canvas, [(50, 60, 30)])
    hexagon = np.zeros(canvas, bool)
    drawn = polygon(6, 30, 0.2)
    hexagon[15 : 15 + len(drawn), 140 : 140 + len(drawn)] = drawn
    both = found(frame, [discs[0], hexagon])
    sides, facetting = FrameEvidence.of(frame, Sample()).sides(both.table)
    assert sides.tolist() == [ROUND, 6]
    assert facetting[0] < 0.4 < 0.7 < facetting[1]
    assert shape_memberships(both, frame, ShapeTarget(sides=(5, 7)))[1] == 1.0
    assert shape_memberships(both, frame, ShapeTarget(sides=(5, 7)))[0] < 0.05
    faceted, round_ones = ShapeTarget(facetting=(0.6, 1.0)), ShapeTarget(facetting=(0.0, 0.4))
    assert shape_memberships(both, frame, faceted).round(1).tolist()[1] == 1.0
    assert (
        shape_memberships(both, frame, round_ones)[0]
        == 1.0
        > shape_memberships(both, frame, round_ones)[1]
    )
    empty = found(frame, [])
    assert shape(empty, frame, ShapeTarget(sides=(5, 7))) == 0.0
    with pytest.raises(ValidationError, match="sides must be"):
        ShapeTarget(sides=(7, 5))


def test_discs_are_round_wherever_they_lie() -> None:
    masks = [disc((40, 40), 20 + dx, 20 + dy, 12) for dx in (0, 0.3, 0.5) for dy in (0, 0.2, 0.5)]
    assert {count_sides(mask)[0] for mask in masks} == {ROUND}
