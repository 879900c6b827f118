"""The EMPS micrographs and their one split.

B. Yildirim, J. M. Cole, "Bayesian particle instance segmentation for electron microscopy image
quantification", J. Chem. Inf. Model. 2021, 61, 1136.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError

Labelled = tuple[NDArray[np.uint8], NDArray[np.int32]]


def split_names(part: str) -> list[str]:
    """Names of the frames of one part.

    Raises
    ------
    SamstarError
        If the part is not "sam", "tune" or "check".
    """
    text = resources.files("samstar_rl.fitting").joinpath("emps_split.toml").read_text("utf-8")
    parts: dict[str, list[str]] = tomllib.loads(text)
    if part not in parts:
        raise SamstarError(f"part must be one of {', '.join(parts)}, got {part!r}")
    return parts[part]


def load_labelled(folder: Path, names: list[str]) -> list[Labelled]:
    """Read frames by name from a folder in the layout of EMPS, ``images/`` beside ``labels/``."""
    return load_pairs(folder / "images", folder / "labels", names)


def load_pairs(images: Path, labels: Path, names: list[str] | None = None) -> list[Labelled]:
    """Read grey images and their instance labels.

    Parameters
    ----------
    images, labels : Path
        Folders with NAME.png: grey values, and uint16 instance labels.
    names : list of str, optional
        By default all that lie in `images`.

    Returns
    -------
    list of (image, labels)
        (H, W) uint8 and (H, W) int32.

    Raises
    ------
    SamstarError
        If there are no images, a file is missing or not an image, or the shapes differ.
    """
    names = names or sorted(path.stem for path in images.glob("*.png"))
    if not names:
        raise SamstarError(f"no *.png in {images}: expected grey images NAME.png there")
    return [_read_pair(images / f"{name}.png", labels / f"{name}.png") for name in names]


def _read_pair(image_path: Path, labels_path: Path) -> Labelled:
    image = _read(image_path, cv2.IMREAD_GRAYSCALE).astype(np.uint8)
    labels = _read(labels_path, cv2.IMREAD_UNCHANGED).astype(np.int32)
    if image.shape != labels.shape:
        raise SamstarError(
            f"{image_path.name}: the image has the shape {image.shape}, its labels {labels.shape}; "
            "labels must be one-channel images of the same size"
        )
    return image, labels


def _read(path: Path, mode: int) -> NDArray[np.generic]:
    image = cv2.imread(str(path), mode)
    if image is None:
        raise SamstarError(
            f"cannot read {path}: expected the EMPS layout, images/NAME.png and labels/NAME.png "
            "(https://github.com/by256/emps)"
        )
    return image
