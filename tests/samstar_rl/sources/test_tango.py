"""The source for asyncroscopy 2 and 3 against real Tango device servers without a database."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from itertools import islice

import pytest

pytest.importorskip("tango")

from samstar_rl.sources.base import Fault
from samstar_rl.sources.instruments.base import BadReplyError, SourceBrokenError
from samstar_rl.sources.instruments.tango import DEVICES, TangoSource, decode_scanned_image
from samstar_rl.sources.instruments.tango_sim import READY, Behaviour, TangoSimulator
from samstar_rl.sources.registry import open_source, parse_source_name


def take(name: str, n: int) -> tuple[list, list[Fault]]:
    source, faults = open_source(name), []
    source.on_fault = faults.append
    with source:
        return list(islice(source, n)), faults


@pytest.fixture(scope="module")
def second():
    with TangoSimulator(Behaviour(version=2)) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def third():
    pytest.importorskip("h5py")
    with TangoSimulator(Behaviour(version=3)) as simulator:
        yield simulator


def test_version_2_gives_images_with_the_pixel_size_of_the_field_of_view(second):
    before = second.n_scans
    frames, faults = take(f"{second.source}&size=128&dwell_time=5e-8", 2)
    assert [frame.shape for frame in frames] == [(128, 128)] * 2
    assert frames[0].pixel_size_nm == pytest.approx(2.713337, rel=1e-5)
    assert not faults and second.n_scans == before + 2
    frames, _ = take(f"{second.source}&size=128&pixel_size=0.5", 1)
    assert frames[0].pixel_size_nm == 0.5


def test_the_version_is_found_and_a_devices_own_address_is_taken(second):
    port = second.port
    frames, _ = take(f"tango://127.0.0.1:{port}?dbase=no&size=64", 1)
    assert frames[0].shape == (64, 64)
    frames, _ = take(f"tango://127.0.0.1:{port}/test/microscope/1#dbase=no?version=2&size=64", 1)
    assert frames[0].shape == (64, 64)


@pytest.mark.parametrize("options", ["#dbase=no?size=64", "?size=64#dbase=no", "?dbase=no&size=64"])
def test_no_database_is_said_as_tango_writes_it(options):
    kind, place, found = parse_source_name(f"tango://host:1/a/b/c{options}")
    assert (kind, place, found) == ("tango", "host:1/a/b/c", {"size": "64", "dbase": "no"})


@pytest.mark.parametrize("saved", [False, True])
def test_version_3_gives_keys_whose_images_are_fetched_or_read(third, saved):
    option = f"&save_path={third.folder}" if saved else ""
    frames, faults = take(f"{third.source}&size=64{option}", 2)
    assert [frame.shape for frame in frames] == [(64, 64)] * 2 and not faults
    assert frames[0].pixel_size_nm is not None


def test_what_the_devices_refuse_ends_the_source_after_one_scan(second):
    before = second.n_scans
    with pytest.raises(SourceBrokenError, match="version=2 or"):
        name = f"tango://127.0.0.1:{second.port}?dbase=no&version=3"
        take(name + "&scan=test/scan/1&microscope=test/microscope/1&data=test/scan/1", 1)
    with pytest.raises(SourceBrokenError, match=r"DeviceNotDefined.*scan="):
        take(f"{second.source}&scan=no/such/device", 1)
    assert second.n_scans == before
    with TangoSimulator(Behaviour(refuse=True)) as closed:
        with pytest.raises(SourceBrokenError, match="RuntimeError: the column valves are closed"):
            take(closed.source, 1)
        assert closed.n_scans == 1


def test_a_twin_without_a_field_of_view_gives_frames_and_says_so_once():
    with TangoSimulator(Behaviour(fov=False)) as twin:
        frames, faults = take(f"{twin.source}&size=64", 3)
    assert [frame.pixel_size_nm for frame in frames] == [None] * 3
    assert len(faults) == 1 and not faults[0].trouble and "pixel_size=NM" in faults[0].reason


def test_images_that_cannot_be_fetched_are_not_scanned_again_and_the_way_out_is_named():
    pytest.importorskip("h5py")
    with TangoSimulator(Behaviour(version=3, tiled=False)) as alone:
        with pytest.raises(SourceBrokenError, match=r"save_path=FOLDER .*tmp"):
            take(alone.source, 1)
        assert alone.n_scans == 1


def test_a_slow_scan_ends_by_its_timeout_or_by_stop():
    with TangoSimulator(Behaviour(seconds=30)) as slow:
        source = TangoSource("127.0.0.1", slow.port, database=False, version=2, timeout_s=1.0)
        faults: list[Fault] = []
        source.on_fault = faults.append
        thread = threading.Thread(target=lambda: list(source))
        thread.start()
        deadline = time.monotonic() + 20
        while not faults and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "timeout of 1 s" in faults[0].reason and not faults[0].cost_a_frame
        assert source.timeout_s == 2.0
        started = time.monotonic()
        source.stop()
        thread.join(10)
        assert not thread.is_alive() and time.monotonic() - started < 2


def test_a_server_that_is_away_is_asked_again():
    source = TangoSource("127.0.0.1", 1, database=False, version=2)
    faults: list[Fault] = []
    source.on_fault = faults.append
    threading.Timer(1.5, source.stop).start()
    assert list(source) == []
    assert len(faults) == 1 and "does not answer" in faults[0].reason
    assert "Failed to connect to device" in faults[0].reason


SERVER = """
import sys
from pathlib import Path
from tango.server import run
from samstar_rl.sources.instruments.tango_sim import READY, Behaviour, Microscope, make_devices
microscope = Microscope(Path(sys.argv[1]), Behaviour())
run(tuple(make_devices(microscope).values()), args=["samstar", "simulated"],
    post_init_callback=lambda: print(READY, flush=True))
"""


@pytest.mark.slow
def test_devices_are_found_by_way_of_a_database(tmp_path):
    """Pytango's own database server, and devices that it knows of."""
    tango = pytest.importorskip("tango")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "TANGO_HOST": f"127.0.0.1:{port}"}
    base = {"cwd": tmp_path, "env": environment, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "tango.databaseds.database", "--host", "127.0.0.1"]
    database = subprocess.Popen(
        [*command, "--port", str(port), "2"], stdout=subprocess.DEVNULL, **base
    )
    server = None
    try:
        known = open_database(tango, port)
        for role, kind in (("scan", "Scan"), ("microscope", "Direct")):
            device = tango.DbDevInfo()
            device.server, device._class = "samstar/simulated", kind
            device.name = DEVICES[2][role]
            known.add_device(device)
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path)],
            stdout=subprocess.PIPE, text=True, **base,
        )  # fmt: skip
        assert READY in server.stdout.readline()
        frames, faults = take(f"tango://127.0.0.1:{port}?size=64", 2)
    finally:
        for process in (server, database):
            if process is not None:
                process.kill()
                process.wait()
    assert [frame.shape for frame in frames] == [(64, 64)] * 2 and not faults


def open_database(tango, port: int):
    deadline = time.monotonic() + 60
    while True:
        try:
            return tango.Database("127.0.0.1", port)
        except tango.DevFailed:
            assert time.monotonic() < deadline
            time.sleep(0.3)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("", b""),
        ("[]", b""),
        ('{"shape": [2, 2]}', b"1234"),
        ('{"shape": [2, 2], "dtype": "uint8"}', b"123"),
        ('{"shape": [2, 2], "dtype": "object"}', bytes(32)),
        ('{"shape": [-2, -2], "dtype": "uint8"}', b"1234"),
    ],
)
def test_a_reply_that_does_not_fit_is_refused(header, body):
    with pytest.raises(BadReplyError):
        decode_scanned_image(header, body)
