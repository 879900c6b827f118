"""Prompts for training: interior points, boxes, and background points that must be refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMALLEST_INSTANCE_PX = 9
BOX_SHARE = 0.1


@dataclass(frozen=True)
class Prompts:
    """P prompts on one image.

    Parameters
    ----------
    coords_px : (P, 2, 2) float32 array
        x, y of a point and its padding, or of a box' corners.
    labels : (P, 2) int64 array
        As `samstar_rl.sam.folded_decoder.point_tokens` takes them.
    instance : (P,) int64 array
        The label under the prompt, -1 for background.
    """

    coords_px: NDArray[np.float32]
    labels: NDArray[np.int64]
    instance: NDArray[np.int64]


def sample_prompts(
    rng: np.random.Generator, labels: NDArray[np.int32], shape: tuple[int, int], count: int
) -> Prompts | None:
    """Draw `count` prompts, one to three of them on background.

    Parameters
    ----------
    rng : numpy.random.Generator
    labels : (S, S) int32 array
        Dense or not, 0 is background.
    shape : (height, width)
        The part of `labels` that is no padding.
    count : int

    Returns
    -------
    Prompts or None
        None where the image holds no instance large enough.
    """
    areas = np.bincount(labels.ravel())
    candidates = np.flatnonzero(areas >= SMALLEST_INSTANCE_PX)
    candidates = candidates[candidates > 0]
    if not len(candidates):
        return None
    background = np.argwhere(labels[: shape[0], : shape[1]] == 0)
    n_background = int(rng.integers(1, max(2, 3 * count // 8 + 1))) if len(background) else 0
    prompts = Prompts(
        coords_px=np.full((count, 2, 2), -0.5, np.float32),
        labels=np.tile(np.array([1, -1]), (count, 1)),
        instance=np.full(count, -1),
    )
    # half evenly, half in proportion to the diameter: a grid of points hits large ones more
    diameters = np.sqrt(areas[candidates])
    weights = 0.5 / len(candidates) + 0.5 * diameters / diameters.sum()
    wanted = count - n_background
    chosen = rng.choice(
        candidates, wanted, replace=len(candidates) < wanted, p=weights / weights.sum()
    )
    order = np.argsort(labels, axis=None, kind="stable")
    first = np.concatenate([[0], np.cumsum(areas)])
    for slot, instance in enumerate(chosen):
        pixels = order[first[instance] : first[instance + 1]]
        rows, columns = np.divmod(pixels, labels.shape[1])
        prompts.instance[slot] = instance
        if rng.random() < BOX_SHARE:
            corners = np.array(
                [[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]], dtype=np.float64
            )
            prompts.coords_px[slot] = (
                corners + rng.normal(0, 0.05, (2, 2)) * (corners[1] - corners[0]) - 0.5
            )
            prompts.labels[slot] = (2, 3)
        else:
            # anywhere inside, in two of five cases nearer to the centre
            picked = rng.integers(len(rows), size=6 if rng.random() < 0.4 else 1)
            distance = np.hypot(rows[picked] - rows.mean(), columns[picked] - columns.mean())
            nearest = picked[np.argmin(distance)]
            jitter = rng.uniform(-0.5, 0.5, 2)
            prompts.coords_px[slot, 0] = np.array([columns[nearest], rows[nearest]]) + jitter
    for slot in range(len(chosen), count):
        row, column = background[rng.integers(len(background))]
        prompts.coords_px[slot, 0] = (column, row)
    return prompts
