"""What DTMicroscope's STEM server does, on loopback."""

from __future__ import annotations

import threading
from typing import Any, Self

from samstar_rl.sources.instruments.dtmicroscope import OBJECT, import_pyro
from samstar_rl.sources.instruments.specimen import Specimen


class DTMicroscopeSimulator:
    """A digital twin that serves one stored image of a simulated specimen; a context manager.

    A "STEM" has no image before `register_data`, a "dummy" fails when that is called; errors are
    Python's exceptions. Images travel as nested lists, as those of the real server do.

    Parameters
    ----------
    specimen : Specimen, optional
    port : int
        0 takes a free one.
    size : int
        Pixels along a side.
    n_failures : int
        So many requests for an image fail after the first one.

    Attributes
    ----------
    calls : list of str
        Every call that came.

    Raises
    ------
    SourceError
        If Pyro5 is not installed.
    """

    def __init__(
        self,
        specimen: Specimen | None = None,
        *,
        port: int = 0,
        size: int = 256,
        n_failures: int = 0,
    ) -> None:
        api, _ = import_pyro()
        self.image = (specimen or Specimen()).scan(size)
        self.calls: list[str] = []
        self.n_failures = n_failures
        self._daemon = api.Daemon("127.0.0.1", port)
        self._daemon.register(_make_server(api, self), OBJECT)
        self._thread = threading.Thread(target=self._daemon.requestLoop, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._daemon.locationStr.rpartition(":")[2])

    @property
    def source(self) -> str:
        """What opens it."""
        return f"dtmicroscope://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._daemon.shutdown()
        self._thread.join(5)


def _make_server(api: Any, simulator: DTMicroscopeSimulator) -> Any:
    """The class that is served: a session each connection."""

    @api.expose
    @api.behavior(instance_mode="session")
    class Server:
        def __init__(self) -> None:
            self._microscope: str | None = None
            self._has_data = False

        def initialize_microscope(self, name: str) -> None:
            simulator.calls.append(f"initialize {name}")
            if name not in ("dummy", "STEM"):
                raise ValueError(f"unknown microscope {name}")
            self._microscope = name

        def register_data(self, path: str) -> None:
            simulator.calls.append(f"register {path}")
            if self._microscope != "STEM":
                raise AttributeError("'NoneType' object has no attribute 'register_data'")
            if path.startswith("missing"):
                raise FileNotFoundError(2, "No such file or directory", path)
            self._has_data = True

        def get_overview_image(self) -> tuple[list[Any], tuple[int, ...], str]:
            simulator.calls.append("image")
            if self._microscope == "STEM" and not self._has_data:
                raise KeyError("Channel_000")
            n_images = simulator.calls.count("image")
            if 1 < n_images <= 1 + simulator.n_failures:
                raise RuntimeError("the stage is moving")
            image = simulator.image
            return image.tolist(), image.shape, str(image.dtype)

    return Server
