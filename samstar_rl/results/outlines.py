"""Masks as polygons along the edges of their pixels: exact, one ring for each connected part.

Polygons of COCO cannot say what is a hole. A ring goes over to the edge of a hole, around it, and
back on the same way: what fills polygons by parity leaves the hole out, and nothing of the way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# steps along the edges of pixels as (dy, dx): east, south, west, north; a turn to the right is +1
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))

Corner = tuple[int, int]


def outline_polygons(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Trace a mask along the edges of its pixels.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    list of flat lists of int
        x and y in px, alternating. One list for each part whose pixels share edges; pixel (y, x)
        has its corners at x and x + 1, y and y + 1.
    """
    parts, n_parts = ndimage.label(mask)
    polygons = []
    for part, box in zip(range(1, n_parts + 1), ndimage.find_objects(parts), strict=True):
        rings = _rings(parts[box] == part)
        rows, columns = box[0].start, box[1].start
        ring = _joined(rings)
        polygons.append([v for y, x in ring for v in (x + columns, y + rows)])
    return polygons


def _rings(mask: NDArray[np.bool_]) -> list[list[Corner]]:
    """The closed ways along the edges with the mask on the right, the outer one first."""
    inside = np.pad(mask, 1)
    # an edge goes east along the top of a pixel, south along its right side, ...
    outgoing: dict[Corner, set[int]] = {}
    for direction, (neighbour, start) in enumerate(
        (((-1, 0), (0, 0)), ((0, 1), (0, 1)), ((1, 0), (1, 1)), ((0, -1), (1, 0)))
    ):
        free = inside & ~np.roll(inside, (-neighbour[0], -neighbour[1]), axis=(0, 1))
        for y, x in np.argwhere(free).tolist():
            outgoing.setdefault((y - 1 + start[0], x - 1 + start[1]), set()).add(direction)
    rings = []
    while outgoing:
        # the first corner in reading order lies on an outer way before it lies on a hole
        first = min(outgoing)
        ring: list[Corner] = []
        at, direction = first, min(outgoing[first])
        while True:
            ways = outgoing[at]
            # where two pixels meet at a corner the way turns right: they stay apart
            turn = next(one for one in (1, 0, 3) if (direction + one) % 4 in ways or not ring)
            heading = direction if not ring else (direction + turn) % 4
            if not ring or heading != direction:
                ring.append(at)
            ways.remove(heading)
            if not ways:
                del outgoing[at]
            direction = heading
            at = (at[0] + STEPS[heading][0], at[1] + STEPS[heading][1])
            if at == ring[0]:
                break
        rings.append(ring)
    return rings


def _joined(rings: list[list[Corner]]) -> list[Corner]:
    """One ring of the outer one and those of the holes, each reached and left on the same way."""
    ring = rings[0]
    for hole in rings[1:]:
        corners = np.array(ring)
        # from the hole's first corner to the nearest one of the ring
        at = int(((corners - np.array(hole[0])) ** 2).sum(axis=1).argmin())
        ring = [*ring[: at + 1], *hole, hole[0], *ring[at:]]
    return ring
