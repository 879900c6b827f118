"""What EPICS areaDetector's PVA plugin does, on loopback: an NTNDArray a frame."""

from __future__ import annotations

import struct
import threading
import time
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from samstar_rl.sources.base import SourceError
from samstar_rl.sources.instruments.codecs import HEADER, PIXEL_TYPES
from samstar_rl.sources.instruments.pva import COLOUR_AXES
from samstar_rl.sources.instruments.specimen import Specimen

CHANNEL = "SIM1:Pva1:Image"
# members of NTNDArray's union of values, by the name of NumPy's type
MEMBERS = {
    "bool": "booleanValue",
    **{"int8": "byteValue", "int16": "shortValue", "int32": "intValue", "int64": "longValue"},
    **{"uint8": "ubyteValue", "uint16": "ushortValue", "uint32": "uintValue"},
    **{"uint64": "ulongValue", "float32": "floatValue", "float64": "doubleValue"},
}


class PvaSimulator:
    """A channel that publishes the images of a simulated specimen; a context manager.

    It serves under a free port, which `conf` tells, and not to this network. As an idle detector,
    it has no image (its value is null) before the first one is published.

    Parameters
    ----------
    specimen : Specimen, optional
    fps : float
        Images a second that are published; 0 leaves that to `publish`.
    size : int
        Pixels along a side.
    codec : {"", "blosc", "lz4", "bslz4"}
        How the images are compressed.
    colour_mode : int, optional
        2, 3 or 4: images in colour, as RGB1, RGB2 or RGB3.

    Raises
    ------
    SourceError
        If p4p is not installed.
    """

    def __init__(
        self,
        specimen: Specimen | None = None,
        *,
        fps: float = 2.0,
        size: int = 256,
        codec: str = "",
        colour_mode: int | None = None,
    ) -> None:
        try:
            from p4p.nt import NTNDArray
            from p4p.server import Server
            from p4p.server.thread import SharedPV
        except ImportError as error:
            raise SourceError(
                "the simulator of pva needs p4p: pip install 'samstar-rl[pva]'"
            ) from error
        self.specimen = specimen or Specimen()
        self.fps, self.size = fps, size
        self.codec, self.colour_mode = codec, colour_mode
        self.n_published = 0
        self._type = NTNDArray.buildType()
        self._pv = SharedPV(initial=self._new_value())
        self._server = Server(providers=[{CHANNEL: self._pv}], isolate=True)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._publish_steadily, daemon=True)

    @property
    def conf(self) -> dict[str, str]:
        """How a client finds it: for `PvaSource`, or as environment variables."""
        return {key: str(value) for key, value in self._server.conf().items()}

    @property
    def source(self) -> str:
        """What opens it, with `conf` in the environment."""
        return f"pva://{CHANNEL}"

    def __enter__(self) -> Self:
        if self.fps > 0:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._server.stop()

    def publish(
        self,
        image: NDArray[Any] | None = None,
        *,
        time_s: float | None = None,
        unique_id: int | None = None,
    ) -> None:
        """Publish an image, by default the specimen's next one.

        Parameters
        ----------
        image : (H, W) array, optional
        time_s : float, optional
            When it was taken, by default now.
        unique_id : int, optional
            By default it counts the images from 1.
        """
        if image is None:
            image = np.clip(self.specimen.scan(self.size), 0, 255).astype(np.uint8)
        self.n_published += 1
        value = self._new_value()
        _fill_ndarray(value, image, codec=self.codec, colour_mode=self.colour_mode)
        value.uniqueId = self.n_published if unique_id is None else unique_id
        value.timeStamp.secondsPastEpoch, value.timeStamp.nanoseconds = divmod(
            round((time.time() if time_s is None else time_s) * 1e9), 10**9
        )
        self._pv.post(value)

    def _new_value(self) -> Any:
        from p4p import Value

        return Value(self._type, {})

    def _publish_steadily(self) -> None:
        while not self._stopped.wait(1 / self.fps):
            self.publish()


def _fill_ndarray(
    value: Any, image: NDArray[Any], *, codec: str = "", colour_mode: int | None = None
) -> None:
    """Put an image into an NTNDArray as areaDetector does."""
    if colour_mode is not None:
        image = np.stack([image] * 3, axis=image.ndim + 1 + COLOUR_AXES[colour_mode])
    value.attribute = [{"name": "ColorMode", "value": colour_mode or 0}]
    value.dimension = [
        {"size": length, "offset": 0, "fullSize": length, "binning": 1}
        for length in reversed(image.shape)
    ]
    value.uncompressedSize = value.compressedSize = image.nbytes
    value.codec.name = codec
    if not codec:
        value.value = (MEMBERS[str(image.dtype)], image.ravel())
        return
    packed = np.frombuffer(compress(codec, image), np.uint8)
    numbers = {dtype: number for number, dtype in PIXEL_TYPES.items()}
    value.codec.parameters = numbers[image.dtype]
    value.compressedSize = packed.nbytes
    value.value = (MEMBERS["uint8"], packed)


def compress(codec: str, image: NDArray[Any]) -> bytes:
    """Compress an image's values as pvaPy's area detector simulator does.

    Parameters
    ----------
    codec : {"blosc", "lz4", "bslz4"}
    image : array
    """
    import numcodecs

    data = np.ascontiguousarray(image).tobytes()
    if codec == "blosc":
        return bytes(numcodecs.Blosc().encode(data))
    if codec == "lz4":  # one block that holds everything, behind HDF5's header
        return HEADER.pack(len(data), len(data)) + _block(data)
    block_bytes = 8192
    values = np.ascontiguousarray(image).reshape(-1)
    per_block = block_bytes // values.itemsize // 8 * 8
    whole = len(values) // 8 * 8
    blocks = [HEADER.pack(len(data), block_bytes)]
    for start in range(0, whole, per_block):
        blocks.append(_block(_shuffle(values[start : min(start + per_block, whole)])))
    return b"".join(blocks) + values[whole:].tobytes()


def _block(data: bytes) -> bytes:
    from numcodecs import lz4

    packed = bytes(lz4.compress(data))[4:]  # without numcodecs' own header
    return struct.pack(">I", len(packed)) + packed


def _shuffle(values: NDArray[Any]) -> bytes:
    """From one row a value to one row a bit of the values."""
    rows = np.frombuffer(values.tobytes(), np.uint8).reshape(len(values), values.itemsize)
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes()
