"""The page's words and tables as HTML; whatever came from elsewhere is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from samstar_rl.streaming.dashboard.style import HUES, STATUS_COLOURS, WARNING

if TYPE_CHECKING:
    from samstar_rl.streaming.dashboard.state import Point, Snapshot
    from samstar_rl.streaming.events import Event
    from samstar_rl.tasks.task import Task

SHOWN_EVENTS = 40
NOTHING = "\N{EN DASH}"
EVENT_COLOURS = {"failed": WARNING, "guard": HUES[1], "source": HUES[5], "run": HUES[2]}


def status_html(snapshot: Snapshot, task: Task) -> str:
    """What the loop is doing, and at which frame."""
    words = snapshot.status.upper()
    if snapshot.status == "waiting" and snapshot.result is not None:
        words = f"WAITING · no frame for {snapshot.silent_s:.0f} s"
    badge = badge_html(snapshot.status, words)
    fault = ""
    if snapshot.last_fault is not None:
        fault = (
            f'<span class="what" style="color:{WARNING}">last fault: '
            f"{html.escape(snapshot.last_fault)}</span>"
        )
    if snapshot.result is None:
        return f'{badge}<span class="what">task <b>{html.escape(task.name)}</b></span>{fault}'
    result = snapshot.result
    return (
        f'{badge}<span class="what">frame <b>{html.escape(result.frame.id)}</b> · task '
        f"<b>{html.escape(task.name)}</b> · settings by <b>{html.escape(result.tuner)}</b></span>"
        f"{fault}"
    )


def badge_html(status: str, words: str) -> str:
    """A word on its colour."""
    return f'<span class="status" style="background:{STATUS_COLOURS[status]}">{words}</span>'


def tiles_html(snapshot: Snapshot) -> str:
    """The figures that an operator looks at first."""
    counts, (median, high) = snapshot.counts, snapshot.latency_ms
    result = snapshot.result
    tiles = [
        ("score", NOTHING if result is None else f"{result.score.total:.3f}", False),
        ("particles", NOTHING if result is None else f"{result.measured.sum()}", False),
        ("frames / s", f"{snapshot.frames_per_s:.2f}", False),
        ("latency, median", _milliseconds(median), False),
        ("latency, 99 %", _milliseconds(high), False),
        ("received", f"{counts.received}", False),
        ("done", f"{counts.done}", False),
        ("dropped", f"{counts.dropped}", counts.dropped > 0),
        ("failed", f"{counts.failed}", counts.failed > 0),
    ]
    shown = (
        f'<div class="tile{" bad" * bad}"><div class="value">{value}</div>'
        f'<div class="name">{name}</div></div>'
        for name, value, bad in tiles
    )
    return f'<div class="tiles">{"".join(shown)}</div>'


def settings_html(task: Task, point: Point | None) -> str:
    """The present settings beside what the task allows."""
    rows = []
    for name, hue in zip(task.space.names, hues(), strict=False):
        low, high = task.space.limits(name)
        # a number of prompts is missing where SAM takes the stock generator's grid
        known = math.nan if point is None else point.settings[name]
        value = NOTHING if math.isnan(known) else f"{round(known, 4):.4g}"
        rows.append(
            f'<tr><td><span style="color:{hue}">■</span> {html.escape(name)}</td>'
            f"<td><b>{value}</b></td>"
            f'<td class="faint">{low:g} to {high:g}</td></tr>'
        )
    head = "<tr><th>setting</th><th>now</th><th>allowed</th></tr>"
    return f'<div class="panel"><h2>Settings</h2><table>{head}{"".join(rows)}</table></div>'


def events_html(events: Iterable[Event]) -> str:
    """What happened, the newest first."""
    rows = "".join(
        f'<tr><td class="faint">{datetime.fromtimestamp(event.time):%H:%M:%S}</td>'
        f'<td class="kind" style="color:{EVENT_COLOURS[event.kind]}">{event.kind}</td>'
        f"<td>{html.escape(event.frame or '')}</td><td>{html.escape(event.message)}</td></tr>"
        for event in list(events)[:SHOWN_EVENTS]
    )
    body = f"<table>{rows}</table>" if rows else '<div class="faint">nothing so far</div>'
    return f'<div class="panel"><h2>Events: guard, failures, source, operator</h2>{body}</div>'


def hues() -> list[str]:
    """Colours for many curves, in the order of the task's settings or terms."""
    return list(HUES) * 3


def _milliseconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1e3:.1f} s"
