"""Writes the files of DigitalMicrograph, versions 3 and 4, so that there is something to read back.

No library writes them. A file is a tree of tags, big-endian, whose values are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

GROUP, DATA, ARRAY = 20, 21, 20
UINT16, INT32, UINT32, FLOAT32, FLOAT64 = 4, 3, 5, 6, 7
#: NumPy's dtype -> code of an image's values, code of the tag's elements
DTYPES = {
    "uint16": (10, UINT16),
    "float32": (2, FLOAT32),
    "int32": (7, INT32),
    "BGRA": (23, UINT32),
}
Axes = Sequence[tuple[float, str]]


def write_dm(
    path: Path,
    image: np.ndarray,
    pixel_size: float,
    units: str,
    *,
    form: str = "Image",
    axes: Axes | None = None,
) -> None:
    """Write a preview and an image, (H, W) or (N, H, W), of the pixel size in some units.

    The version is that of the suffix, .dm3 or .dm4. Pixels of the fields B, G, R and A are colours.
    The form is what the file says of itself; axes are scales and units of x, y and the planes.
    """
    version = int(path.suffix[-1])
    preview = image[..., ::4, ::4].reshape(-1, *image[..., ::4, ::4].shape[-2:])[0]
    tags = {
        "ImageList": [
            _image(preview, 1.0, "", "Preview"),
            _image(image, pixel_size, units, "Gold", form, axes),
        ],
        "Thumbnails": [{"ImageIndex": 0}],
    }
    body = _Writer(version).group(tags)
    size = _integer(len(body), version)
    path.write_bytes(struct.pack(">i", version) + size + struct.pack(">i", 1) + body + bytes(8))


def _kind(image: np.ndarray) -> str:
    return "BGRA" if image.dtype.names else image.dtype.name


def _image(
    image: np.ndarray,
    pixel_size: float,
    units: str,
    name: str,
    form: str = "Image",
    axes: Axes | None = None,
) -> dict[str, Any]:
    # x first, then y, then the planes
    axes = axes or [(pixel_size, units), (pixel_size, units), (1.0, "")][: image.ndim]
    return {
        "ImageData": {
            "Calibrations": {
                "Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": ""},
                "Dimension": [
                    {"Origin": 0.0, "Scale": scale, "Units": unit} for scale, unit in axes
                ],
            },
            "Data": image,
            "DataType": DTYPES[_kind(image)][0],
            "Dimensions": [_Bare(size) for size in image.shape[::-1]],
            "PixelDepth": image.itemsize,
        },
        "ImageTags": {"Meta Data": {"Format": form}},
        "Name": name,
    }


class _Bare(int):
    """A number without a name."""


def _integer(value: int, version: int) -> bytes:
    return struct.pack(">q" if version == 4 else ">i", value)


class _Writer:
    """One of the two versions: the fourth has longer integers and says how long each tag is."""

    def __init__(self, version: int) -> None:
        self.version = version

    def group(self, tags: Mapping[str, Any] | Sequence[Any]) -> bytes:
        """A named or an unnamed list of tags."""
        entries = list(tags.items()) if isinstance(tags, Mapping) else [("", tag) for tag in tags]
        content = b"".join(self.tag(name, value) for name, value in entries)
        return bytes([1, 0]) + _integer(len(entries), self.version) + content

    def tag(self, name: str, value: Any) -> bytes:
        nested = isinstance(value, Mapping | list)
        content = self.group(value) if nested else self.data(value)
        length = _integer(len(content), 4) if self.version == 4 else b""
        head = struct.pack(">BH", GROUP if nested else DATA, len(name)) + name.encode()
        return head + length + content

    def data(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            code = DTYPES[_kind(value)][1]
            values = value.astype(value.dtype.newbyteorder("<")).tobytes()
            return self.described([ARRAY, code, value.size], values)
        if isinstance(value, str):
            return self.described([ARRAY, UINT16, len(value)], value.encode("utf-16-le"))
        if isinstance(value, float):
            return self.described([FLOAT64], struct.pack("<d", value))
        return self.described([UINT32], struct.pack("<I", value))

    def described(self, information: Sequence[int], values: bytes) -> bytes:
        numbers = [len(information), *information]
        return b"%%%%" + b"".join(_integer(one, self.version) for one in numbers) + values
