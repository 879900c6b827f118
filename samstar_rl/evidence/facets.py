"""How many sides a mask has, and how straight they are: crystals against droplets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from samstar_rl.masks.store import Window

Column = NDArray[np.float64]
Points = NDArray[np.float32]

#: Numbers of sides that are told apart; an outline without sides counts as `ROUND`.
MOST_SIDES = 8
ROUND = 12
#: An outline has k sides if the k-gon around it leaves less than this part of what one around an
#: ellipse leaves.
_LEAST_FACETTING = 0.5
_SMOOTHING_PX = 1.0
_MARGIN_PX = 4


def count_sides(window: Window) -> tuple[float, float]:
    r"""Count the sides of one mask, and say how straight they are.

    For k = 3, 4, ... sides the tightest k-gon around the mask's convex hull is sought (edges that
    add least area are taken away one by one: K.-L. Low, A. Ilie, J. Graph. Tools 8, 2003). With
    :math:`e_k` its area beyond the hull's, as a share of the hull's,

    .. math:: f_k = 1 - e_k / e_k^\circ, \quad e_k^\circ = \frac{k}{\pi} \tan\frac{\pi}{k} - 1

    where :math:`e_k^\circ` is what it is for a disc, and for any ellipse, since ratios of areas
    survive stretching: 1 for a k-gon, 0 for an ellipse. The sides are the least k with
    :math:`f_k \ge 1/2`, `ROUND` if there is none up to `MOST_SIDES`; the facetting is the greatest
    :math:`f_k`. Rounded corners hardly matter, since the polygon lies around them.

    Returns
    -------
    sides : float
        3 to `MOST_SIDES`, or `ROUND`; that as well for a mask without area.
    facetting : float
        In [0, 1].
    """
    outline = _smooth_hull(window)
    area = cv2.contourArea(outline) if len(outline) >= 3 else 0.0
    if area <= 0:
        return float(ROUND), 0.0
    k = np.arange(3, MOST_SIDES + 1)
    excess = tightest_polygons(outline.tolist(), MOST_SIDES)[3:] / area
    facetting = 1 - excess / (k / np.pi * np.tan(np.pi / k) - 1)
    enough = np.flatnonzero(facetting >= _LEAST_FACETTING)
    sides = float(k[enough[0]]) if len(enough) else float(ROUND)
    return sides, float(np.clip(facetting.max(), 0, 1))


def tightest_polygons(corners: list[list[float]], most_sides: int) -> Column:
    """Area that polygons of 0 to most_sides sides around a convex one add to it.

    Edges are taken away one by one, each time the one whose neighbours, prolonged until they meet,
    add least area.

    Parameters
    ----------
    corners : list of [x, y]
        Of the convex polygon, in order.
    most_sides : int

    Returns
    -------
    (most_sides + 1,) float64 array
        Infinite for numbers of sides that were not reached.
    """
    points = [complex(x, y) for x, y in corners]
    added = np.full(most_sides + 1, np.inf)
    added[len(points) :] = 0.0
    costs = [_removal(points, i) for i in range(len(points))]
    total = 0.0
    while len(points) > 3:
        cheapest = min(range(len(points)), key=lambda i: costs[i][0])
        cost, corner = costs[cheapest]
        if cost == np.inf:
            break
        total += cost
        _take_away(points, costs, cheapest, corner)
        if len(points) <= most_sides:
            added[len(points)] = total
    return added


def _take_away(
    points: list[complex], costs: list[tuple[float, complex]], edge: int, corner: complex
) -> None:
    """Put the corner in the place of an edge's two ends, and price its neighbours anew."""
    following = (edge + 1) % len(points)
    points[edge] = corner
    del points[following], costs[following]
    at = edge - (following == 0)
    for i in (at - 2, at - 1, at, at + 1):
        costs[i % len(points)] = _removal(points, i)


def _removal(points: list[complex], edge: int) -> tuple[float, complex]:
    """Area added where an edge's neighbours are prolonged until they meet, and where they do."""
    n = len(points)
    a, b, c, d = (points[(edge + step) % n] for step in (-1, 0, 1, 2))
    before, after, across = b - a, c - d, c - b
    turn = _cross(before, after)
    if turn == 0:
        return np.inf, b
    forth, back = _cross(across, after) / turn, _cross(across, before) / turn
    if forth < 0 or back < 0:  # they part, or meet on the other side
        return np.inf, b
    corner = b + forth * before
    return abs(_cross(corner - b, across)) / 2, corner


def _cross(first: complex, second: complex) -> float:
    return first.real * second.imag - first.imag * second.real


def _smooth_hull(window: Window) -> Points:
    """Convex hull, (n, 2) px, of where the slightly smoothed mask passes through 1/2.

    The staircase of pixels would make an octagon of every small disc.
    """
    padded = np.pad(window.astype(np.float32), _MARGIN_PX)
    soft = cv2.GaussianBlur(padded, (0, 0), _SMOOTHING_PX) - np.float32(0.5)
    points = np.concatenate([_crossings(soft), _crossings(soft.T)[:, ::-1]])
    if len(points) == 0:
        return points
    return np.asarray(cv2.convexHull(np.ascontiguousarray(points))[:, 0], dtype=np.float32)


def _crossings(values: NDArray[np.float32]) -> Points:
    """Where values pass through 0 between neighbours of a row, as (x, y)."""
    left, right = values[:, :-1], values[:, 1:]
    y, x = np.nonzero((left > 0) != (right > 0))
    share = left[y, x] / (left[y, x] - right[y, x])
    return np.column_stack([x + share, y]).astype(np.float32)
