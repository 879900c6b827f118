"""The particle table under the names of scikit-image's `regionprops_table`, for other programs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from samstar_rl.masks.column_cache import Column
from samstar_rl.masks.particle_table import ParticleTable

#: name in `regionprops_table` -> our column. Where no name of scikit-image's exists, ours stays.
NAMES = {
    "label": "label",
    "bbox-0": "bbox_y0",
    "bbox-1": "bbox_x0",
    "bbox-2": "bbox_y1",
    "bbox-3": "bbox_x1",
    "centroid-0": "centroid_y",
    "centroid-1": "centroid_x",
    "area": "area",
    "equivalent_diameter_area": "equivalent_diameter",
    "perimeter_crofton": "perimeter",
    "circularity": "circularity",
    "solidity": "solidity",
    "eccentricity": "eccentricity",
    "aspect_ratio": "aspect_ratio",
    "orientation": "orientation",
    "intensity_mean": "inside_mean",
    "rim_mean": "rim_mean",
    "contrast": "contrast",
    "edge_strength": "edge_strength",
    "touches_border": "touches_border",
    "predicted_iou": "predicted_iou",
    "stability_score": "stability_score",
}
LENGTHS = ("centroid-0", "centroid-1", "equivalent_diameter_area", "perimeter_crofton")


def regionprops_frame(
    table: ParticleTable, frame_id: str, pixel_size_nm: float | None = None
) -> pd.DataFrame:
    """Particles as a data frame, a row each, that `regionprops_table`'s readers understand.

    Parameters
    ----------
    table : ParticleTable
    frame_id : str
        For the column ``frame``.
    pixel_size_nm : float, optional
        Adds ``area_nm2`` and the lengths as ``*_nm``.

    Returns
    -------
    pandas.DataFrame
        ``frame`` and the columns of `NAMES`. Axis 0 points down and axis 1 right, boxes are
        half-open, ``orientation`` is counted from axis 0 as in scikit-image, ``solidity``
        is that of the hull of the pixels' corners, and intensities are those of the normalised
        frame.
    """
    columns: dict[str, object] = {"frame": [frame_id] * len(table)}
    columns |= {name: table[ours] for name, ours in NAMES.items()}
    columns["orientation"] = _orientation_from_axis_0(table.orientation)
    frame = pd.DataFrame(columns)
    if pixel_size_nm is None:
        return frame
    frame["area_nm2"] = frame["area"] * pixel_size_nm**2
    for name in LENGTHS:
        frame[f"{name}_nm"] = frame[name] * pixel_size_nm
    return frame


def _orientation_from_axis_0(from_x: Column) -> Column:
    """From the angle off the x axis to the one off axis 0, both of an undirected line."""
    turned = np.pi / 2 - from_x
    return np.asarray(np.where(turned > np.pi / 2, turned - np.pi, turned), dtype=np.float64)
