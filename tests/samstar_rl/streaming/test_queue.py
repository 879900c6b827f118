from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samstar_rl.streaming.counters import Counters
from samstar_rl.streaming.queue import StreamQueue


def test_all_keeps_the_order_and_waits_for_room():
    queue: StreamQueue[int] = StreamQueue("all", 2)
    taken: list[int | None] = []

    def take() -> None:
        while not queue.finished:
            taken.append(queue.get())
            time.sleep(0.001)

    thread = threading.Thread(target=take)
    thread.start()
    assert sum(queue.put(number) for number in range(50)) == 0
    queue.close()
    thread.join(5)
    assert [item for item in taken if item is not None] == list(range(50))


def test_latest_gives_way_to_the_newest():
    queue: StreamQueue[int] = StreamQueue("latest")
    assert [queue.put(number) for number in range(3)] == [0, 1, 1]
    assert queue.get() == 2
    assert queue.get(timeout_s=0.01) is None
    assert not queue.finished


@given(st.lists(st.sampled_from(["put", "get"]), max_size=40), st.sampled_from(["latest", "all"]))
def test_nothing_is_lost_uncounted(actions, mode):
    queue: StreamQueue[int] = StreamQueue(mode, 100)
    put = taken = dropped = 0
    for action in actions:
        if action == "put":
            put += 1
            dropped += queue.put(put)
        elif queue.get(timeout_s=0) is not None:
            taken += 1
    dropped += queue.close(discard=True)
    assert queue.put(0) == 1
    assert queue.finished
    assert put == taken + dropped


def test_close_frees_who_waits():
    queue: StreamQueue[int] = StreamQueue("all", 1)
    queue.put(1)
    threading.Timer(0.05, queue.close).start()
    assert queue.put(2) == 1


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="latest or all"):
        StreamQueue("newest")  # type: ignore[arg-type]


def test_counts_add_up():
    counters = Counters()
    for _ in range(6):
        counters.receive()
    counters.finish(10.0)
    counters.finish(30.0)
    counters.drop(2)
    counters.fail()
    assert counters.counts.in_flight == 1
    assert counters.latency_ms(50) == 20.0
    assert Counters().latency_ms(50) is None
