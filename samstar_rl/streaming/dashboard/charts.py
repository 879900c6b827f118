"""The page's charts: each has its figure, its data, and one way to bring it up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from bokeh.models import (
    BoxAnnotation,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Legend,
    LegendItem,
    NumeralTickFormatter,
    PanTool,
    Range1d,
    ResetTool,
    ScaleBar,
    WheelZoomTool,
)
from bokeh.plotting import figure

from samstar_rl.streaming.dashboard.sizes import expected, histogram
from samstar_rl.streaming.dashboard.state import HISTORY, POOLED_FRAMES, Point, Snapshot
from samstar_rl.streaming.dashboard.style import ACCENT, FAINT, TARGET, TEXT
from samstar_rl.streaming.dashboard.text import hues

if TYPE_CHECKING:
    from samstar_rl.results.result import FrameResult
    from samstar_rl.streaming.dashboard.picture import PictureMaker
    from samstar_rl.tasks.task import Task

FRAME_SIDE_PX = 640
DIAMETER_TICKS = [step * 10.0**power for power in range(-2, 7) for step in (1, 2, 5)]


class FrameChart:
    """The newest frame with its outlines and a scale bar; it can be zoomed."""

    def __init__(self, pictures: PictureMaker) -> None:
        self._pictures = pictures
        self._shown: tuple[FrameResult | None, bool] = (None, True)
        self._extent = (0.0, 0.0)
        self._source = ColumnDataSource({"image": [], "width": [], "height": []})
        self.figure = figure(
            width=FRAME_SIDE_PX, height=FRAME_SIDE_PX, x_range=Range1d(0, 1), y_range=Range1d(0, 1),
            tools=[PanTool(), WheelZoomTool(), ResetTool()], title="Waiting for the first frame",
            active_scroll=None, toolbar_location="right",
        )  # fmt: skip
        self.figure.axis.visible = False
        self.figure.grid.visible = False
        self.figure.background_fill_color = "#000000"
        self.figure.image_rgba(
            image="image", x=0, y=0, dw="width", dh="height", source=self._source
        )
        self._scale_bar = ScaleBar(
            range=self.figure.x_range, unit="nm", location="bottom_left", visible=False,
            background_fill_color="#000000", background_fill_alpha=0.55, border_line_alpha=0,
            bar_line_color=TEXT, bar_line_width=3, label_text_color=TEXT, margin=8, padding=6,
            bar_length=0.2, title="",
        )  # fmt: skip
        self.figure.add_layout(self._scale_bar)

    def update(self, result: FrameResult | None, *, outlines: bool) -> None:
        """Show a frame, unless it is shown already."""
        if result is None or self._shown == (result, outlines):
            return
        self._shown = (result, outlines)
        frame = result.frame
        unit = frame.pixel_size_nm or 1.0
        height, width = (side * unit for side in frame.shape)
        picture = self._pictures.picture(result, outlines=outlines)
        self._source.data = {"image": [picture], "width": [width], "height": [height]}
        n = int(result.measured.sum())
        found = "1 particle" if n == 1 else f"{n} particles"
        self.figure.title.text = f"Live frame {frame.id}: {found}"
        self._scale_bar.visible = frame.pixel_size_nm is not None
        if (width, height) == self._extent:
            return  # the operator's zoom is left alone
        self._extent = (width, height)
        side = max(width, height)
        for axis, length in ((self.figure.x_range, width), (self.figure.y_range, height)):
            start = (length - side) / 2
            axis.update(start=start, end=start + side, reset_start=start, reset_end=start + side)


class SizeChart:
    """Diameters of this frame and of the last ones beside what the task expects."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._now = ColumnDataSource({"left": [], "right": [], "share": []})
        self._pooled = ColumnDataSource({"left": [], "right": [], "share": []})
        self._target = ColumnDataSource({"diameter": [], "share": []})
        self.figure = figure(
            height=232, sizing_mode="stretch_width", x_axis_type="log", tools=[],
            title="Size distribution", x_axis_label="equivalent diameter",
            y_axis_label="particles, %",
        )  # fmt: skip
        self.figure.y_range.start = 0
        # LogTicker has equal steps within a decade or two: no label where the particles are
        self.figure.xaxis.ticker = FixedTicker(ticks=DIAMETER_TICKS)
        self.figure.xaxis.formatter = NumeralTickFormatter(format="0[.]00")
        pooled = self.figure.quad(
            left="left", right="right", top="share", bottom=0, source=self._pooled,
            fill_color=FAINT, fill_alpha=0.35, line_color=None,
        )  # fmt: skip
        now = self.figure.quad(
            left="left", right="right", top="share", bottom=0, source=self._now,
            fill_color=ACCENT, fill_alpha=0.30, line_color=ACCENT, line_width=1.5,
        )  # fmt: skip
        target = self.figure.line(
            "diameter", "share", source=self._target, line_color=TARGET, line_width=2.5
        )
        # what the task allows: beyond it the chart is darkened
        self._too_small = BoxAnnotation(
            right=0, fill_color="#000000", fill_alpha=0.4, visible=False
        )
        self._too_large = BoxAnnotation(left=0, fill_color="#000000", fill_alpha=0.4, visible=False)
        for box in (self._too_small, self._too_large):
            box.line_color, box.line_dash = TARGET, "dashed"
            self.figure.add_layout(box)
        items = [LegendItem(label="this frame", renderers=[now])]
        items += [LegendItem(label=f"last {POOLED_FRAMES} frames", renderers=[pooled])]
        if "size" in task.terms:
            items += [LegendItem(label="target", renderers=[target])]
        self.figure.add_layout(Legend(items=items, location="top_right"))

    def update(self, snapshot: Snapshot) -> None:
        """Bin the newest frame, and the last ones together."""
        if snapshot.result is None:
            return
        frame = snapshot.result.frame
        scale = frame.pixel_size_nm or 1.0
        diameters = [scale * values for values in snapshot.diameters]
        for source, values in ((self._now, diameters[-1:]), (self._pooled, diameters)):
            found = histogram(values)
            source.data = {"left": found.left, "right": found.right, "share": found.share}
        goal = expected(self._task, frame)
        self._target.data = {"diameter": goal.diameter, "share": goal.share}
        unit = "px" if frame.pixel_size_nm is None else "nm"
        self.figure.xaxis.axis_label = f"equivalent diameter, {unit}"
        low, high = goal.limits
        self._too_small.update(right=low or 1, visible=low is not None)
        self._too_large.update(left=high or 1, visible=high is not None)
        self.figure.title.text = f"Size distribution{_limits_text(*goal.limits, unit)}"


class CurvesChart:
    """Curves over the frames of this run.

    Parameters
    ----------
    title : str
    names : sequence of str
        Of the curves, in the order of their colours.
    emphasised : str, optional
        One that is drawn thick and white, first.
    y_range : tuple, optional
    y_label : str
    height : int
    """

    def __init__(
        self,
        title: str,
        names: Sequence[str],
        *,
        emphasised: str | None = None,
        y_range: tuple[float, float] | None = None,
        y_label: str = "",
        height: int = 200,
    ) -> None:
        self._names = list(names) + ([emphasised] if emphasised else [])
        self._source = ColumnDataSource({name: [] for name in ("number", "frame", *self._names)})
        options = {} if y_range is None else {"y_range": Range1d(*y_range)}
        self.figure = figure(
            height=height, sizing_mode="stretch_width", tools=[], title=title,
            x_axis_label="frame of this run", y_axis_label=y_label, **options,
        )  # fmt: skip
        items = [self._draw(name, hue, 1.6) for name, hue in zip(names, hues(), strict=False)]
        if emphasised:
            items.insert(0, self._draw(emphasised, "#ffffff", 3.0))
        self.figure.add_layout(Legend(items=items), "right")
        if y_range is None:
            self.figure.y_range.start = 0
        tooltips = [("frame", "@frame"), *((name, f"@{{{name}}}{{0.000}}") for name in self._names)]
        first = self.figure.renderers[0]
        self.figure.add_tools(HoverTool(tooltips=tooltips, mode="vline", renderers=[first]))

    def update(self, points: Sequence[Point], values: Sequence[dict[str, float]]) -> None:
        """Append the values of new frames."""
        if not points:
            return
        columns: dict[str, list[object]] = {
            "number": [point.number for point in points],
            "frame": [point.frame for point in points],
        }
        for name in self._names:
            columns[name] = [given.get(name, np.nan) for given in values]
        self._source.stream(columns, rollover=HISTORY)

    def _draw(self, name: str, colour: str, width: float) -> LegendItem:
        line = self.figure.line(
            "number", name, source=self._source, line_color=colour, line_width=width
        )
        # a single frame makes no line
        dot = self.figure.scatter(
            "number", name, source=self._source, color=colour, size=2.5 + width
        )
        dot.glyph.line_alpha = 0
        return LegendItem(label=name.replace("_", " "), renderers=[line, dot])


def _limits_text(low: float | None, high: float | None, unit: str) -> str:
    if low is not None and high is not None:
        return f" (the task: {low:.3g} to {high:.3g} {unit})"
    if low is not None:
        return f" (the task: above {low:.3g} {unit})"
    return "" if high is None else f" (the task: below {high:.3g} {unit})"
