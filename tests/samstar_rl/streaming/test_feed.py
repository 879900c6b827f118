from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from samstar_rl.masks.particle_table import SCHEMA_VERSION
from samstar_rl.streaming.access import admits, is_loopback
from samstar_rl.streaming.counters import Counters
from samstar_rl.streaming.events import Event
from samstar_rl.streaming.feed import BACKLOG, MAX_CONNECTIONS, Feed, FeedError


@pytest.fixture
def feed() -> Iterator[Feed]:
    with Feed(Counters()) as feed:
        yield feed


def get(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as a:
            return a.status, a.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_frames_are_streamed_as_they_come(feed, result):
    with urllib.request.urlopen(f"{feed.address}/frames", timeout=10) as stream:
        feed.write(result(1))
        record = json.loads(stream.readline())
        assert record["frame"] == "f00001" and record["score"] == 0.5
        assert len(record["particles"]["area"]) == record["n_particles"] == 3
        in_files = result(1).particles()
        only_of_record = ["frame", "schema_version"]
        assert list(record["particles"]) == list(in_files.drop(columns=only_of_record))
        assert record["particles"]["orientation"] == pytest.approx(
            list(in_files["orientation"]), rel=1e-5
        )
        assert record["schema_version"] == SCHEMA_VERSION == in_files["schema_version"][0]
        feed.report(Event("guard", "fell back"))
        assert json.loads(stream.readline())["message"] == "fell back"
        feed.close()
        assert stream.readline() == b""


def test_a_late_reader_gets_the_backlog_and_is_told_of_the_gap(feed, result):
    one = result(1)
    for _ in range(BACKLOG + 5):
        feed.write(one)
    with urllib.request.urlopen(f"{feed.address}/frames?backlog=1", timeout=10) as stream:
        assert json.loads(stream.readline()) == {
            "event": "gap",
            "message": "too slow a reader",
            "n": 5,
        }
        assert json.loads(stream.readline())["frame"] == "f00001"


def test_latest_and_metrics(feed, result):
    assert get(f"{feed.address}/latest")[0] == 204
    feed.counters.receive()
    feed.counters.finish(250.0)
    feed.write(result(7))
    assert json.loads(get(f"{feed.address}/latest")[1])["frame"] == "f00007"
    text = get(f"{feed.address}/metrics")[1].decode()
    assert 'samstar_frames_total{fate="done"} 1' in text
    assert 'samstar_latency_seconds{quantile="0.5"} 0.25' in text
    assert "samstar_score 0.5" in text and "samstar_particles 3" in text
    assert all(line.startswith("#") or len(line.split()) == 2 for line in text.splitlines())
    assert get(f"{feed.address}/nothing")[0] == 404


def test_with_a_token_nothing_is_told_without_it(result):
    with Feed(Counters(), token="secret") as feed:
        for path in ("frames", "latest", "metrics", ""):
            assert get(f"{feed.address}/{path}")[0] == 403
            assert get(f"{feed.address}/{path}", Authorization="Bearer wrong")[0] == 403
        assert get(f"{feed.address}/metrics", Authorization="Bearer secret")[0] == 200
        assert get(f"{feed.address}/metrics?token=secret")[0] == 200


def test_beyond_this_machine_a_token_is_demanded():
    with pytest.raises(FeedError, match="token"):
        Feed(Counters(), host="0.0.0.0")
    with pytest.raises(FeedError, match="token"):
        Feed(Counters(), host="example.org")
    assert [is_loopback(host) for host in ("localhost", "127.0.0.3", "::1", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
    ]


def test_a_web_page_with_a_name_of_its_own_is_refused(feed):
    assert get(f"{feed.address}/metrics", Host="evil.example")[0] == 403
    assert get(f"{feed.address}/metrics", Host="localhost:1234")[0] == 200


@pytest.mark.parametrize("host", ["", "[", "[::1", "a b", "evil.example:80", "127.0.0.1.evil.net"])
def test_a_host_that_is_not_this_machine_is_refused(host):
    assert not admits(None, None, host)
    assert admits("secret", "secret", host)


def test_an_address_in_use_is_said(feed):
    port = int(feed.address.rpartition(":")[2])
    with pytest.raises(FeedError, match="cannot listen"):
        Feed(Counters(), port=port)


def test_closing_leaves_no_thread(result):
    before = threading.active_count()
    feed = Feed(Counters())
    with feed:
        feed.write(result(1))
    feed.close()
    assert threading.active_count() <= before


def test_after_a_restart_the_same_port_is_there_at_once(result):
    with Feed(Counters()) as feed:
        port = int(feed.address.rpartition(":")[2])
        with urllib.request.urlopen(f"{feed.address}/frames", timeout=10) as stream:
            feed.write(result(1))
            assert stream.readline()
            feed.close()  # the server closes first: the connection lingers on its side
            stream.read()
    with Feed(Counters(), port=port) as feed:
        assert get(f"{feed.address}/metrics")[0] == 200


def test_readers_that_give_up_while_nothing_comes_leave_their_places(feed):
    deadline = time.monotonic() + 60
    for _ in range(2):
        streams: list[Any] = []
        while len(streams) < MAX_CONNECTIONS:  # one after the other the places become free again
            assert time.monotonic() < deadline
            try:
                streams.append(urllib.request.urlopen(f"{feed.address}/frames", timeout=10))
            except urllib.error.HTTPError:
                time.sleep(0.1)
        assert get(f"{feed.address}/metrics")[0] == 503
        for stream in streams:
            stream.close()


def test_the_other_loopback_address_is_served_as_well(result):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Feed(Counters(), host="::1") as feed:
        assert feed.address.startswith("http://[::1]:")
        assert get(f"{feed.address}/metrics")[0] == 200


def test_prometheus_can_read_the_metrics(feed, result):
    parser = pytest.importorskip("prometheus_client.parser")
    for _ in range(3):
        feed.counters.receive()
    feed.counters.finish(250.0)
    feed.counters.drop()
    feed.counters.fail()
    feed.write(result(7))
    text = get(f"{feed.address}/metrics")[1].decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    kinds = {name: family.type for name, family in families.items()}
    assert kinds == {
        "samstar_frames_received": "counter",
        "samstar_frames": "counter",
        "samstar_latency_seconds": "summary",
        "samstar_score": "gauge",
        "samstar_term": "gauge",
        "samstar_particles": "gauge",
    }
    assert all(family.documentation for family in families.values())
    fates = {s.labels["fate"]: s.value for s in families["samstar_frames"].samples}
    assert fates == {"done": 1, "dropped": 1, "failed": 1}
    terms = {s.labels["name"]: s.value for s in families["samstar_term"].samples}
    assert terms == {"coverage": 0.4, "overlap": 0.6}
