"""A file of named arrays: memory-mapped, versioned, checksummed, no pickle.

Layout: 8 bytes of magic, the length of the header (8 bytes, little endian), the header in JSON,
then the arrays, each beginning at a multiple of 64 bytes. The header holds the version, whatever
the writer wants to say, the arrays' types and places, and the sha256 of all that follows it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl._io import atomic
from samstar_rl.errors import SamstarError

MAGIC = b"SAMSTAR\x01"
ALIGNMENT = 64


class ArrayFileError(SamstarError):
    """A file is missing, damaged, foreign, or of another version."""


def write_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[np.generic]],
    header: Mapping[str, Any],
    *,
    version: int,
) -> str:
    """Write arrays to a file that is complete or absent, and return its sha256.

    Parameters
    ----------
    path : Path
    arrays : mapping of str to array
    header : mapping
        Fit for JSON.
    version : int
        Of what the arrays mean.
    """
    places, chunks, position = {}, [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array)
        places[name] = {"dtype": data.dtype.str, "shape": data.shape, "offset": position}
        padding = -data.nbytes % ALIGNMENT
        chunks += [data.tobytes(), b"\0" * padding]
        position += data.nbytes + padding
    body = b"".join(chunks)
    sha256 = hashlib.sha256(body).hexdigest()
    described = {"version": version, "sha256": sha256, "arrays": places, "header": dict(header)}
    text = json.dumps(described, allow_nan=False).encode()
    # spaces behind the header keep the arrays aligned
    text += b" " * (-(len(MAGIC) + 8 + len(text)) % ALIGNMENT)
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(MAGIC + len(text).to_bytes(8, "little") + text + body)
        file.flush()
        # a renamed file must not be empty after a power cut
        os.fsync(file.fileno())
    return sha256


class ArrayFile:
    """An open file of arrays; they are views into the mapped file and read-only.

    Parameters
    ----------
    path : Path
    version : int
        What is expected.
    sha256 : str, optional
        What is expected; the file's own by default.
    verify : bool
        Compare the checksum with the content, once.

    Raises
    ------
    ArrayFileError
        Naming the file and what is wrong with it.
    """

    def __init__(
        self, path: Path, *, version: int, sha256: str | None = None, verify: bool = True
    ) -> None:
        self.path = path
        self._view, self._start, described = _open(path)
        if described.get("version") != version:
            raise ArrayFileError(
                f"{path} has the format version {described.get('version')}, this program reads "
                f"{version}: build it anew"
            )
        self.header: dict[str, Any] = described["header"]
        self.sha256: str = described["sha256"]
        self._places: dict[str, Any] = described["arrays"]
        if sha256 is not None and sha256 != self.sha256:
            raise ArrayFileError(f"{path} belongs elsewhere: its checksum is not the one recorded")
        if verify:
            self._verify()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._places)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._places:
            raise ArrayFileError(f"{self.path} holds no {name!r}: it has {', '.join(self.names)}")
        place = self._places[name]
        return np.ndarray(
            tuple(place["shape"]),
            dtype=np.dtype(place["dtype"]),
            buffer=self._view,
            offset=self._start + place["offset"],
        )

    def _verify(self) -> None:
        if hashlib.sha256(self._view[self._start :]).hexdigest() != self.sha256:
            raise ArrayFileError(f"{self.path} is damaged: its checksum does not fit its content")


def _open(path: Path) -> tuple[memoryview, int, dict[str, Any]]:
    """Map a file; returns it, where its arrays begin, and its header."""
    try:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise ArrayFileError(f"{path} is missing") from error
    except ValueError as error:
        raise ArrayFileError(f"{path} is empty") from error
    prefix = len(MAGIC) + 8
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise ArrayFileError(f"{path} is not a file of this program")
    start = prefix + int.from_bytes(view[len(MAGIC) : prefix], "little")
    try:
        described = json.loads(bytes(view[prefix:start]))
        _check_places(described, len(view) - start)
    except (ValueError, KeyError, TypeError) as error:
        raise ArrayFileError(f"{path} is damaged: its header does not fit ({error})") from error
    return view, start, described


def _check_places(described: dict[str, Any], n_bytes: int) -> None:
    """No array may lie outside of the file, whatever a damaged header says."""
    for name, place in described["arrays"].items():
        dtype = np.dtype(place["dtype"])
        sizes = [int(size) for size in place["shape"]]
        end = int(place["offset"]) + dtype.itemsize * int(np.prod(sizes, dtype=np.int64))
        if dtype.hasobject or min([*sizes, place["offset"]], default=0) < 0 or end > n_bytes:
            raise SamstarError(f"the array {name!r} lies outside of the file")
    if not isinstance(described["sha256"], str) or not isinstance(described["header"], dict):
        raise SamstarError("no checksum or no header")
