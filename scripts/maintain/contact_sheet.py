"""Draw simulated micrographs beside real ones, to judge by eye whether they look real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.simulator import (
    PRESETS,
    SimulatedStream,
    draw_training_image,
    draw_wide_image,
)

Image = NDArray[np.uint8]

_GAP_PX = 4
_WIDE_PX = 1024
_IMAGE_SUFFIXES = {".png", ".tif", ".tiff", ".jpg"}


def draw_contact_sheet(
    *,
    emps: Path | None = None,
    streams: bool = False,
    wide: bool = False,
    rows: int = 5,
    columns: int = 3,
    tile_px: int = 280,
    seed: int = 0,
) -> Image:
    """Simulated frames on the left, real ones (if a folder is given) on the right.

    Parameters
    ----------
    emps : Path or None
        Folder of real micrographs; tiles are random choices from it.
    streams : bool
        Show streams (a row a preset, from early to late frames) instead of training images.
    wide : bool
        Show wide training images, of many small particles, in place of the usual ones.
    rows, columns : int
        Number of tiles of each of the two blocks; with `streams` there is a row for each preset.
    tile_px : int
        Edge of a tile.
    seed : int
        Chooses what is shown.

    Returns
    -------
    (H, W) uint8 array
        The sheet.
    """
    rng = np.random.default_rng(seed)
    if streams:
        simulated = _stream_tiles(seed, columns)
    elif wide:
        simulated = [draw_wide_image(rng, _WIDE_PX)[0] for _ in range(rows * columns)]
    else:
        simulated = [draw_training_image(rng, 384)[0] for _ in range(rows * columns)]
    blocks = [_grid(simulated, columns, tile_px)]
    if emps is not None:
        blocks.append(_grid(_real_tiles(rng, emps, len(simulated)), columns, tile_px))
    gap = np.full((blocks[0].shape[0], 4 * _GAP_PX), 255, np.uint8)
    return np.hstack([blocks[0], gap, blocks[1]]) if len(blocks) > 1 else blocks[0]


def _stream_tiles(seed: int, columns: int) -> list[Image]:
    tiles = []
    for preset in PRESETS:
        with SimulatedStream(preset, seed=seed) as stream:
            for column in range(columns):
                frame = stream.frame_at(60 * column).frame
                tiles.append(frame.image.astype(np.uint8))
    return tiles


def _real_tiles(rng: np.random.Generator, folder: Path, count: int) -> list[Image]:
    """The middle squares of random pictures of a folder."""
    if not folder.is_dir():
        raise SamstarError(f"{folder} is no folder; give one that holds real micrographs")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
    if not paths:
        raise SamstarError(
            f"{folder} holds no images ({', '.join(sorted(_IMAGE_SUFFIXES))}); choose another"
        )
    chosen = rng.choice(len(paths), size=count, replace=len(paths) < count)
    tiles = []
    for path in (paths[index] for index in chosen):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise SamstarError(f"{path} cannot be read as an image; remove it from the folder")
        height, width = image.shape
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        tiles.append(image[top : top + side, left : left + side])
    return tiles


def _grid(tiles: list[Image], columns: int, tile_px: int) -> Image:
    shown = []
    for tile in tiles:
        interpolation = cv2.INTER_AREA if tile.shape[0] > tile_px else cv2.INTER_CUBIC
        resized = cv2.resize(tile, (tile_px, tile_px), interpolation=interpolation)
        shown.append(np.pad(resized, _GAP_PX // 2, constant_values=255))
    lines = [np.hstack(shown[start : start + columns]) for start in range(0, len(shown), columns)]
    return np.vstack(lines)


def contact_sheet(
    output: Annotated[Path, typer.Argument(help="PNG to write.")],
    emps: Annotated[Path | None, typer.Option(help="Folder of real micrographs.")] = None,
    streams: Annotated[bool, typer.Option(help="Show streams, a row for each preset.")] = False,
    wide: Annotated[
        bool, typer.Option(help="Show wide training images, of many small particles.")
    ] = False,
    rows: Annotated[int, typer.Option(help="Rows of training images.")] = 5,
    columns: Annotated[int, typer.Option(help="Columns of each block.")] = 3,
    tile_px: Annotated[int, typer.Option(help="Edge of a tile in px.")] = 280,
    seed: Annotated[int, typer.Option(help="Chooses what is shown.")] = 0,
) -> None:
    """Draw simulated micrographs (left) beside real ones (right)."""
    sheet = draw_contact_sheet(
        emps=emps,
        streams=streams,
        wide=wide,
        rows=rows,
        columns=columns,
        tile_px=tile_px,
        seed=seed,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(output), sheet)
    typer.echo(f"{output}: {sheet.shape[1]} x {sheet.shape[0]} px")


if __name__ == "__main__":
    run_command(contact_sheet)
