"""Real frames with their ground truth: an image and its labels, under the same name."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.sources.readers.registry import iterate_file

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_labels(path: Path) -> NDArray[np.int32]:
    """A label image (H, W) of any format that frames are read from, or a binary mask.

    Of an image of two values the larger one is foreground, whatever the values are, and each part
    whose pixels touch, by a corner at least, is a particle; a warning says so.

    Raises
    ------
    SamstarError
        If it has more than two values, and not all are whole numbers.
    """
    values = next(iter(iterate_file(path))).image
    found = np.unique(values)
    if len(found) == 2:
        n_parts, parts = cv2.connectedComponents((values == found[1]).astype(np.uint8))
        warnings.warn(
            f"{path} is a binary mask of the values {found[0]:g} and {found[1]:g}: its "
            f"{n_parts - 1} connected parts are taken for particles, and those that touch for one",
            stacklevel=2,
        )
        return np.asarray(parts, dtype=np.int32)
    labels = np.rint(values)
    if not np.array_equal(labels, values):
        raise SamstarError(f"{path} is no label image: its values are not whole numbers")
    return labels.astype(np.int32)


def labels_of(image: Path, labels: Path) -> NDArray[np.int32]:
    """The labels of an image: in a folder under the image's name, whatever the suffix.

    Raises
    ------
    SamstarError
        If there are none, or several.
    """
    found = sorted(labels.glob(f"{image.stem}.*"))
    if len(found) != 1:
        raise SamstarError(
            f"expected one file {image.stem}.* in {labels} with the ground truth of {image.name}, "
            f"found {len(found)}"
        )
    return read_labels(found[0])


def read_labelled(
    images: Iterable[str | Path], labels: str | Path, *, pixel_size_nm: float | None = None
) -> Iterator[list[LabelledFrame]]:
    """Labelled images, each a stream of its own: single images do not follow one another.

    Parameters
    ----------
    images : iterable of path
    labels : path
        Folder with the ground truth of each image, under its name, whatever the suffix.
    pixel_size_nm : float, optional
        By default what the files say.

    Yields
    ------
    list of LabelledFrame
        Of one frame.

    Raises
    ------
    SamstarError
        If an image has no labels, or several.
    """
    for image in map(Path, images):
        frame = next(iter(iterate_file(image, pixel_size_nm=pixel_size_nm)))
        yield [LabelledFrame(frame, labels_of(image, Path(labels)))]
