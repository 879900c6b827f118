"""A file of named arrays in safetensors' format: memory-mapped, versioned, checksummed, no pickle.

The file's metadata hold the version, whatever the writer wants to say, and the sha256 of that and
of all arrays.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from samstar_rl._io import atomic
from samstar_rl.errors import SamstarError


class ArrayFileError(SamstarError):
    """A file is missing, damaged, foreign, or of another version."""


def write_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
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

    Returns
    -------
    str
        The sha256 of header and arrays, 64 hexadecimal digits.
    """
    plain = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    text = json.dumps(dict(header), allow_nan=False)
    sha256 = _digest(text, plain.items())
    metadata = {"version": str(version), "sha256": sha256, "header": text}
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(save(plain, metadata))
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
        try:
            # as torch's tensors, and no copies as NumPy's: these are mapped
            self._file = safe_open(path, framework="pt")
            metadata = self._file.metadata() or {}
            found = int(metadata["version"])
            self.sha256: str = metadata["sha256"]
            self.header: dict[str, Any] = json.loads(metadata["header"])
        except FileNotFoundError as error:
            raise ArrayFileError(f"{path} is missing") from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ArrayFileError(
                f"{path} is damaged, or of an earlier version of this program ({error}): build it "
                "anew"
            ) from error
        if found != version:
            raise ArrayFileError(
                f"{path} has the format version {found}, this program reads {version}: build it "
                "anew"
            )
        if sha256 is not None and sha256 != self.sha256:
            raise ArrayFileError(f"{path} belongs elsewhere: its checksum is not the one recorded")
        if verify and self.sha256 != _digest(
            metadata["header"], ((name, self[name]) for name in self.names)
        ):
            raise ArrayFileError(f"{path} is damaged: its checksum does not fit its content")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(sorted(self._file.keys()))

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            array: NDArray[Any] = self._file.get_tensor(name).numpy()
        except SafetensorError as error:
            raise ArrayFileError(
                f"{self.path} holds no {name!r}: it has {', '.join(self.names)}"
            ) from error
        array.flags.writeable = False
        return array


def _digest(header: str, arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    digest = hashlib.sha256(header.encode())
    for name, array in arrays:
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
