"""Frames from a DTMicroscope digital twin, over Pyro5."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl.sources.base import SourceError
from samstar_rl.sources.instruments.asyncroscopy import DTYPES
from samstar_rl.sources.instruments.base import (
    MAX_REPLY_BYTES,
    BadReplyError,
    ConnectionLostError,
    InstrumentSource,
)

DEFAULT_PORT = 9091
OBJECT = "microscope.server"


class DTMicroscopeSource(InstrumentSource):
    """Overview images of a digital twin.

    Each connection has a microscope of its own on the server, which is initialised first.

    Parameters
    ----------
    host, port
    microscope : str
        What to initialise: "dummy" or "STEM".
    data : str, optional
        A data file on the server's side, registered first.
    timeout_s : float
    interval_s : float
        Least time from one request to the next.
    pixel_size_nm : float, optional
        The server does not say.

    Raises
    ------
    SourceError
        If Pyro5 is not installed.
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        *,
        microscope: str = "STEM",
        data: str | None = None,
        timeout_s: float = 10.0,
        interval_s: float = 0.0,
        pixel_size_nm: float | None = None,
    ) -> None:
        super().__init__(
            f"dtmicroscope://{host}:{port}", interval_s=interval_s, pixel_size_nm=pixel_size_nm
        )
        try:
            import Pyro5.api
            import Pyro5.errors
        except ImportError as error:
            raise SourceError(
                "dtmicroscope: sources need Pyro5: pip install 'samstar-rl[dtmicroscope]'"
            ) from error
        self._pyro = Pyro5.api
        self._errors = Pyro5.errors
        self.uri = f"PYRO:{OBJECT}@{host}:{port}"
        self.microscope = microscope
        self.data = data
        self.timeout_s = timeout_s
        self._proxy: Any = None

    def acquire(self) -> NDArray[np.generic]:
        """Take one overview image, connecting first where needed."""
        try:
            if self._proxy is None:
                self._proxy = self._connect()
            return decode_overview(self._proxy.get_overview_image())
        except BadReplyError:
            raise
        except (self._errors.CommunicationError, self._errors.NamingError) as error:
            raise ConnectionLostError(str(error)) from error
        except OSError:
            raise
        except Exception as error:  # Pyro raises the server's own exceptions here
            raise BadReplyError(f"the server says: {error}") from error

    def disconnect(self) -> None:
        """Release the proxy."""
        if self._proxy is not None:
            self._proxy._pyroRelease()
            self._proxy = None

    def _connect(self) -> Any:
        self._pyro.config.SERIALIZER = "serpent"  # literals only: nothing can be executed
        self._pyro.config.MAX_MESSAGE_SIZE = MAX_REPLY_BYTES
        proxy = self._pyro.Proxy(self.uri)
        proxy._pyroTimeout = self.timeout_s
        proxy._pyroMaxRetries = 0
        try:
            proxy.initialize_microscope(self.microscope)
            if self.data is not None:
                proxy.register_data(self.data)
        except BaseException:
            proxy._pyroRelease()
            raise
        return proxy


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
