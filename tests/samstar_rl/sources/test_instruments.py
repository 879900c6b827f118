"""Sources at instruments against servers on loopback that behave and misbehave as real ones do."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samstar_rl.frames.frame import Frame
from samstar_rl.sources.base import Fault, SourceError
from samstar_rl.sources.instruments.asyncroscopy import (
    DTYPES,
    AsyncroscopySource,
    decode_image,
)
from samstar_rl.sources.instruments.base import (
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    Backoff,
    BadReplyError,
    FrameIds,
    InstrumentSource,
    parse_address,
)
from samstar_rl.sources.instruments.dtmicroscope import DTMicroscopeSource, decode_overview
from samstar_rl.sources.instruments.pva import PvaSource, _Mailbox
from samstar_rl.sources.registry import open_source

IMAGE = np.random.default_rng(0).integers(0, 200, (48, 64)).astype(np.uint8)


def image_reply(image: np.ndarray) -> bytes:
    shape = ",".join(str(length) for length in image.shape)
    return f"[{image.dtype},{shape}]".encode() + image.tobytes()


def text_reply(text: str) -> bytes:
    return f"[str,{len(text)}]".encode() + text.encode()


def framed(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


class Microscope(socketserver.ThreadingTCPServer):
    """Speaks asyncroscopy's protocol: one reply a command, and the second message ``None``."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, reply: Callable[[str], bytes], address: tuple[str, int] = ("127.0.0.1", 0)):
        self.reply = reply
        self.requests: list[str] = []
        super().__init__(address, _Conversation)

    @property
    def port(self) -> int:
        return self.server_address[1]


class _Conversation(socketserver.BaseRequestHandler):
    server: Microscope

    def handle(self) -> None:
        (length,) = struct.unpack(">I", self.request.recv(4, socket.MSG_WAITALL))
        command = self.request.recv(length, socket.MSG_WAITALL).decode()
        self.server.requests.append(command)
        self.request.sendall(self.server.reply(command))
        with contextlib.suppress(OSError):  # the client reads the first reply only
            self.request.sendall(framed(b"None"))


@contextlib.contextmanager
def microscope(reply: Callable[[str], bytes], port: int = 0) -> Iterator[Microscope]:
    with Microscope(reply, ("127.0.0.1", port)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def take(source, n: int) -> tuple[list[Frame], list[Fault]]:
    faults: list[Fault] = []
    source.on_fault = faults.append
    with source:
        return list(islice(source, n)), faults


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int32", "float64"])
def test_an_image_of_any_type_arrives(dtype):
    with microscope(lambda command: framed(image_reply(IMAGE.astype(dtype)))) as server:
        name = f"asyncroscopy://127.0.0.1:{server.port}?detector=BF&size=64&dwell_time=2e-6"
        frames, faults = take(open_source(name, pixel_size_nm=0.5), 3)
    assert not faults
    assert server.requests[0] == (
        "AS_get_scanned_image scanning_detector=BF size=64 dwell_time=2e-06"
    )
    for frame in frames:
        np.testing.assert_array_equal(frame.image, IMAGE)
        assert frame.pixel_size_nm == 0.5
    assert len({frame.id for frame in frames}) == 3
    assert [frame.id for frame in frames] == sorted(frame.id for frame in frames)


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("localhost", "AS_get_scanned_image"),
        ("localhost:9000", "AS_get_scanned_image"),
        ("localhost:9001", "get_scanned_image"),
        ("localhost:7000", "AS_get_scanned_image"),
        ("localhost:7000?central=0", "get_scanned_image"),
        ("localhost:9001?central=1", "AS_get_scanned_image"),
    ],
)
def test_the_instruments_own_server_is_asked_without_a_prefix(place, command):
    source = open_source(f"asyncroscopy://{place}")
    assert isinstance(source, AsyncroscopySource)
    assert source.request == f"{command} scanning_detector=HAADF size=512 dwell_time=1e-06"


BAD_REPLIES = {
    "text error": framed(text_reply("detector not found")),
    "no header": framed(b"garbage"),
    "empty": framed(b""),
    "none": framed(b"None"),
    "short": framed(image_reply(IMAGE)[:-1]),
    "long": framed(image_reply(IMAGE) + b"x"),
    "unknown type": framed(b"[object,1,1]x"),
    "three axes": framed(image_reply(np.zeros((2, 3, 4), np.uint8))),
    "complex": framed(b"[complex64,1,1]" + bytes(8)),
    "giant": struct.pack(">I", 2**32 - 1),
    "giant shape": framed(b"[uint8,999999999,999999999]x"),
    "many axes": framed(b"[uint8" + 90 * b",1" + b"]x"),
    "no pixels": framed(b"[uint8,0,5]"),
    "ended": struct.pack(">I", 10_000) + b"[uint8,",
    "closed": b"",
}


@pytest.mark.parametrize("bad", BAD_REPLIES.values(), ids=BAD_REPLIES)
def test_a_bad_reply_costs_one_frame_and_not_the_stream(bad):
    replies = iter([bad])
    with microscope(lambda command: next(replies, framed(image_reply(IMAGE)))) as server:
        frames, faults = take(AsyncroscopySource("127.0.0.1", server.port, timeout_s=2.0), 1)
    np.testing.assert_array_equal(frames[0].image, IMAGE)
    assert faults


def test_what_the_server_says_is_passed_on():
    with pytest.raises(BadReplyError, match="detector not found"):
        decode_image(text_reply("detector not found"))


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_refused_as_such(payload):
    try:
        image = decode_image(payload)
    except BadReplyError:
        return
    assert image.dtype in DTYPES.values()


@given(
    st.sampled_from(["uint8", "str", "object", "float64", "datetime64", "V8"]),
    st.lists(st.integers(0, 10**9), min_size=0, max_size=5),
    st.binary(max_size=64),
)
def test_garbage_behind_a_plausible_header_is_refused_as_such(dtype, shape, body):
    header = f"[{dtype}{''.join(f',{length}' for length in shape)}]".encode()
    with contextlib.suppress(BadReplyError):
        decode_image(header + body)


def test_a_server_that_hangs_is_left_and_asked_again():
    release = threading.Event()
    calls = []

    def reply(command: str) -> bytes:
        calls.append(command)
        if len(calls) == 1:
            release.wait(10)
        return framed(image_reply(IMAGE))

    with microscope(reply) as server:
        frames, faults = take(
            AsyncroscopySource("127.0.0.1", server.port, size=1, timeout_s=0.3), 1
        )
        release.set()
    assert len(frames) == 1
    assert not any(fault.cost_a_frame for fault in faults)


def test_a_server_that_sends_a_byte_now_and_then_hangs_as_well():
    first = threading.Event()

    class Trickle(_Conversation):
        def handle(self) -> None:
            if first.is_set():
                super().handle()
                return
            first.set()
            with contextlib.suppress(OSError):
                for byte in framed(image_reply(IMAGE)):
                    self.request.sendall(bytes([byte]))
                    time.sleep(0.05)

    with microscope(lambda command: framed(image_reply(IMAGE))) as server:
        server.RequestHandlerClass = Trickle
        source = AsyncroscopySource("127.0.0.1", server.port, size=1, timeout_s=0.5)
        frames, faults = take(source, 1)
    assert len(frames) == 1
    assert "in time" in faults[0].reason or "timed out" in faults[0].reason


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Nobody waits before asking again."""
    monkeypatch.setattr("samstar_rl.sources.instruments.base.FIRST_BACKOFF_S", 0.0)


def garbage(rng: np.random.Generator) -> bytes:
    """What a broken server might send: noise, with a plausible beginning or none."""
    noise = rng.bytes(int(rng.integers(0, 40)))
    starts = [
        b"",
        framed(noise),
        framed(b"[uint8,4,4]" + noise),
        framed(b"[" + noise),
        b"\0\0\0\x08",
    ]
    return starts[rng.integers(len(starts))] + noise


@pytest.mark.usefixtures("at_once")
def test_a_thousand_garbage_replies_do_not_end_the_stream():
    rng = np.random.default_rng(0)
    replies = iter([garbage(rng) for _ in range(1000)])
    with microscope(lambda command: next(replies, framed(image_reply(IMAGE)))) as server:
        frames, faults = take(AsyncroscopySource("127.0.0.1", server.port, timeout_s=5.0), 40)
    whole = [frame for frame in frames if frame.shape == IMAGE.shape]
    assert len(whole) > 0, "the stream did not get beyond the garbage"
    assert len(server.requests) >= 1000 and len(faults) > 100


class Scripted(InstrumentSource):
    """Answers, or raises, one thing after the other."""

    def __init__(self, *answers: object) -> None:
        super().__init__("scripted")
        self.answers = iter(answers)

    def acquire(self) -> np.ndarray:
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]


@pytest.mark.usefixtures("at_once")
def test_whatever_goes_wrong_the_instrument_is_asked_again():
    errors = [ZeroDivisionError("?"), MemoryError(), UnicodeDecodeError("ascii", b"", 0, 1, "?")]
    frames, faults = take(Scripted(*errors, RuntimeError("?"), IMAGE), 1)
    assert len(frames) == 1
    assert [fault.cost_a_frame for fault in faults] == [True] * 4 + [False]


@pytest.mark.usefixtures("at_once")
def test_a_server_that_goes_away_after_a_bad_reply_is_said_once():
    away = [ConnectionRefusedError("refused")] * 5
    _, faults = take(Scripted(BadReplyError("text"), *away, IMAGE, *away, IMAGE), 2)
    reasons = [fault.reason.split(" (")[0] for fault in faults]
    assert reasons == [
        "text", "does not answer", "is back after 6 failures",
        "does not answer", "is back after 5 failures",
    ]  # fmt: skip


def test_the_wait_doubles_up_to_a_limit_and_differs_from_client_to_client():
    backoff, other = Backoff(), Backoff()
    waits = [backoff.next_s() for _ in range(40)]
    for number, seconds in enumerate(waits):
        longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**number)
        assert longest / 2 <= seconds <= longest
    assert waits != [other.next_s() for _ in range(40)]
    backoff.reset()
    assert backoff.next_s() <= FIRST_BACKOFF_S


def test_a_server_that_dies_and_returns_is_found_again():
    with microscope(lambda command: framed(image_reply(IMAGE))) as server:
        port = server.port
        source = AsyncroscopySource("127.0.0.1", port)
        faults: list[Fault] = []
        source.on_fault = faults.append
        frames = iter(source)
        next(frames)
    came: list[Frame] = []
    thread = threading.Thread(target=lambda: came.append(next(frames)))
    thread.start()
    time.sleep(0.5)
    assert not came
    with microscope(lambda command: framed(image_reply(IMAGE)), port):
        thread.join(10)
    source.stop()
    assert len(came) == 1
    reasons = [fault.reason for fault in faults]
    assert len(reasons) == 2 and "does not answer" in reasons[0] and "is back" in reasons[1]
    assert not any(fault.cost_a_frame for fault in faults)


def test_stopping_does_not_wait_for_a_server_that_is_away():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        source = AsyncroscopySource("127.0.0.1", unused.getsockname()[1])
    threading.Timer(0.2, source.stop).start()
    started = time.monotonic()
    assert list(source) == []
    assert time.monotonic() - started < 5


def test_ids_stay_apart_when_the_clock_stands_or_jumps_back():
    made = FrameIds()
    ids = [made.new(now) for now in (1000.0, 1000.0, 1000.0, 900.0, 1000.5)]
    assert len(set(ids)) == 5 and ids == sorted(ids)


@pytest.mark.parametrize(
    ("place", "expected"),
    [("host", ("host", 9000)), ("1.2.3.4:80", ("1.2.3.4", 80)), ("[::1]:5/", ("::1", 5))],
)
def test_addresses(place, expected):
    assert parse_address(place, 9000) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asyncroscopy://", "host:port"),
        ("asyncroscopy://host:99999", "host:port"),
        ("asyncroscopy://host?detector=A%20size=9", "a word such as HAADF"),
        ("asyncroscopy://host?dwell_time=0", "must be positive"),
        ("asyncroscopy://host?sise=5", "no option sise"),
        ("asyncroscopy://host?pixel_size=0", "above 0"),
        ("asyncroscopy://host?timeout=0", "above 0"),
        ("asyncroscopy://host?central=perhaps", "expected 1 or 0"),
        ("pva://", "name of a channel"),
    ],
)
def test_a_wrong_instrument_says_what_is_right(name, message):
    with pytest.raises(SourceError, match=message):
        open_source(name)


# DTMicroscope


@pytest.fixture
def digital_twin() -> Iterator[tuple[int, list[str]]]:
    """The server's interface, with its quirks: nested lists, and errors as exceptions."""
    pyro = pytest.importorskip("Pyro5.api")
    calls: list[str] = []

    @pyro.expose
    @pyro.behavior(instance_mode="session")
    class Server:
        def initialize_microscope(self, name: str) -> None:
            calls.append(f"initialize {name}")

        def register_data(self, path: str) -> None:
            calls.append(f"register {path}")

        def get_overview_image(self) -> tuple[list[float], tuple[int, int], str]:
            calls.append("image")
            if len(calls) == 3:
                raise RuntimeError("the stage is moving")
            return IMAGE.astype(float).tolist(), IMAGE.shape, "float64"

    daemon = pyro.Daemon("127.0.0.1", 0)
    daemon.register(Server, "microscope.server")
    thread = threading.Thread(target=daemon.requestLoop)
    thread.start()
    yield int(daemon.locationStr.rpartition(":")[2]), calls
    daemon.shutdown()
    thread.join(5)


def test_a_digital_twin_is_initialised_and_survives_its_errors(digital_twin):
    port, calls = digital_twin
    source = open_source(f"dtmicroscope://127.0.0.1:{port}?microscope=STEM&data=a.h5")
    assert isinstance(source, DTMicroscopeSource)
    frames, faults = take(source, 2)
    np.testing.assert_array_equal(frames[0].image, IMAGE)
    assert calls[:2] == ["initialize STEM", "register a.h5"]
    assert any("the stage is moving" in fault.reason for fault in faults)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        (),
        ([1, 2], (2, 2), "uint8"),
        ([[1], [1, 2]], (2, 2), "uint8"),
        ([1], (1, 1), "object"),
        (["a"], (1, 1), "float64"),
        ([[1e9]], (1, 1), "nonsense"),
    ],
)
def test_an_overview_that_does_not_fit_is_refused(reply):
    with pytest.raises(BadReplyError):
        decode_overview(reply)


# EPICS


@pytest.fixture
def channel() -> Iterator[tuple[Any, PvaSource]]:
    """A channel of p4p's own server, and a source that watches it."""
    p4p_server = pytest.importorskip("p4p.server")
    from p4p import Value
    from p4p.nt import NTNDArray
    from p4p.server.thread import SharedPV

    class Careless(NTNDArray):
        """Publishes what it is given, ill-formed or not."""

        def wrap(self, value: Any, **options: Any) -> Any:
            return value if isinstance(value, Value) else super().wrap(value, **options)

    pv = SharedPV(nt=Careless(), initial=np.zeros((2, 2), np.uint8))
    with p4p_server.Server(providers=[{"test:image": pv}], isolate=True) as server:
        yield pv, PvaSource("test:image", conf=server.conf())


class Watched:
    """Frames and faults of a source that is iterated in another thread."""

    def __init__(self, source: PvaSource) -> None:
        self.frames: list[Frame] = []
        self.faults: list[Fault] = []
        self.source = source
        source.on_fault = self.faults.append
        self._thread = threading.Thread(target=self._iterate)

    def _iterate(self) -> None:
        with self.source:
            for frame in self.source:
                if frame.shape == IMAGE.shape:
                    self.frames.append(frame)

    def __enter__(self) -> Watched:
        self._thread.start()
        self.wait_until(lambda: any("is connected" in fault.reason for fault in self.faults))
        return self

    def __exit__(self, *exception: object) -> None:
        self.source.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.frames, self.faults)
            time.sleep(0.01)


def test_a_channel_gives_each_image_once_in_order(channel):
    pv, source = channel
    base = time.time() + 100
    # twice the same, one out of order, a new one, and a clock set back by an hour
    posts = [(IMAGE, 0.0), (IMAGE, 0.0), (IMAGE + 1, -1.0), (IMAGE + 2, 1.0), (IMAGE + 3, -3600.0)]
    with Watched(source) as watched:
        for image, offset in posts:
            pv.post(image, timestamp=base + offset)
            time.sleep(0.2)
        watched.wait_until(lambda: len(watched.frames) == 3)
    means = [float(frame.image.mean() - IMAGE.mean()) for frame in watched.frames]
    np.testing.assert_allclose(means, [0, 2, 3], atol=1e-3)
    ids = [frame.id for frame in watched.frames]
    assert ids == sorted(set(ids))


def ill_formed(damage: str) -> Any:
    """An NTNDArray that p4p's own client gives its subscription up for."""
    from p4p.nt import NTNDArray

    value = NTNDArray().wrap(IMAGE)
    if damage == "truncated":
        value.value = IMAGE.ravel()[:-7]
    elif damage == "no dimensions":
        value.dimension = []
    elif damage == "compressed":
        value.codec.name = "lz4"
        value.value = IMAGE.ravel()[:100]
    else:
        value.timeStamp.secondsPastEpoch = 2**62
        value.value = IMAGE.ravel()[:1]
    return value


def well_formed(stamp: float) -> Any:
    """The next one; a server sends what has changed, so that the codec must be named again."""
    from p4p.nt import NTNDArray

    value = NTNDArray().wrap(IMAGE, timestamp=stamp)
    value.codec.name = ""
    return value


@pytest.mark.parametrize("damage", ["truncated", "no dimensions", "compressed", "wild clock"])
def test_an_image_that_is_ill_formed_costs_itself_alone(channel, damage):
    pv, source = channel
    with Watched(source) as watched:
        pv.post(ill_formed(damage))
        watched.wait_until(lambda: any(fault.cost_a_frame for fault in watched.faults))
        pv.post(well_formed(time.time() + 50))
        watched.wait_until(lambda: len(watched.frames) == 1)
    (fault,) = (fault for fault in watched.faults if fault.cost_a_frame)
    assert ("lz4" if damage == "compressed" else "shape") in fault.reason


def test_a_channel_that_closes_is_found_again(channel):
    pv, source = channel
    with Watched(source) as watched:
        pv.close()
        watched.wait_until(lambda: any("disconnected" in f.reason for f in watched.faults))
        pv.open(IMAGE, timestamp=time.time() + 50)
        watched.wait_until(lambda: len(watched.frames) == 1)


def test_a_channel_of_something_else_is_said():
    p4p_server = pytest.importorskip("p4p.server")
    from p4p.nt import NTScalar
    from p4p.server.thread import SharedPV

    pv = SharedPV(nt=NTScalar("d"), initial=1.5)
    with (
        p4p_server.Server(providers=[{"test:number": pv}], isolate=True) as server,
        Watched(PvaSource("test:number", conf=server.conf())) as watched,
    ):
        watched.wait_until(lambda: any(fault.cost_a_frame for fault in watched.faults))
    assert any("expected an NTNDArray" in fault.reason for fault in watched.faults)


def test_updates_that_nobody_takes_do_not_pile_up():
    mailbox = _Mailbox(4)
    for number in range(100):
        mailbox.put(number)
    assert mailbox.take_n_lost() == 96 and mailbox.take_n_lost() == 0
    assert [mailbox.get(0) for _ in range(5)] == [96, 97, 98, 99, None]
