"""Where to prompt, the most valuable prompts first.

Most points of a grid lie in the background, or many together in one large particle. The network
that estimates foregrounds says where bodies are before SAM is asked, and so an order of prompts:

1. one point in each body: in the whole frame for bodies wider than half a tile, then tile by tile,
   those with most bodies first (`FEW_BODIES` or more);
2. a second point in each body, farthest from the first;
3. one point in each body of the other tiles;
4. likely cells: places that may be particles though no body was found there;
5. points of a low-discrepancy sequence over the whole frame, so that in the limit nothing depends
   on the network.

The order depends on the frame and the zoom alone: fewer prompts are the first ones of more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.foreground.network import (
    ForegroundMaps,
    LazyMaps,
    map_particles,
    packaged_network,
)
from samstar_rl.sam.views import WIDEST_IN_TILE, Boxes, deepest_tile, tile_boxes, tile_pitch_px

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame

Points = NDArray[np.float64]
Index = NDArray[np.intp]

LONG_SIDE_PX = 256
"""Long side of a view as the embedded SAM sees it: bodies are sought at the scale of the tiles."""
MOST_LONG_SIDE_PX = 1024
LIKELY = 0.5
"""Least probability of a body."""
POSSIBLE = 0.3
"""Least probability of a likely cell ..."""
CELL_PX = 16
"""... and its side at the network's scale."""
FEW_BODIES = 3
"""Tiles with fewer bodies come after the second points."""
CORE_SHARE = 0.75
"""Width of a body's core over that of the body, see `ForegroundMaps.core`."""

SPREAD_POINTS = 4096
SPREAD_ROUND = 8
"""Points of the low-discrepancy sequence: in all, and for each view before the next one's turn."""

FIRST, SECOND, FEW, CELL, SPREAD = range(5)
"""Stages of the order."""
SKIPPED_IN_MASKS = (SECOND, CELL, SPREAD)
"""Stages whose prompts are left out where they lie in a mask that was found already."""


@dataclass(frozen=True, eq=False)
class PromptPlan:
    """Views of a frame and the prompts in them, the most valuable first.

    Attributes
    ----------
    boxes : (V, 4) int array
        x0, y0, x1, y1 of the views in px, half-open; the first is the whole frame.
    xy : (P, 2) float64 array
        Prompts in px of the frame.
    view : (P,) int array
        The view in which each is decoded.
    stage : (P,) int array
        `FIRST` to `SPREAD`.
    width_px : (B,) float64 array
        Widths of the bodies in px of the frame.
    """

    boxes: Boxes
    xy: Points
    view: Index
    stage: Index
    width_px: NDArray[np.float64]

    @classmethod
    def of(cls, frame: Frame, zoom: float) -> PromptPlan:
        """As `plan_prompts` of a frame, which keeps its plans as long as it lives."""
        plans: dict[float, PromptPlan] = frame.known.setdefault(cls, {})
        if zoom not in plans:
            known = LazyMaps.of(frame)
            plans[zoom] = plan_prompts(known.unit, zoom, known)
        return plans[zoom]

    @property
    def usual_width_px(self) -> float | None:
        """Width of the body in which the middle pixel of all bodies lies; None of no bodies."""
        if len(self.width_px) == 0:
            return None
        widths = np.sort(self.width_px)
        areas = np.cumsum(widths**2)
        return float(widths[np.searchsorted(areas, areas[-1] / 2)])


@dataclass(frozen=True, eq=False)
class Bodies:
    """Bodies that the network tells apart, the likeliest first.

    Attributes
    ----------
    first_xy, second_xy : (B, 2) float64 arrays
        The innermost point of each, and the one in it farthest from that, in px of the frame.
    width_px : (B,) float64 array
        Longer side of each body's box.
    probability : (B,) float64 array
    cell_xy : (C, 2) float64 array
        Likely places outside of all bodies, the likeliest first.
    """

    first_xy: Points
    second_xy: Points
    width_px: NDArray[np.float64]
    probability: NDArray[np.float64]
    cell_xy: Points


def plan_prompts(
    unit: NDArray[np.float32], zoom: float, known: LazyMaps | None = None
) -> PromptPlan:
    """Order the prompts of a frame.

    Parameters
    ----------
    unit : (H, W) float32 array
        The frame in [0, 1].
    zoom : float
        Magnification of the tiles against the whole frame; 1 for none.
    known : LazyMaps, optional
        Of the frame, which may hold already what the network says.

    Returns
    -------
    PromptPlan
    """
    shape = (unit.shape[0], unit.shape[1])
    bodies = find_bodies(unit, round(min(LONG_SIDE_PX * zoom, MOST_LONG_SIDE_PX)), known)
    layout = lay_tiles(bodies, shape, zoom)
    boxes, view, view_of = layout.boxes, layout.view, layout.view_of
    count = np.bincount(view, minlength=len(boxes))
    # Tiles with most bodies first, and the whole frame before them.
    place = np.empty(len(boxes), dtype=np.intp)
    place[np.concatenate([[0], 1 + np.argsort(-count[1:], kind="stable")])] = np.arange(len(boxes))
    crowded = (view == 0) | (count[view] >= FEW_BODIES)
    nowhere = np.zeros(len(bodies.cell_xy), dtype=bool)
    spread = spread_points(SPREAD_POINTS) * [shape[1], shape[0]]
    every_other = np.arange(SPREAD_POINTS) % 2 == 0
    parts = [
        (FIRST, bodies.first_xy[crowded], view[crowded]),
        (SECOND, bodies.second_xy[crowded], view[crowded]),
        (FEW, bodies.first_xy[~crowded], view[~crowded]),
        (CELL, bodies.cell_xy, view_of(bodies.cell_xy, nowhere)),
        (SPREAD, spread, view_of(spread, every_other)),
    ]
    ordered = []
    for stage, xy, views in parts:
        # View by view, and the last points in rounds through all of them.
        rounds = np.arange(len(xy)) // (SPREAD_ROUND * len(boxes)) * (stage == SPREAD)
        order = np.lexsort((place[views], rounds))
        ordered.append((xy[order], views[order], np.full(len(xy), stage)))
    all_xy, all_views, stages = (np.concatenate(column) for column in zip(*ordered, strict=True))
    return PromptPlan(
        boxes, all_xy, all_views.astype(np.intp), stages.astype(np.intp), bodies.width_px
    )


@dataclass(frozen=True, eq=False)
class TileLayout:
    """Views of a frame at a zoom, and which bodies are prompted where.

    Attributes
    ----------
    boxes : (V, 4) int array
        x0, y0, x1, y1 of the views in px, half-open; the first is the whole frame.
    view : (B,) int array
        The view in which each body is prompted: wide ones in the whole frame.
    wide : (B,) bool array
        Bodies wider than half a tile.
    """

    boxes: Boxes
    view: Index
    wide: NDArray[np.bool_]

    def view_of(self, points: Points, whole: NDArray[np.bool_]) -> Index:
        """The tile in which each point lies deepest, the whole frame where told."""
        if len(self.boxes) == 1 or len(points) == 0:
            return np.zeros(len(points), dtype=np.intp)
        _, _, width, height = self.boxes[0].tolist()
        return np.where(whole, 0, 1 + deepest_tile(self.boxes[1:], points, (height, width)))


def lay_tiles(bodies: Bodies, shape: tuple[int, int], zoom: float) -> TileLayout:
    """Lay tiles over a frame, and share its bodies out among them.

    Parameters
    ----------
    bodies : Bodies
    shape : (int, int)
        Height and width of the frame in px.
    zoom : float

    Returns
    -------
    TileLayout
    """
    # Wide bodies are looked at in the whole frame, the others in the tile where they lie deepest.
    wide = bodies.width_px > WIDEST_IN_TILE * tile_pitch_px(shape, zoom)
    largest = float(bodies.width_px[~wide].max(initial=0.0))
    tiles = tile_boxes(shape, zoom, largest)
    boxes = np.concatenate([[[0, 0, shape[1], shape[0]]], tiles]).astype(np.int64)
    layout = TileLayout(boxes, np.zeros(len(wide), dtype=np.intp), wide)
    return replace(layout, view=layout.view_of(bodies.first_xy, wide))


def find_bodies(
    unit: NDArray[np.float32], long_side_px: int, known: LazyMaps | None = None
) -> Bodies:
    """Find bodies, and places that may be some, by the foreground network.

    Parameters
    ----------
    unit : (H, W) float32 array
        The frame in [0, 1].
    long_side_px : int
        Size at which the network looks.
    known : LazyMaps, optional
        As for `plan_prompts`.

    Returns
    -------
    Bodies
    """
    # one orientation: it is to be fast, and a point may lie anywhere in its body
    short_side_px = max(round(long_side_px * min(unit.shape) / max(unit.shape)), 8)
    if known is not None:
        maps = known.first_look(short_side_px)
    else:
        maps = map_particles(packaged_network(), unit, orientations=1, short_side_px=short_side_px)
    return bodies_of(maps, (unit.shape[0], unit.shape[1]))


def bodies_of(maps: ForegroundMaps, shape: tuple[int, int]) -> Bodies:
    """The bodies that maps of the foreground show in a frame of this height and width in px."""
    scale = np.array(shape[::-1]) / np.array(maps.core.shape[::-1])
    n, labels, stats, _ = cv2.connectedComponentsWithStats(
        (maps.core > LIKELY).astype(np.uint8), connectivity=4
    )
    # Small particles have no core of their own: what is likely and has none is a body, too.
    _, likely = cv2.connectedComponents(
        (maps.probability > LIKELY).astype(np.uint8), connectivity=4
    )
    lone = ((likely > 0) & ~np.isin(likely, np.unique(likely[labels > 0]))).astype(np.uint8)
    n_lone, lone_labels, lone_stats, _ = cv2.connectedComponentsWithStats(lone, connectivity=4)
    labels = np.where(lone_labels > 0, lone_labels + n - 1, labels)
    stats = np.concatenate([stats[1:], lone_stats[1:]])
    share = np.concatenate([np.full(n - 1, CORE_SHARE), np.ones(n_lone - 1)])
    width = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1, initial=0) / share
    certainty = np.maximum(maps.core, maps.probability * (lone > 0))
    total = np.bincount(labels.ravel(), certainty.ravel(), minlength=len(stats) + 1)[1:]
    probability = total / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    first, second = _innermost_and_farthest(labels, stats)
    order = np.lexsort((first[:, 0], first[:, 1], -probability))
    return Bodies(
        (first[order] + 0.5) * scale,
        (second[order] + 0.5) * scale,
        width[order] * scale.max(),
        probability[order],
        (_likely_cells(maps.probability, labels) + 0.5) * scale,
    )


def _innermost_and_farthest(
    labels: NDArray[np.integer], stats: NDArray[np.integer]
) -> tuple[Index, Index]:
    """x, y of the innermost pixel of each body, and of the pixel in it farthest from that."""
    first = np.zeros((len(stats), 2), dtype=np.intp)
    second = np.zeros((len(stats), 2), dtype=np.intp)
    for k, (x, y, width, height, _) in enumerate(stats.tolist()):
        body = labels[y : y + height, x : x + width] == k + 1
        depth = cv2.distanceTransform(np.pad(body, 1).astype(np.uint8), cv2.DIST_L2, 5)
        row, column = divmod(int(depth[1:-1, 1:-1].argmax()), width)
        rows, columns = np.nonzero(body)
        far = int(((rows - row) ** 2 + (columns - column) ** 2).argmax())
        # half way out: a point on the rim itself may belong to the neighbour
        first[k] = x + column, y + row
        second[k] = x + (column + columns[far]) // 2, y + (row + rows[far]) // 2
    return first, second


def _likely_cells(probability: NDArray[np.float32], labels: NDArray[np.integer]) -> Index:
    """x, y of the likeliest pixel of each cell that no body reaches, the likeliest first."""
    outside = _by_cell(np.where(labels > 0, 0, probability), fill=-1)
    # of equal pixels the last one
    last = CELL_PX**2 - 1 - outside[..., ::-1].argmax(axis=2)
    likely = np.take_along_axis(outside, last[..., None], axis=2)[..., 0]
    chosen = (likely > POSSIBLE) & ~_by_cell(labels > 0, fill=False).any(axis=2)
    rows, columns = np.nonzero(chosen)
    within_y, within_x = np.divmod(last[chosen], CELL_PX)
    xy = np.stack([columns * CELL_PX + within_x, rows * CELL_PX + within_y], axis=1)
    return xy[np.argsort(-likely[chosen], kind="stable")]


def _by_cell(field: NDArray[Any], *, fill: float) -> NDArray[Any]:
    """The pixels of each cell of a field (h, w): (rows, columns, CELL_PX^2), short ones filled."""
    below, right = -field.shape[0] % CELL_PX, -field.shape[1] % CELL_PX
    padded = np.pad(field, ((0, below), (0, right)), constant_values=fill)
    rows, columns = padded.shape[0] // CELL_PX, padded.shape[1] // CELL_PX
    cells = padded.reshape(rows, CELL_PX, columns, CELL_PX).swapaxes(1, 2)
    return cells.reshape(rows, columns, CELL_PX**2)


@lru_cache(maxsize=4)
def spread_points(count: int) -> Points:
    """The first points, (P, 2) in [0, 1], of a sequence that fills the square evenly.

    The additive recurrence of M. Roberts ("The unreasonable effectiveness of quasirandom
    sequences", 2018) with the two-dimensional generalisation of the golden ratio.
    """
    ratio = 1.32471795724474602596
    steps = np.array([1 / ratio, 1 / ratio**2])
    return (0.5 + np.arange(1, count + 1)[:, None] * steps) % 1.0
