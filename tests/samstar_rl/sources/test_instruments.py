"""Sources at instruments against servers on loopback that behave and misbehave as real ones do."""

from __future__ import annotations

import contextlib
import socket
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
from samstar_rl.sources.instruments.asyncroscopy_sim import (
    AsyncroscopySimulator,
    _Conversation,
    framed,
    image_reply,
    text_reply,
    traceback_reply,
)
from samstar_rl.sources.instruments.base import (
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    MAX_REFUSALS,
    Backoff,
    BadReplyError,
    FrameIds,
    InstrumentSource,
    RefusedError,
    SourceBrokenError,
)
from samstar_rl.sources.instruments.codecs import decompress
from samstar_rl.sources.instruments.dtmicroscope import decode_overview
from samstar_rl.sources.instruments.dtmicroscope_sim import DTMicroscopeSimulator
from samstar_rl.sources.instruments.pva import PvaSource, _Mailbox
from samstar_rl.sources.instruments.pva_sim import CHANNEL, PvaSimulator, compress
from samstar_rl.sources.registry import open_source

IMAGE = np.random.default_rng(0).integers(0, 200, (48, 64)).astype(np.uint8)


def microscope(reply: Callable[[str], bytes], port: int = 0) -> AsyncroscopySimulator:
    return AsyncroscopySimulator(reply=reply, port=port)


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Nobody waits before asking again."""
    monkeypatch.setattr("samstar_rl.sources.instruments.base.FIRST_BACKOFF_S", 0.0)


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
    assert {fault.trouble for fault in faults} == {False}  # size and detector are remarked on
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
    "no header": framed(b"\0garbage"),
    "empty": framed(b""),
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


REFUSALS = {
    "text": (framed(text_reply("detector not found")), "detector not found"),
    "too long a scan": (framed(b"None"), "answers None"),
    "wrong prefix": (framed(text_reply("Unknown command prefix in 'get'")), "central=1"),
    "not connected": (
        framed(traceback_reply(AttributeError("'NoneType' object has no attribute 'acquisition'"))),
        "AttributeError: 'NoneType' object has no attribute 'acquisition' .*connect_AS",
    ),
    "too large for the central server": (
        framed(text_reply("[Central ERROR] ConnectionDone: Connection was closed cleanly.")),
        "smaller size",
    ),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server answers"),
    "GIOP": (b"GIOP\1\2\1\6\0\0\0\0", "tango://"),
}


@pytest.mark.parametrize(("reply", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_request_that_is_refused_is_not_repeated(reply, message):
    with microscope(lambda command: reply) as server:
        faults: list[Fault] = []
        source = AsyncroscopySource("127.0.0.1", server.port, timeout_s=5.0)
        source.on_fault = faults.append
        with source, pytest.raises(SourceBrokenError, match=message):
            next(iter(source))
    assert len(server.requests) == 1
    assert len(faults) == 1 and faults[0].cost_a_frame


@pytest.mark.usefixtures("at_once")
def test_once_frames_have_come_a_few_refusals_are_borne():
    refusal, image = framed(text_reply("the stage is moving")), framed(image_reply(IMAGE))
    replies = iter([image, refusal, refusal, image])
    with microscope(lambda command: next(replies, refusal)) as server:
        source = AsyncroscopySource("127.0.0.1", server.port, timeout_s=5.0)
        with source:
            frames = iter(source)
            assert next(frames).shape == next(frames).shape == IMAGE.shape
            with pytest.raises(SourceBrokenError, match=f"{MAX_REFUSALS} times in a row"):
                next(frames)
    assert len(server.requests) == 4 + MAX_REFUSALS


def test_a_backend_that_is_away_costs_no_frame():
    away = framed(text_reply("[Central ERROR] [Failure instance: ConnectionRefusedError: refused]"))
    replies = iter([away])
    with microscope(lambda command: next(replies, framed(image_reply(IMAGE)))) as server:
        frames, faults = take(AsyncroscopySource("127.0.0.1", server.port), 1)
    assert len(frames) == 1
    assert not any(fault.cost_a_frame for fault in faults)
    assert "behind the central server" in faults[0].reason


def test_a_peer_that_closes_at_once_is_perhaps_an_asyncroscopy_of_today():
    replies = iter([b""])
    with microscope(lambda command: next(replies, framed(image_reply(IMAGE)))) as server:
        _, faults = take(AsyncroscopySource("127.0.0.1", server.port, central=True), 1)
    assert "tango://HOST:PORT" in faults[0].reason


@pytest.mark.parametrize("central", [True, False])
def test_the_simulator_is_a_microscope(central):
    with AsyncroscopySimulator(central=central) as server:
        frames, faults = take(open_source(f"{server.source}&size=100"), 2)
        assert [frame.shape for frame in frames] == [(100, 100)] * 2 and not faults
        assert server.specimen.n_scans == 2
        wrong = f"asyncroscopy://127.0.0.1:{server.port}?central={int(not central)}"
        with pytest.raises(SourceBrokenError, match="central="):
            take(open_source(wrong), 1)


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
        server._server.RequestHandlerClass = Trickle
        source = AsyncroscopySource("127.0.0.1", server.port, size=1, timeout_s=0.5)
        frames, faults = take(source, 1)
    assert len(frames) == 1
    assert "within the timeout" in faults[0].reason


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
    reasons = [fault.reason for fault in faults if not fault.reason.startswith("sends")]
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
    assert open_source(f"asyncroscopy://{place}").address == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asyncroscopy://", "host:port"),
        ("asyncroscopy://host:99999", "host:port"),
        ("asyncroscopy://host?detector=A%20size=9", "a word such as HAADF"),
        ("asyncroscopy://host?dwell_time=0", "must be positive"),
        ("asyncroscopy://host?size=2048&dwell_time=1e-3", "at most 600 s"),
        ("asyncroscopy://host?size=4096", "at most 10000000 bytes"),
        ("dtmicroscope://host?microscope=STEM", "needs data=FILE"),
        ("dtmicroscope://host?microscope=dummy&data=a.h5", "a dummy takes none"),
        ("dtmicroscope://host?microscope=AFM", "dummy or STEM"),
        ("tango://host?dwell_time=0.01", "1e-09 to 0.001"),
        ("tango://host?size=100000", "size must be"),
        ("tango://host?version=4", "2 or 3"),
        ("tango://host?save_path=nowhere", "no folder nowhere"),
        ("tango://host?tiled=file:///etc", "http://HOST:PORT"),
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


def test_a_digital_twin_is_initialised_and_survives_its_errors():
    pytest.importorskip("Pyro5")
    with DTMicroscopeSimulator(n_failures=1, size=64) as twin:
        frames, faults = take(open_source(f"{twin.source}?microscope=STEM&data=a.h5"), 2)
        assert twin.calls[:3] == ["initialize STEM", "register a.h5", "image"]
        np.testing.assert_array_equal(frames[0].image, twin.image)
    assert any("the stage is moving" in fault.reason for fault in faults)


def test_the_defaults_of_a_digital_twin_work():
    pytest.importorskip("Pyro5")
    with DTMicroscopeSimulator(size=64) as twin:
        frames, faults = take(open_source(twin.source), 1)
        assert twin.calls == ["initialize dummy", "image"]
    assert len(frames) == 1 and not faults


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing data", "the server says: FileNotFoundError"),
        ("spectral", "is no image"),
    ],
)
def test_what_a_digital_twin_refuses_is_no_lost_connection(damage, message):
    pytest.importorskip("Pyro5")
    with DTMicroscopeSimulator(size=64) as twin:
        if damage == "spectral":
            twin.image = np.zeros((4, 5, 6), np.float32)
        source = twin.source
        if damage == "missing data":
            source += "?data=missing.h5"
        with pytest.raises(SourceBrokenError, match=message):
            take(open_source(source), 1)


def test_an_http_server_is_no_digital_twin():
    pytest.importorskip("Pyro5")
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
    with (
        AsyncroscopySimulator(reply=lambda _: answer) as http,
        pytest.raises(SourceBrokenError, match="no Pyro server answers"),
    ):
        take(open_source(f"dtmicroscope://127.0.0.1:{http.port}?timeout=3"), 1)


def test_giant_replies_of_a_digital_twin_have_a_limit_of_their_own():
    errors = pytest.importorskip("Pyro5.errors")
    with DTMicroscopeSimulator(size=64) as twin:
        source = open_source(twin.source)
        take(source, 1)
        assert source._pyro.config.MAX_MESSAGE_SIZE == 32 * 2**20
    said = source._explain(errors.ProtocolError("message too large (50000000, max=33554432)"))
    assert isinstance(said, RefusedError) and "larger than 32 MiB" in str(said)


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
        value.codec.name = "jpeg"
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
    assert ("jpeg" if damage == "compressed" else "shape") in fault.reason


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


@pytest.mark.parametrize("codec", ["", "blosc", "lz4", "bslz4"])
@pytest.mark.parametrize("colour_mode", [None, 2, 3, 4])
def test_colour_and_compressed_images_are_read(codec, colour_mode):
    pytest.importorskip("p4p")
    with PvaSimulator(fps=0, codec=codec, colour_mode=colour_mode) as simulator:
        source = PvaSource(CHANNEL, conf=simulator.conf)
        with Watched(source) as watched:
            watched.wait_until(lambda: any("no image yet" in f.reason for f in watched.faults))
            simulator.publish(IMAGE.astype(np.uint16))
            watched.wait_until(lambda: len(watched.frames) == 1)
    np.testing.assert_allclose(watched.frames[0].image, IMAGE, rtol=1e-5)
    assert not any(fault.trouble for fault in watched.faults)


@pytest.mark.parametrize("codec", ["blosc", "lz4", "bslz4"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_each_codec_gives_back_every_type_and_any_length(codec, dtype):
    pytest.importorskip("numcodecs")
    values = np.random.default_rng(0).normal(100, 30, (61, 67)).astype(dtype)
    packed = np.frombuffer(compress(codec, values), np.uint8)
    np.testing.assert_array_equal(
        decompress(codec, packed, values.nbytes, values.dtype), values.ravel()
    )
    with pytest.raises(BadReplyError):
        decompress(codec, packed[:-9], values.nbytes, values.dtype)
    with pytest.raises(BadReplyError):
        decompress(codec, packed, values.nbytes + 8, values.dtype)


def test_a_rising_count_is_new_whatever_the_clock_says():
    pytest.importorskip("p4p")
    now = time.time()
    with (
        PvaSimulator(fps=0) as simulator,
        Watched(PvaSource(CHANNEL, conf=simulator.conf)) as watched,
    ):
        for number, offset in enumerate((0.0, -3.0, -3.0, -1.0), start=1):
            simulator.publish(IMAGE + number, time_s=now + offset, unique_id=number)
            time.sleep(0.1)
        simulator.publish(IMAGE + 9, time_s=now - 1.0, unique_id=4)  # the last one again
        watched.wait_until(lambda: len(watched.frames) == 4)
    assert not any(fault.cost_a_frame for fault in watched.faults)


def test_the_age_of_a_stored_image_is_noted():
    pytest.importorskip("p4p")
    with PvaSimulator(fps=0) as simulator:
        simulator.publish(IMAGE, time_s=time.time() - 5000)
        with Watched(PvaSource(CHANNEL, conf=simulator.conf)) as watched:
            watched.wait_until(lambda: len(watched.frames) == 1)
    assert any("s old" in fault.reason and not fault.trouble for fault in watched.faults)


def test_a_channel_that_does_not_exist_is_mentioned(monkeypatch):
    pytest.importorskip("p4p")
    monkeypatch.setattr("samstar_rl.sources.instruments.pva.UNANSWERED_S", 0.3)
    with PvaSimulator(fps=0) as simulator:
        source = PvaSource("no:such:channel", conf=simulator.conf)
        threading.Timer(2.0, source.stop).start()
        _, faults = take(source, 1)
    assert [fault.trouble for fault in faults] == [True]
    assert "check the channel's name" in faults[0].reason
