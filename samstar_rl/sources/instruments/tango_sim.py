"""What asyncroscopy's Tango servers of versions 2 and 3 do, on loopback and without a database.

The device server has the process to itself (``python -m`` of this module), for Tango allows one a
process; `TangoSimulator` starts and ends such a process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from samstar_rl.sources.instruments.specimen import Specimen
from samstar_rl.sources.instruments.tango import DEVICES, DWELL_LIMITS_S, import_tango

READY = "ready:"
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Behaviour:
    """What a simulated microscope does.

    Parameters
    ----------
    version : {2, 3}
        Of asyncroscopy.
    seconds : float
        How long a scan takes.
    fov : bool
        Whether it says its field of view; asyncroscopy's own twin fails there.
    refuse : bool
        Whether each scan ends with an exception of the device.
    tiled : bool
        Whether version 3 offers images over HTTP; otherwise they lie in the folder only.
    preset : str
    seed : int
        Of the specimen.
    """

    version: int = 2
    seconds: float = 0.0
    fov: bool = True
    refuse: bool = False
    tiled: bool = True
    preset: str = "particles"
    seed: int = 0


class TangoSimulator:
    """A process with the devices of a simulated microscope; a context manager.

    Parameters
    ----------
    behaviour : Behaviour, optional
    port : int
        0 takes a free one.

    Raises
    ------
    SourceError
        If pytango is not installed.
    RuntimeError
        On entering, if the server does not come up.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        import_tango()
        self.behaviour = behaviour or Behaviour()
        self.port = port or _free_port()
        self._temporary = tempfile.TemporaryDirectory()
        #: where version 3 saves its files
        self.folder = Path(self._temporary.name)
        self.log = self.folder / "scans.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def source(self) -> str:
        """What opens it."""
        return f"tango://127.0.0.1:{self.port}?dbase=no&version={self.behaviour.version}"

    @property
    def n_scans(self) -> int:
        """How many scans were made."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__, str(self.port), str(self.folder)]
        command.append(json.dumps(self.behaviour.__dict__))
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self._process.stdout is None or READY not in self._process.stdout.readline():
            self.__exit__()
            raise RuntimeError(f"the Tango server does not come up at the port {self.port}")
        threading.Thread(target=self._process.stdout.read, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._temporary.cleanup()


def _serve(port: int, folder: Path, behaviour: Behaviour) -> None:
    """Serve the devices until the process ends."""
    from tango.server import run

    microscope = Microscope(folder, behaviour)
    classes = make_devices(microscope)
    names = DEVICES[behaviour.version]
    devices = ",".join(f"{cls.__name__}::{names[role]}" for role, cls in classes.items())
    run(
        tuple(classes.values()),
        args=["samstar", "simulated", "-ORBendPoint", f"giop:tcp:127.0.0.1:{port}", "-nodb",
              "-dlist", devices],
        post_init_callback=lambda: print(READY, flush=True),
    )  # fmt: skip


class Microscope:
    """The state behind the devices.

    Parameters
    ----------
    folder : Path
    behaviour : Behaviour
    """

    def __init__(self, folder: Path, behaviour: Behaviour) -> None:
        self.folder, self.behaviour = folder, behaviour
        self.specimen = Specimen(behaviour.preset, seed=behaviour.seed)
        self.size, self.dwell_time_s = 256, 1e-6
        self.saved: dict[str, NDArray[np.float32]] = {}
        self.tiled: ThreadingHTTPServer | None = None
        if behaviour.version == 3 and behaviour.tiled:
            self.tiled = _start_tiled(self.saved)

    @property
    def uri(self) -> str:
        """Where Tiled listens, or would."""
        port = 1 if self.tiled is None else self.tiled.server_address[1]
        return f"http://127.0.0.1:{port}"

    def scan(self) -> NDArray[np.float32]:
        """Take an image, which takes its time."""
        with (self.folder / "scans.log").open("a") as file:
            file.write(f"{time.time()}\n")
        if self.behaviour.refuse:
            raise RuntimeError("the column valves are closed")
        time.sleep(self.behaviour.seconds + self.size * self.size * self.dwell_time_s)
        return self.specimen.scan(self.size)

    def save(self, image: NDArray[np.float32], detector: str) -> str:
        """Write an HDF5 file as version 3 does; return its key."""
        import h5py

        stamp = datetime.now().strftime("%Y%m%dT%H%M%S%f")
        key = f"stem_image_{detector}_{stamp}.h5"
        with h5py.File(self.folder / key, "w") as file:
            stored = file.create_dataset(f"image/{detector}", data=image)
            stored.attrs["detector"] = detector
        self.saved[key] = image
        return key

    def fov_m(self) -> float:
        """Width of the field of view in m."""
        if not self.behaviour.fov:
            raise AttributeError("'DigitalTwin' object has no attribute '_fov'")
        return self.specimen.pixel_size_nm(self.size) * self.size * 1e-9


def make_devices(microscope: Microscope) -> dict[str, Any]:
    """The classes of the devices of the microscope's version, by role."""
    from tango import AttrWriteType, DevEncoded, DevVarStringArray
    from tango.server import Device, attribute, command

    low, high = DWELL_LIMITS_S[microscope.behaviour.version]

    class Scan(Device):
        imsize = attribute(dtype=int, access=AttrWriteType.READ_WRITE)
        dwell_time = attribute(
            dtype=float, access=AttrWriteType.READ_WRITE, min_value=low, max_value=high
        )

        def read_imsize(self) -> int:
            return microscope.size

        def write_imsize(self, value: int) -> None:
            microscope.size = int(value)

        def read_dwell_time(self) -> float:
            return microscope.dwell_time_s

        def write_dwell_time(self, value: float) -> None:
            microscope.dwell_time_s = float(value)

    class RegionScan(Scan):
        scan_region = attribute(dtype=(float,), max_dim_x=4)

        def read_scan_region(self) -> list[float]:
            return [0.0, 0.0, 1.0, 1.0]

    class Instrument(Device):
        @command(dtype_out=float)
        def get_fov(self) -> float:
            return microscope.fov_m()

    class Direct(Instrument):
        @command(dtype_out=DevEncoded)
        def get_scanned_image(self) -> tuple[str, bytes]:
            image = microscope.scan()
            header = {
                "detector": "haadf",
                "shape": list(image.shape),
                "dtype": str(image.dtype),
                "dwell_time": microscope.dwell_time_s,
                "timestamp": time.time(),
            }
            return json.dumps(header), image.tobytes()

    class Keyed(Instrument):
        @command(dtype_in=DevVarStringArray, dtype_out=str)
        def acquire_scanned_image(self, detectors: list[str]) -> str:
            return microscope.save(microscope.scan(), detectors[0].upper())

    class Data(Device):
        @command(dtype_out=str)
        def get_config(self) -> str:
            return json.dumps({"uri": microscope.uri, "save_path": str(microscope.folder)})

    if microscope.behaviour.version == 2:
        return {"scan": Scan, "microscope": Direct}
    return {"scan": RegionScan, "microscope": Keyed, "data": Data}


def _start_tiled(images: dict[str, NDArray[np.float32]]) -> ThreadingHTTPServer:
    """Start an HTTP server on loopback that offers images as Tiled does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer for ``metadata`` and ``array/full`` of ``KEY/image/DETECTOR``."""
            path = unquote(urlsplit(self.path).path)
            for prefix in ("/api/v1/metadata/", "/api/v1/array/full/"):
                key, _, name = path.removeprefix(prefix).partition("/")
                if path.startswith(prefix) and key in images and name == "image/HAADF":
                    image = images[key]
                    body = image.tobytes()
                    if "metadata" in prefix:
                        kind: dict[str, Any] = {"endianness": "little"}
                        kind |= {"kind": image.dtype.kind, "itemsize": image.dtype.itemsize}
                        structure = {"data_type": kind, "shape": list(image.shape)}
                        described = {"data": {"attributes": {"structure": structure}}}
                        body = json.dumps(described).encode()
                    self._answer(HTTPStatus.OK, body)
                    return
            self._answer(HTTPStatus.NOT_FOUND, b'{"detail": "No such entry."}')

        def _answer(self, status: HTTPStatus, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("behaviour", type=json.loads)
    given = parser.parse_args()
    os.environ.pop("TANGO_HOST", None)
    _serve(given.port, given.folder, Behaviour(**given.behaviour))
