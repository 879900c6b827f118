"""A self-contained HTML report: text, tables, figures and pictures in one file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from samstar_rl._io import atomic

INK, FAINT, GRID, ACCENT = "#1c2430", "#6b7685", "#e3e7ec", "#0b6bcb"

# after Okabe and Ito (2008): colours that colour-blind people can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6b7685", "#8a6d3b")

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7f9; color: #1c2430;
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 80px; background: #fff;
       min-height: 100vh; box-shadow: 0 0 24px rgba(28, 36, 48, .06); }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 44px 0 10px; padding-top: 18px; border-top: 1px solid #e3e7ec; }
p { margin: 8px 0; max-width: 75ch; }
.lead { color: #6b7685; margin-bottom: 18px; }
.note { color: #6b7685; font-size: 14px; }
table { border-collapse: collapse; margin: 14px 0; font-size: 14px;
        font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; border-bottom: 1px solid #e3e7ec; }
td { white-space: nowrap; }
th.words, td.words { text-align: left; white-space: normal; }
th { color: #6b7685; font-weight: 600; font-size: 13px; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 6px; }
tr.strong td { font-weight: 650; background: #eef5fc; }
figure { margin: 18px 0; }
figure svg, figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: #6b7685; font-size: 14px; margin-top: 6px; max-width: 85ch; }
.gallery { display: grid; gap: 10px; margin: 14px 0; }
.gallery figure { margin: 0; }
.gallery img { width: 100%; border-radius: 4px; }
.gallery figcaption { font-size: 13px; margin-top: 3px; }
.gallery b { color: #1c2430; }
pre { background: #f5f7f9; border: 1px solid #e3e7ec; border-radius: 6px; padding: 12px 16px;
      overflow-x: auto; font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
details summary { cursor: pointer; color: #6b7685; margin: 10px 0; }
@media print { body { background: #fff; } main { box-shadow: none; } }
"""


class Report:
    """Collects parts from top to bottom and writes them as one HTML file.

    Parameters
    ----------
    title : str
    lead : str
        What the report is about, in a sentence or two.
    """

    def __init__(self, title: str, lead: str) -> None:
        self.title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="lead">{html.escape(lead)}</p>']

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, *, note: bool = False) -> None:
        """A paragraph."""
        kind = ' class="note"' if note else ""
        self._parts.append(f"<p{kind}>{html.escape(text)}</p>")

    def code(self, text: str, summary: str | None = None) -> None:
        """Text in a fixed pitch; with a summary it is folded away."""
        block = f"<pre>{html.escape(text)}</pre>"
        if summary is not None:
            block = f"<details><summary>{html.escape(summary)}</summary>{block}</details>"
        self._parts.append(block)

    def table(
        self,
        rows: pd.DataFrame,
        *,
        headings: Mapping[str, str] | None = None,
        formats: Mapping[str, str | Callable[[Any], str]] | None = None,
        strong: Sequence[int] = (),
        words: Sequence[str] = (),
    ) -> None:
        """A table, its first column on the left.

        Parameters
        ----------
        rows : DataFrame
        headings : mapping of column to heading, optional
            Also chooses the columns and their order.
        formats : mapping of column to format specification or function, optional
        strong : sequence of int
            Rows to stand out.
        words : sequence of str
            Columns of words: on the left, and broken where they are long.
        """
        headings = headings or {name: name for name in rows.columns}
        cells = format_cells(rows, list(headings), formats or {})
        kinds = [' class="words"' if name in words else "" for name in headings]
        head = "".join(
            f"<th{kind}>{html.escape(text)}</th>"
            for kind, text in zip(kinds, headings.values(), strict=True)
        )
        body = []
        for number, row in enumerate(cells):
            row_kind = ' class="strong"' if number in strong else ""
            cell_texts = zip(kinds, row, strict=True)
            line = "".join(f"<td{kind}>{html.escape(cell)}</td>" for kind, cell in cell_texts)
            body.append(f"<tr{row_kind}>{line}</tr>")
        self._parts.append(
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        )

    def figure(self, figure: Figure, caption: str) -> None:
        """A matplotlib figure as inline SVG."""
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        svg = buffer.getvalue()
        svg = svg[svg.index("<svg") :]
        self._parts.append(f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def gallery(self, pictures: Sequence[tuple[str, str, NDArray[np.uint8]]], columns: int) -> None:
        """Pictures in a grid.

        Parameters
        ----------
        pictures : sequence of (title, caption, (H, W, 3) uint8 array)
        columns : int
        """
        cells = [
            f'<figure><img src="{data_url(picture)}" alt="{html.escape(title)}">'
            f"<figcaption><b>{html.escape(title)}</b> {html.escape(caption)}</figcaption></figure>"
            for title, caption, picture in pictures
        ]
        style = f"grid-template-columns: repeat({columns}, 1fr)"
        self._parts.append(f'<div class="gallery" style="{style}">{"".join(cells)}</div>')

    def write(self, path: Path) -> Path:
        """Write the report; nothing in it is loaded from elsewhere."""
        page = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head>"
            f"<body><main>{''.join(self._parts)}</main></body></html>\n"
        )
        atomic.write_text(path, page)
        return path


def format_cells(
    rows: pd.DataFrame,
    columns: Sequence[str],
    formats: Mapping[str, str | Callable[[Any], str]],
) -> list[list[str]]:
    """The cells of a table as text; what is missing becomes a dash."""
    cells = []
    for _, row in rows.iterrows():
        line = []
        for name in columns:
            value, how = row[name], formats.get(name, "")
            if value is None or (isinstance(value, float) and np.isnan(value)):
                line.append("–")  # noqa: RUF001  # a dash, as tables have it
            else:
                line.append(how(value) if callable(how) else format(value, how))
        cells.append(line)
    return cells


def data_url(picture: NDArray[np.uint8], *, longest_side_px: int = 720) -> str:
    """A picture as a data URL, shrunk for a report."""
    image = Image.fromarray(picture)
    image.thumbnail((longest_side_px, longest_side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def new_figure(width: float = 9.6, height: float = 3.8, **subplots: Any) -> tuple[Figure, Any]:
    """A figure in the report's style, without any global state of matplotlib."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(**subplots)
    for axis in np.ravel(axes):
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(GRID)
        axis.tick_params(colors=FAINT, labelsize=9)
        axis.grid(color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def label(axis: Any, x: str, y: str, title: str = "") -> None:
    """Name the axes."""
    axis.set_xlabel(x, color=FAINT, fontsize=10)
    axis.set_ylabel(y, color=FAINT, fontsize=10)
    if title:
        axis.set_title(title, color=INK, fontsize=11, loc="left", fontweight="semibold")
