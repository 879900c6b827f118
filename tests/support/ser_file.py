"""Writes the series files of TIA (.ser), so that there is something to read back.

No library writes them. Little-endian: a header with a dimension's calibration, where each image and
each time stamp lies, and then those. Pixel sizes are in m.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

LITTLE_ENDIAN, TIA, VERSION = 0x4949, 0x0197, 0x0210
IMAGES, TIMES = 0x4122, 0x4152
DTYPES = {"uint8": 1, "uint16": 2, "int16": 5, "float32": 7}


def write_ser(path: Path, images: np.ndarray, pixel_size_m: float) -> None:
    """Write a series of images, (N, H, W)."""
    elements = [_element(image, pixel_size_m) for image in images]
    stamps = [struct.pack("<hhi", TIMES, 0, 0)] * len(images)
    dimension = struct.pack("<iddi", len(images), 0.0, 1.0, 0) + _text("Number") + _text("")
    # the numbers of the header, behind them the dimension, behind it the offsets
    n_before = struct.calcsize("<hhhiiiiii")
    offsets_at = n_before + len(dimension)
    header = struct.pack(
        "<hhhiiiiii",
        *(LITTLE_ENDIAN, TIA, VERSION, IMAGES, TIMES, len(images), len(images), offsets_at, 1),
    )
    first = offsets_at + 8 * len(images)
    starts = first + np.cumsum([0, *(len(one) for one in elements + stamps)])[:-1]
    offsets = starts.astype("<i4").tobytes()
    path.write_bytes(header + dimension + offsets + b"".join(elements + stamps))


def _element(image: np.ndarray, pixel_size_m: float) -> bytes:
    height, width = image.shape
    axis = struct.pack("<ddi", 0.0, pixel_size_m, 0)
    size = struct.pack("<hii", DTYPES[image.dtype.name], width, height)
    # rows from the bottom up
    return axis + axis + size + np.ascontiguousarray(image[::-1]).tobytes()


def _text(text: str) -> bytes:
    return struct.pack("<i", len(text)) + text.encode()
