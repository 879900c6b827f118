"""Frames from a DTMicroscope digital twin, over Pyro5."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl.sources.base import SourceError
from samstar_rl.sources.instruments.asyncroscopy import DTYPES
from samstar_rl.sources.instruments.base import (
    BadReplyError,
    ConnectionLostError,
    InstrumentSource,
    RefusedError,
    last_line,
)

DEFAULT_PORT = 9091
OBJECT = "microscope.server"
MICROSCOPES = ("dummy", "STEM")
# images travel as nested lists in text, whose values take some 25 times the memory: 1024 x 1024
# float64 are 20 MB of text and 1.25 GB in memory
MAX_MESSAGE_BYTES = 32 * 2**20


class DTMicroscopeSource(InstrumentSource):
    """Overview images of a digital twin.

    Each connection has a microscope of its own on the server, which is initialised first.

    Parameters
    ----------
    host, port
    microscope : {"dummy", "STEM"}, optional
        What to initialise: by default "STEM" where there are data, otherwise "dummy".
    data : str, optional
        A data file on the server's side, which a "STEM" needs; a "dummy" takes none.
    timeout_s : float
    interval_s : float
        Least time from one request to the next.
    pixel_size_nm : float, optional
        The server does not say.

    Raises
    ------
    SourceError
        If Pyro5 is not installed, or the two options do not fit each other.
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        *,
        microscope: str | None = None,
        data: str | None = None,
        timeout_s: float = 10.0,
        interval_s: float = 0.0,
        pixel_size_nm: float | None = None,
    ) -> None:
        super().__init__(
            f"dtmicroscope://{host}:{port}",
            interval_s=interval_s,
            timeout_s=timeout_s,
            pixel_size_nm=pixel_size_nm,
        )
        self.microscope = microscope or ("dummy" if data is None else "STEM")
        if self.microscope not in MICROSCOPES:
            raise SourceError(
                f"microscope must be dummy or STEM, got {microscope!r}: the server's AFM (port "
                "9092) has no overview image"
            )
        if (self.microscope == "STEM") != (data is not None):
            raise SourceError(
                "a STEM needs data=FILE, the path of an NSID file on the server's side, and a "
                f"dummy takes none: got microscope={self.microscope} and data={data}"
            )
        self._pyro, self._errors = import_pyro()
        self.uri = f"PYRO:{OBJECT}@{host}:{port}"
        self.data = data
        self._proxy: Any = None

    def acquire(self) -> NDArray[np.generic]:
        """Take one overview image, connecting first where needed."""
        try:
            if self._proxy is None:
                self._connect()
            image = decode_overview(self._proxy.get_overview_image())
            if image.ndim != 2:  # it is stored there, and will be the same next time
                raise RefusedError(f"the registered Channel_000 is no image, but {image.shape}")
            return image
        except BadReplyError:
            raise
        except Exception as error:
            raise self._explain(error) from error

    def interrupt(self) -> None:
        """Close the connection under a reply that does not come."""
        connection = getattr(self._proxy, "_pyroConnection", None)
        if connection is not None:
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def disconnect(self) -> None:
        """Release the proxy."""
        if self._proxy is not None:
            self._proxy._pyroRelease()
            self._proxy = None

    def _connect(self) -> None:
        self._pyro.config.SERIALIZER = "serpent"  # literals only: nothing can be executed
        self._pyro.config.MAX_MESSAGE_SIZE = MAX_MESSAGE_BYTES
        self._proxy = self._pyro.Proxy(self.uri)
        self._proxy._pyroTimeout = self.timeout_s
        self._proxy._pyroMaxRetries = 0
        self._proxy.initialize_microscope(self.microscope)
        if self.data is not None:
            self._proxy.register_data(self.data)

    def _explain(self, error: Exception) -> Exception:
        """Tell what the server raised from what happened on the way to it."""
        said = last_line(f"{type(error).__name__}: {error}")
        if hasattr(error, "_pyroTraceback"):  # raised by the server, whatever its type
            hint = ""
            if isinstance(error, KeyError | IndexError | TypeError):
                hint = " (a STEM shows Channel_000 of its data, which must be an image)"
            return RefusedError(f"the server says: {said}{hint}")
        text = str(error).casefold()
        if isinstance(error, self._errors.ProtocolError):
            if "too large" in text:
                return RefusedError(
                    f"the image is larger than {MAX_MESSAGE_BYTES // 2**20} MiB as text, the most "
                    "that is taken: register data of at most about 1024 x 1024 px"
                )
            return RefusedError(
                f"no Pyro server answers there ({said}): 9091 is Tiled's port, too; check it"
            )
        if isinstance(error, AttributeError):
            return RefusedError(f"the server has no overview image, as AFM's has none ({said})")
        if "rejected" in text or "unknown object" in text:
            return RefusedError(
                f"the server has no {OBJECT}: check the port (STEM on 9091) ({said})"
            )
        if isinstance(error, self._errors.CommunicationError | self._errors.NamingError | OSError):
            return ConnectionLostError(said)
        return error


def import_pyro() -> tuple[Any, Any]:
    """Pyro5's api and errors.

    Raises
    ------
    SourceError
        If it is not installed, naming the extra.
    """
    try:
        import Pyro5.api
        import Pyro5.errors
    except ImportError as error:
        raise SourceError(
            "dtmicroscope: sources need Pyro5: pip install 'samstar-rl[dtmicroscope]'"
        ) from error
    return Pyro5.api, Pyro5.errors


def decode_overview(reply: Any) -> NDArray[np.generic]:
    """Turn (nested list, shape, dtype) into an array.

    Raises
    ------
    BadReplyError
        If the three do not fit.
    """
    try:
        values, shape, dtype = reply
        array = np.asarray(values, dtype=DTYPES[str(dtype)])
        return array.reshape([int(length) for length in shape])
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise BadReplyError(f"expected (values, shape, dtype) of an image: {error}") from error
