from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from samstar_rl.sources.base import MemorySource
from samstar_rl.streaming.counters import Counters
from samstar_rl.streaming.dashboard import LiveState, open_dashboard
from samstar_rl.streaming.dashboard.picture import LONGEST_SIDE_PX, PictureMaker, draw_frame
from samstar_rl.streaming.dashboard.sizes import expected, histogram
from samstar_rl.streaming.dashboard.state import HISTORY, MAX_EVENTS
from samstar_rl.streaming.events import Event
from samstar_rl.streaming.runner import Runner
from samstar_rl.streaming.supervision.switches import PauseSwitch
from samstar_rl.tasks.task import load_task

pytest.importorskip("bokeh")

from samstar_rl.streaming.dashboard.server import Dashboard, DashboardError
from samstar_rl.streaming.dashboard.text import events_html, status_html, tiles_html

TASK = load_task("particles")


@pytest.fixture
def state() -> LiveState:
    return LiveState(TASK, Counters())


@pytest.fixture
def dashboard(state) -> Iterator[Dashboard]:
    with open_dashboard(state) as dashboard:
        yield dashboard


def get(url: str, **headers: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as a:
            return a.status, a.read().decode(), a.url
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.url


def post(url: str, body: bytes) -> tuple[int, str]:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    try:
        with urllib.request.build_opener(Stay).open(url, body, timeout=20) as answer:
            return answer.status, answer.headers.get("Set-Cookie", "")
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Set-Cookie", "")


def test_the_state_follows_the_run(state, result):
    assert state.snapshot().status == "waiting"
    for number in range(3):
        state.counters.receive()
        state.write(result(number))
        state.counters.finish(20.0)
    state.report(Event("source", "is away"))
    snapshot = state.snapshot(after=1)
    assert snapshot.status == "running"
    assert snapshot.result is not None and snapshot.result.frame.id == "f00002"
    assert [point.number for point in snapshot.points] == [2, 3]
    assert set(snapshot.points[0].shares) == set(TASK.space.names)
    assert all(0 <= share <= 1 for share in snapshot.points[0].shares.values())
    assert [len(values) for values in snapshot.diameters] == [3, 3, 3]
    assert snapshot.events[0].message == "is away"
    assert snapshot.counts.done == 3 and snapshot.latency_ms == (20.0, 20.0)
    state.pause.pause()
    assert state.snapshot().status == "paused"
    state.close()
    assert state.snapshot().status == "stopped"


def test_the_state_does_not_grow(state, result):
    one = replace(result(1), notes=["guard: again"])
    for _ in range(HISTORY + 10):
        state.write(one)
    snapshot = state.snapshot()
    assert len(snapshot.points) == HISTORY and snapshot.points[-1].number == HISTORY + 10
    assert len(snapshot.events) == MAX_EVENTS and snapshot.events[0].kind == "guard"


def test_a_silent_source_is_said(state, result, monkeypatch):
    for number in (0, 1):
        state.write(result(number))
        time.sleep(0.01)
    assert state.snapshot().frames_per_s > 1
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 60)
    monkeypatch.setattr("samstar_rl.streaming.dashboard.state.time", later)
    snapshot = state.snapshot()
    assert snapshot.status == "waiting"
    assert "no frame for 60 s" in status_html(snapshot, TASK)
    assert snapshot.frames_per_s == pytest.approx(1 / 60, rel=0.1)
    state.close()
    assert state.snapshot().frames_per_s == 0


def test_the_last_fault_is_shown_until_a_frame_is_done(state, result):
    state.report(Event("source", "host: is connected"))
    assert state.snapshot().last_fault is None
    state.report(Event("source", "host: refuses <this>", trouble=True))
    snapshot = state.snapshot()
    assert snapshot.last_fault == "host: refuses <this>"
    assert "last fault: host: refuses &lt;this&gt;" in status_html(snapshot, TASK)
    state.write(result(0))
    assert state.snapshot().last_fault is None


def test_names_from_elsewhere_are_no_html(state, result):
    evil = result(1)
    evil = replace(evil, frame=replace(evil.frame, id="<script>x</script>"), tuner="<b>")
    state.write(evil)
    state.report(Event("failed", "<img src=x>", frame="<i>"))
    snapshot = state.snapshot()
    text = status_html(snapshot, TASK) + events_html(snapshot.events) + tiles_html(snapshot)
    for mark in ("<script", "<img", "<i>", "<b><b>"):
        assert mark not in text
    assert "&lt;script&gt;" in text and "&lt;img" in text


def test_pictures_fit_the_page_and_are_drawn_once(result):
    maker = PictureMaker()
    one = result(1)
    picture = maker.picture(one, outlines=True)
    assert maker.picture(one, outlines=True) is picture
    plain = maker.picture(one, outlines=False)
    assert plain.shape == picture.shape and (plain != picture).any()
    assert LONGEST_SIDE_PX / 2 < max(picture.shape) <= LONGEST_SIDE_PX
    large = replace(one, frame=replace(one.frame, image=np.tile(one.frame.image, (30, 30))))
    assert max(draw_frame(large, outlines=False).shape) == LONGEST_SIDE_PX
    # the lowest row comes first
    unit = one.frame.image - one.frame.image.min()
    rows = (plain[::-1] & 255).astype(float)
    assert np.corrcoef(rows[::16, ::16].ravel(), unit.ravel())[0, 1] > 0.9


def test_a_page_takes_the_newest_frame_and_skips_the_others(state, result):
    from bokeh.document import Document

    from samstar_rl.streaming.dashboard.page import Page

    class Counting(PictureMaker):
        drawn: ClassVar[list[str]] = []

        def picture(self, result, *, outlines: bool):
            self.drawn.append(result.frame.id)
            return super().picture(result, outlines=outlines)

    state.write(result(0))
    page = Page(Document(), state, Counting())
    for number in range(1, 40):
        state.write(result(number))
    page.update()
    page.update()  # nothing is new: nothing is drawn
    assert Counting.drawn == ["f00000", "f00039"]
    # but no frame is missing in the curves
    assert list(page._scores._source.data["number"]) == list(range(1, 41))
    assert page._frame.figure.title.text == "Live frame f00039: 3 particles"


def test_sizes_are_binned_on_a_fixed_grid():
    found = histogram([np.array([10.0, 10.1, 20.0]), np.array([10.0])])
    assert found.share.sum() == pytest.approx(100)
    assert found.share[0] == pytest.approx(75)
    assert found.left[0] == pytest.approx(10.0) and (found.left[1:] == found.right[:-1]).all()
    assert len(histogram([]).share) == len(histogram([np.zeros(2)]).share) == 0


def test_the_target_is_drawn_in_the_units_of_the_frame(result):
    frame = result(1).frame  # 2 nm a pixel
    task = load_task("size").with_targets(
        size={"distribution": "lognormal", "median_diameter": 30.0, "geometric_std": 1.3}
    )
    goal = expected(task, frame)
    assert goal.diameter[np.argmax(goal.share)] == pytest.approx(30.0, rel=0.1)
    none = expected(TASK, frame)
    low, high = none.limits
    assert len(none.diameter) == 0
    assert low is not None and high is not None
    short_side_nm = 2.0 * frame.short_side_px
    assert low == pytest.approx(TASK.sample.min_diameter * short_side_nm)
    assert high == pytest.approx(TASK.sample.max_diameter * short_side_nm)


def test_beyond_this_machine_a_token_is_demanded(state):
    for token in (None, ""):
        with pytest.raises(DashboardError, match="token"):
            open_dashboard(state, host="0.0.0.0", token=token)


def test_without_a_token_nobody_gets_the_page(state):
    with open_dashboard(state, host="0.0.0.0", token="secret") as dashboard:
        local = f"http://127.0.0.1:{dashboard.port}"
        for path in ("/", "/autoload.js?bokeh-autoload-element=x"):
            status, body, url = get(local + path)
            assert "needs the token" in body and url.startswith(f"{local}/login")
            assert "bokeh" not in body.lower()
        assert get(f"{local}/", Authorization="Bearer wrong")[2].startswith(f"{local}/login")
        assert "samstar · particles" in get(f"{local}/", Authorization="Bearer secret")[1]
        assert post(f"{local}/login", b"token=wrong") == (403, "")
        status, cookie = post(f"{local}/login", b"token=secret")
        assert status == 302 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert "samstar · particles" in get(f"{local}/", Cookie=cookie.split(";")[0])[1]


def first_message(address: str, session_token: str, **headers: str) -> str | None:
    """What a websocket gets first; None if it is closed, "refused" if it is not even opened."""
    from tornado.httpclient import HTTPClientError, HTTPRequest
    from tornado.websocket import websocket_connect

    async def connect() -> str | None:
        request = HTTPRequest(f"{address.replace('http', 'ws')}/ws", headers=headers)
        try:
            connection = await websocket_connect(request, subprotocols=["bokeh", session_token])
        except HTTPClientError:
            return "refused"
        message = await connection.read_message()
        connection.close()
        return message

    return asyncio.run(connect())


def session_token(address: str, **headers: str) -> str:
    found = re.search(r'"token":"([^"]+)"', get(f"{address}/", **headers)[1])
    assert found is not None
    return found[1]


def test_a_websocket_needs_the_token_and_this_origin(state):
    with open_dashboard(state, host="0.0.0.0", token="secret") as dashboard:
        local, bearer = f"http://127.0.0.1:{dashboard.port}", {"Authorization": "Bearer secret"}
        session = session_token(local, **bearer)
        assert first_message(local, session, Origin=local) is None
        assert first_message(local, session, Origin=local, Cookie="samstar_token=no") is None
        assert "msgid" in (first_message(local, session, Origin=local, **bearer) or "")
    with open_dashboard(LiveState(TASK, Counters())) as dashboard:
        local = dashboard.address
        session = session_token(local)
        assert first_message(local, session, Origin="http://evil.example") == "refused"
        assert "msgid" in (first_message(local, session, Origin=local) or "")


def test_a_web_page_with_a_name_of_its_own_is_refused(dashboard):
    status, body, _ = get(f"{dashboard.address}/", Host="evil.example")
    assert status == 403 or "samstar · particles" not in body


def test_an_address_in_use_is_said(dashboard, state):
    with pytest.raises(DashboardError, match="cannot listen"):
        open_dashboard(state, port=dashboard.port)


def test_closing_leaves_no_thread_and_a_free_port(state):
    before = threading.active_count()
    with open_dashboard(state) as dashboard:
        assert "samstar" in get(dashboard.address)[1]
    assert threading.active_count() <= before
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(dashboard.address, timeout=5)


def test_without_bokeh_the_extra_is_named(state, monkeypatch):
    monkeypatch.setitem(sys.modules, "samstar_rl.streaming.dashboard.server", None)
    with pytest.raises(ImportError, match=r"samstar-rl\[dashboard\]"):
        open_dashboard(state)


# in a browser


@pytest.fixture(scope="module")
def browser():
    from chromium import open_browser

    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1600, "height": 1010})
    page.set_default_timeout(90_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.addresses = set()
    page.on("request", lambda request: page.addresses.add(request.url))
    yield page
    page.close()


def see(page, text: str) -> None:
    page.get_by_text(text).first.wait_for(timeout=90_000)


def test_the_page_updates_survives_a_reload_and_shows_the_end(
    dashboard, state, result, page, monkeypatch
):
    # on a busy machine a page takes longer to open than a source may be silent
    monkeypatch.setattr("samstar_rl.streaming.dashboard.state.SILENT_S", 600.0)
    state.write(result(1))
    page.goto(dashboard.address)
    see(page, "RUNNING")
    see(page, "f00001")
    state.write(replace(result(2), notes=["guard: fell back to the static settings"]))
    see(page, "f00002")
    see(page, "guard: fell back")
    page.reload()
    see(page, "f00002")
    see(page, "guard: fell back")
    state.write(result(3))
    see(page, "f00003")
    state.close()
    see(page, "STOPPED")
    page.reload()
    see(page, "STOPPED")
    assert page.errors == []
    # an instrument's PC may have no internet
    assert all(address.startswith((dashboard.address, "data:")) for address in page.addresses)


@pytest.mark.parametrize("width", [900, 1366, 1600])
def test_no_window_needs_scrolling_sideways(dashboard, state, result, page, width):
    state.write(result(1))
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(dashboard.address)
    see(page, "f00001")
    page.wait_for_function(f"document.documentElement.scrollWidth <= {width}", timeout=30_000)


def test_a_run_that_ends_leaves_its_pages_stopped(state, result, page):
    with open_dashboard(state) as dashboard:
        state.write(result(1))
        page.goto(dashboard.address)
        see(page, "f00001")
    see(page, "STOPPED")
    time.sleep(1)  # the lost connection does not hide it
    see(page, "STOPPED")


SERVER = """
import sys, time
from samstar_rl.streaming.counters import Counters
from samstar_rl.streaming.dashboard import LiveState, open_dashboard
from samstar_rl.tasks.task import load_task
with open_dashboard(LiveState(load_task("particles"), Counters())) as dashboard:
    print(dashboard.address, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_page_whose_run_was_killed_says_that_it_is_old(page):
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        page.goto(run.stdout.readline().strip())
        see(page, "WAITING")
        run.kill()
        see(page, "CONNECTION LOST")


def test_the_operator_pauses_and_goes_on(frames, segmenter, page):
    pause = PauseSwitch()
    state = LiveState(TASK, Counters(), pause=pause)
    # longer than a busy machine may take to open the page
    source = MemorySource(frames(3000), interval_s=0.05)
    runner = Runner(
        source, segmenter(), [state], queue="latest", counters=state.counters, pause=pause
    )
    with open_dashboard(state) as dashboard:
        thread = threading.Thread(target=runner.run)
        thread.start()
        page.goto(dashboard.address)
        see(page, "RUNNING")
        page.get_by_text("Pause", exact=True).click()
        see(page, "PAUSED")
        time.sleep(0.3)  # the frame in work
        done = state.counters.counts.done
        time.sleep(0.5)
        assert state.counters.counts.done == done
        page.get_by_text("Go on", exact=True).click()
        see(page, "RUNNING")
        see(page, "paused by the operator")
        runner.request_stop()
        thread.join(30)
        see(page, "STOPPED")
    assert state.counters.counts.done > done
    assert state.counters.counts.in_flight == 0


def test_the_operator_switches_the_tuner(result, page):
    from samstar_rl.streaming.supervision.switches import TunerSwitch

    class Named:
        searches = False

        def __init__(self, name: str) -> None:
            self.name = name

        def reset(self) -> None:
            pass

        def propose(self, context: object):
            return TASK.static

    switch = TunerSwitch({"policy": Named("policy"), "static": Named("static")})
    state = LiveState(TASK, Counters(), tuners=switch)
    state.write(result(1))
    with open_dashboard(state) as dashboard:
        page.goto(dashboard.address)
        see(page, "f00001")
        page.locator("select").select_option("static")
        deadline = time.monotonic() + 20
        while switch.chosen != "static":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert page.locator("select").input_value() == "static"


def test_with_a_token_the_browser_is_asked_once(state, result, page):
    state.write(result(1))
    with open_dashboard(state, host="0.0.0.0", token="secret") as dashboard:
        page.goto(f"http://127.0.0.1:{dashboard.port}/")
        see(page, "needs the token")
        page.get_by_label("token").fill("secret")
        page.get_by_role("button").click()
        see(page, "f00001")
        page.reload()
        see(page, "f00001")
