"""A segmentation in a notebook, as a figure, and in napari."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from samstar_rl.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: colours that repeat; the labels are spread over them so that neighbours differ
COLOUR_MAP = "tab20"
N_COLOURS = 20
SPREAD = 7


def plot_labels(
    unit: NDArray[np.float32], labels: NDArray[np.int32], title: str, axes: Axes | None
) -> Axes:
    """Draw the frame in grey and its labels in colour over it.

    Only figures of pyplot's does a notebook show by itself.

    Parameters
    ----------
    unit : (H, W) float32 array
        The frame in [0, 1].
    labels : (H, W) int32 array
    title : str
    axes : matplotlib Axes or None
        None makes a figure of pyplot's.

    Returns
    -------
    matplotlib Axes
    """
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.figure(**_sheet(unit)).subplots()
    shown = np.ma.masked_array(SPREAD * labels % N_COLOURS, labels == 0)
    axes.imshow(unit, cmap="gray", vmin=0, vmax=1)
    axes.imshow(
        shown, cmap=COLOUR_MAP, vmin=0, vmax=N_COLOURS - 1, alpha=0.45, interpolation="nearest"
    )
    axes.set_title(title)
    axes.set_axis_off()
    return axes


def summary_html(
    unit: NDArray[np.float32], labels: NDArray[np.int32], title: str, facts: Mapping[str, str]
) -> str:
    """Lay out the picture beside a table of facts.

    Parameters
    ----------
    unit : (H, W) float32 array
        The frame in [0, 1].
    labels : (H, W) int32 array
    title : str
    facts : mapping of str to str
        Name and value of each row.

    Returns
    -------
    str
        HTML.
    """
    from matplotlib.figure import Figure

    figure = Figure(**_sheet(unit))  # of nobody's list of open figures
    plot_labels(unit, labels, title, figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    return (
        "<div style='display:flex;gap:1em;align-items:center'>"
        f"<img alt='segmentation' src='data:image/png;base64,{picture}'>"
        f"<table>{rows}</table></div>"
    )


def _sheet(unit: NDArray[np.float32]) -> dict[str, Any]:
    height, width = unit.shape
    return {"figsize": (6, 6 * height / width), "layout": "tight"}


def show_in_napari(
    unit: NDArray[np.float32],
    labels: NDArray[np.int32],
    features: pd.DataFrame,
    name: str,
    pixel_size_nm: float | None,
    viewer: Any | None,
) -> Any:
    """Add the frame and its labels, with the particles' features, to a viewer.

    Parameters
    ----------
    unit : (H, W) float32 array
        The frame in [0, 1].
    labels : (H, W) int32 array
    features : DataFrame
        A row a particle.
    name : str
        Of the layers.
    pixel_size_nm : float or None
    viewer : napari.Viewer or None
        None opens one.

    Returns
    -------
    napari.Viewer

    Raises
    ------
    MissingExtraError
        If napari is not installed.
    """
    if viewer is None:
        try:
            import napari
        except ImportError as error:
            raise MissingExtraError("to_napari", "napari", "napari") from error
        viewer = napari.Viewer(title=name)
    scale = (pixel_size_nm or 1.0,) * 2
    units = ("nm" if pixel_size_nm else "pixel",) * 2
    viewer.add_image(unit, name=name, scale=scale, units=units)
    viewer.add_labels(
        labels,
        name=f"{name} particles",
        # napari looks features up by the column "index", which is the label
        features=features.assign(index=features["label"]),
        scale=scale,
        units=units,
        opacity=0.5,
    )
    return viewer
