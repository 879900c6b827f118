"""A self-contained HTML report: text, tables, figures and pictures in one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from PIL import Image

from samstar_rl._io import atomic

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

TEMPLATE = "report.html.j2"
LONGEST_SIDE_PX = 720
Formats = Mapping[str, str | Callable[[Any], str]]
"""For a column a format specification, or a function that gives the text."""


class Report:
    """Collects parts from top to bottom and writes them as one HTML file.

    Parameters
    ----------
    title : str
    lead : str
        What the report is about, in a sentence or two.
    """

    def __init__(self, title: str, lead: str) -> None:
        self.title, self.lead = title, lead
        self._parts: list[dict[str, Any]] = []

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append({"kind": "heading", "text": text})

    def text(self, text: str, *, note: bool = False) -> None:
        """Add a paragraph."""
        self._parts.append({"kind": "text", "text": text, "note": note})

    def code(self, text: str, summary: str) -> None:
        """Add text in a fixed pitch, folded away under a summary."""
        self._parts.append({"kind": "code", "text": text, "summary": summary})

    def table(
        self,
        rows: pd.DataFrame,
        *,
        headings: Mapping[str, str] | None = None,
        formats: Formats | None = None,
        strong: Sequence[int] = (),
        words: Sequence[str] = (),
    ) -> None:
        """Add a table, its first column on the left.

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
        headings = dict(headings or {name: name for name in rows.columns})
        cells = format_cells(rows, list(headings), formats or {})
        named = [list(zip(headings, row, strict=True)) for row in cells]
        self._parts.append(
            {"kind": "table", "headings": headings, "words": list(words), "rows": named,
             "strong": [int(row) for row in strong]}
        )  # fmt: skip

    def figure(self, figure: Figure, caption: str) -> None:
        """Add a matplotlib figure as inline SVG."""
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        svg = buffer.getvalue()
        self._parts.append({"kind": "figure", "svg": svg[svg.index("<svg") :], "caption": caption})

    def gallery(self, pictures: Sequence[tuple[str, str, NDArray[np.uint8]]], columns: int) -> None:
        """Add pictures in a grid.

        Parameters
        ----------
        pictures : sequence of (title, caption, (H, W, 3) uint8 array)
        columns : int
        """
        shown = [(title, caption, data_url(picture)) for title, caption, picture in pictures]
        self._parts.append({"kind": "gallery", "pictures": shown, "columns": columns})

    def write(self, path: Path) -> Path:
        """Write the report; nothing in it is loaded from elsewhere."""
        folder = jinja2.PackageLoader("samstar_rl.agents", "reporting")
        environment = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True)
        page = environment.get_template(TEMPLATE).render(
            title=self.title, lead=self.lead, parts=self._parts
        )
        atomic.write_text(path, page + "\n")
        return path


def format_cells(rows: pd.DataFrame, columns: Sequence[str], formats: Formats) -> list[list[str]]:
    """The cells of a table as text; what is missing becomes a dash.

    Parameters
    ----------
    rows : DataFrame
    columns : sequence of str
    formats : mapping of column to format specification or function

    Returns
    -------
    list of list of str
        A list a row.
    """
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


def data_url(picture: NDArray[np.uint8]) -> str:
    """A picture as a data URL, shrunk for a report."""
    image = Image.fromarray(picture)
    image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
