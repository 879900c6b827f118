"""The page of one browser: laid out once, then brought up to date twice a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bokeh.document import Document
from bokeh.events import ConnectionLost
from bokeh.layouts import column, row
from bokeh.models import Button, CustomJS, Div, InlineStyleSheet, LayoutDOM, Select, Toggle

from samstar_rl.streaming.dashboard.charts import CurvesChart, FrameChart, SizeChart
from samstar_rl.streaming.dashboard.style import HTML_CSS, TEMPLATE, THEME, WIDGET_CSS
from samstar_rl.streaming.dashboard.text import (
    badge_html,
    events_html,
    settings_html,
    status_html,
    tiles_html,
)

if TYPE_CHECKING:
    from samstar_rl.streaming.dashboard.picture import PictureMaker
    from samstar_rl.streaming.dashboard.state import LiveState

UPDATE_MS = 500
# charts that would become narrower stand below the live frame instead of beside it
NARROWEST_PX, EVENTS_PX = 560, 480
MILLISECONDS = ("waited", "prepared", "segmented")
FATES = ("dropped", "failed")
LOST = "CONNECTION LOST · the run has ended, or the network is away; what you see is old"


class Page:
    """What one browser shows of a `LiveState`.

    Parameters
    ----------
    document : Document
        Bokeh's, of this browser's session.
    state : LiveState
    pictures : PictureMaker
        Shared by all browsers.
    """

    def __init__(self, document: Document, state: LiveState, pictures: PictureMaker) -> None:
        self.state = state
        self._seen = 0
        task = state.task
        self._status, self._tiles = _html(), _html()
        self._settings, self._events = _html(height=232, width=370), _html(height=222)
        self._frame = FrameChart(pictures)
        self._sizes = SizeChart(task)
        self._scores = CurvesChart(
            "Score and its terms", list(task.terms), emphasised="score", y_range=(0, 1.03)
        )
        self._shares = CurvesChart(
            "Settings, as shares of the ranges that the task allows",
            task.space.names, y_range=(-0.03, 1.03),
        )  # fmt: skip
        self._latency = CurvesChart("Latency of each frame", MILLISECONDS, y_label="ms", height=222)
        self._fates = CurvesChart("Frames lost so far", FATES, y_label="frames", height=222)
        self._pause = Button(label="Pause", width=110, stylesheets=[_css(WIDGET_CSS)])
        self._pause.on_click(self._toggle_pause)
        self._outlines = Toggle(
            label="Outlines", active=True, width=100, stylesheets=[_css(WIDGET_CSS)]
        )
        self._outlines.on_change("active", lambda attr, old, new: self.update())
        self._tuner = self._make_tuner_choice()
        document.add_root(self._layout())
        document.title = f"samstar · {task.name}"
        document.theme, document.template = THEME, TEMPLATE
        # the one thing that only the browser can know; after the end it is no news
        show = CustomJS(
            args={"status": self._status, "lost": badge_html("disconnected", LOST)},
            code="if (!status.text.includes('STOPPED')) { status.text = lost; }",
        )
        document.js_on_event(ConnectionLost, show)
        self.update()
        document.add_periodic_callback(self.update, UPDATE_MS)

    def update(self) -> None:
        """Show what is new."""
        snapshot = self.state.snapshot(after=self._seen)
        self._status.text = status_html(snapshot, self.state.task)
        self._tiles.text = tiles_html(snapshot)
        self._events.text = events_html(snapshot.events)
        # controls as they are: another browser may have turned them, or the run may be over
        stopped = snapshot.status == "stopped"
        self._pause.update(label="Go on" if self.state.pause.paused else "Pause", disabled=stopped)
        if self._tuner is not None and self.state.tuners is not None:
            self._tuner.update(value=self.state.tuners.chosen, disabled=stopped)
        self._frame.update(snapshot.result, outlines=self._outlines.active)
        points = snapshot.points
        if not points and self._seen:
            return
        self._settings.text = settings_html(self.state.task, points[-1] if points else None)
        self._sizes.update(snapshot)
        self._scores.update(points, [{"score": p.score, **p.terms} for p in points])
        self._shares.update(points, [p.shares for p in points])
        self._latency.update(
            points, [{name: getattr(p, f"{name}_ms") for name in MILLISECONDS} for p in points]
        )
        self._fates.update(
            points, [{name: getattr(p.counts, name) for name in FATES} for p in points]
        )
        self._seen = points[-1].number if points else 0

    def _layout(self) -> LayoutDOM:
        controls = [self._outlines, self._pause]
        if self._tuner is not None:
            controls.insert(0, self._tuner)
        header = _wrapping_row(
            column(self._status, self._tiles, sizing_mode="stretch_width", min_width=NARROWEST_PX),
            row(*controls),
        )
        charts = column(
            _wrapping_row(self._sizes.figure, self._settings),
            self._scores.figure, self._shares.figure,
            sizing_mode="stretch_width", min_width=NARROWEST_PX, spacing=4,
        )  # fmt: skip
        below = (self._latency.figure, self._fates.figure, self._events)
        for part in (self._sizes.figure, *below):
            part.min_width = NARROWEST_PX // 2
        self._events.min_width = EVENTS_PX
        return column(
            header, _wrapping_row(self._frame.figure, charts), _wrapping_row(*below),
            sizing_mode="stretch_width", spacing=8,
        )  # fmt: skip

    def _make_tuner_choice(self) -> Select | None:
        switch = self.state.tuners
        if switch is None or len(switch.tuners) < 2:
            return None
        choice = Select(
            title="tuner", value=switch.chosen, options=list(switch.tuners), width=170,
            stylesheets=[_css(WIDGET_CSS)],
        )  # fmt: skip
        choice.on_change("value", lambda attr, old, new: switch.choose(new))
        return choice

    def _toggle_pause(self) -> None:
        pause = self.state.pause
        if pause.paused:
            pause.resume()
        else:
            pause.pause()
        self.update()


def _html(height: int | None = None, width: int | None = None) -> Div:
    # disable_math: a $$ in a frame's name is no formula
    return Div(
        text="", height=height, width=width, sizing_mode="fixed" if width else "stretch_width",
        disable_math=True, stylesheets=[_css(HTML_CSS)],
    )  # fmt: skip


def _wrapping_row(*children: LayoutDOM) -> LayoutDOM:
    """Beside each other, and below each other where the window is too narrow."""
    wrap = _css(":host { flex-wrap: wrap; }")
    return row(*children, sizing_mode="stretch_width", spacing=10, stylesheets=[wrap])


def _css(text: str) -> InlineStyleSheet:
    return InlineStyleSheet(css=text)
