"""Compressed pixels of areaDetector's arrays: blosc, lz4 and bitshuffled lz4 (bslz4)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.sources.instruments.base import MAX_REPLY_BYTES, BadReplyError

# pvData's numbers of scalar types, which `codec.parameters` names
PIXEL_TYPES = {
    number: np.dtype(name)
    for number, name in enumerate(
        ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), start=1
    )
} | {9: np.dtype("float32"), 10: np.dtype("float64")}
# HDF5's filters put the size of the whole (8 bytes) and of a block (4 bytes) first, big-endian
HEADER = struct.Struct(">QI")
BITSHUFFLE_BLOCK_BYTES = 8192


def decompress(
    codec: str, compressed: NDArray[np.uint8], n_bytes: int, dtype: np.dtype[Any]
) -> NDArray[np.generic]:
    """Undo the compression of an image's values.

    Parameters
    ----------
    codec : {"blosc", "lz4", "bslz4"}
    compressed : array of uint8
    n_bytes : int
        How many bytes the values take.
    dtype : dtype
        Of a value.

    Returns
    -------
    array
        The values, one after the other.

    Raises
    ------
    BadReplyError
        If there is no such codec here, or the data are damaged or too large.
    """
    if codec not in CODECS:
        raise BadReplyError(
            f"the image is compressed ({codec}): choose {', '.join(CODECS)} or None as the "
            "compressor of the areaDetector's codec plugin, or the channel before it"
        )
    if not 0 < n_bytes <= MAX_REPLY_BYTES or n_bytes % dtype.itemsize:
        raise BadReplyError(f"a compressed image of {n_bytes} bytes of {dtype} cannot be")
    try:
        values = CODECS[codec](compressed.tobytes(), n_bytes, dtype.itemsize)
    except ImportError as error:
        raise BadReplyError(
            f"the image is compressed ({codec}), which needs numcodecs: pip install "
            "'samstar-rl[pva]', or choose the compressor None in the areaDetector's codec plugin"
        ) from error
    except (RuntimeError, ValueError, struct.error) as error:
        raise BadReplyError(f"the compressed image ({codec}) is damaged: {error}") from error
    if len(values) != n_bytes:
        raise BadReplyError(
            f"the compressed image ({codec}) has {len(values)} bytes where {n_bytes} are announced"
        )
    return np.frombuffer(values, dtype)


def _blosc(data: bytes, n_bytes: int, itemsize: int) -> bytes:
    from numcodecs import blosc

    # it would be allocated, and read, as its header announces
    announced, _, n_packed = struct.unpack_from("<III", data, 4)
    if announced != n_bytes or n_packed > len(data):
        raise SamstarError(f"{n_packed} bytes of which {len(data)} came, for {announced} bytes")
    return bytes(blosc.decompress(data))


def _lz4(data: bytes, n_bytes: int, itemsize: int) -> bytes:
    """HDF5's blocks where they begin with the size of the whole, otherwise one block."""
    if not _begins_with_size(data, n_bytes):
        return _lz4_block(data, n_bytes)
    _, block_bytes = HEADER.unpack_from(data)
    if block_bytes < 1:
        raise SamstarError("its blocks are empty")
    blocks, position = [], HEADER.size
    for start in range(0, n_bytes, block_bytes):
        block, position = _next_block(data, position)
        wanted = min(block_bytes, n_bytes - start)
        # a block that would not shrink is stored as it is
        blocks.append(block if len(block) == wanted else _lz4_block(block, wanted))
    return b"".join(blocks)


def _bitshuffled_lz4(data: bytes, n_bytes: int, itemsize: int) -> bytes:
    """Blocks of a multiple of eight values; what is left over is stored as it is."""
    block_bytes, position = BITSHUFFLE_BLOCK_BYTES, 0
    if _begins_with_size(data, n_bytes):
        block_bytes, position = HEADER.unpack_from(data)[1], HEADER.size
    block_values = block_bytes // itemsize // 8 * 8
    if block_values < 8:
        raise SamstarError(f"blocks of {block_bytes} bytes cannot be")
    blocks, left = [], n_bytes // itemsize
    while left >= 8:
        n_values = min(block_values, left // 8 * 8)
        block, position = _next_block(data, position)
        rows = np.frombuffer(_lz4_block(block, n_values * itemsize), np.uint8).reshape(
            8 * itemsize, n_values // 8
        )
        bits = np.unpackbits(rows, axis=1, bitorder="little")
        blocks.append(np.packbits(bits.T, axis=1, bitorder="little").tobytes())
        left -= n_values
    blocks.append(data[position : position + left * itemsize])
    return b"".join(blocks)


def _begins_with_size(data: bytes, n_bytes: int) -> bool:
    return len(data) > HEADER.size and HEADER.unpack_from(data)[0] == n_bytes


def _next_block(data: bytes, position: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">I", data, position)
    end = position + 4 + length
    if end > len(data):
        raise SamstarError("it ends within a block")
    return data[position + 4 : end], end


def _lz4_block(block: bytes, n_bytes: int) -> bytes:
    from numcodecs import lz4

    return bytes(lz4.decompress(struct.pack("<I", n_bytes) + block))


#: codec -> what undoes it: compressed bytes, bytes that must come out, bytes of a value
CODECS: dict[str, Callable[[bytes, int, int], bytes]] = {
    "blosc": _blosc,
    "lz4": _lz4,
    "bslz4": _bitshuffled_lz4,
}
