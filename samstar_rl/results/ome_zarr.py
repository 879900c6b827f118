"""OME-Zarr: the frame as an image, the particles as a label image in its `labels` group.

Written by the library of that name (extra `ome-zarr`). The particles' measurements travel as the
label image's properties, which napari-ome-zarr turns into features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from samstar_rl.errors import MissingExtraError
from samstar_rl.results.result import SOFTWARE, FrameResult, label_image

LABELS_NAME = "particles"


def write_ome_zarr(path: Path, result: FrameResult) -> None:
    """Write a frame and its particles; of overlapping ones the smaller is on top.

    Parameters
    ----------
    path : Path
        A folder that does not exist yet.
    result : FrameResult

    Raises
    ------
    ImportError
        If the library is not installed, naming the extra.
    """
    try:
        import zarr
        from ome_zarr.io import parse_url
        from ome_zarr.writer import write_image, write_labels
    except ImportError as error:
        raise MissingExtraError("OME-Zarr", "ome-zarr", "ome-zarr") from error
    size_nm = result.frame.pixel_size_nm
    unit = {} if size_nm is None else {"unit": "nanometer"}
    geometry: dict[str, Any] = {
        "axes": [{"name": name, "type": "space", **unit} for name in ("y", "x")],
        "coordinate_transformations": [[{"type": "scale", "scale": [size_nm or 1.0] * 2}]],
        "scaler": None,  # frames are small: one resolution
    }
    # the library's own store: it lays out chunks as readers of OME-Zarr expect them
    location = parse_url(str(path), mode="w")
    if location is None:
        raise OSError(f"cannot write an OME-Zarr store at {path}")
    group = zarr.group(store=location.store)
    group.attrs["software"] = SOFTWARE
    write_image(result.frame.image, group, **geometry)
    write_labels(
        label_image(result.segmentation),
        group,
        name=LABELS_NAME,
        label_metadata={"properties": _properties(result), "source": {"image": "../../"}},
        **geometry,
    )


def _properties(result: FrameResult) -> list[dict[str, Any]]:
    """A dictionary a particle, of types that JSON knows."""
    records = result.particles().to_dict("records")
    return [
        {"label-value": int(record["label"])}
        | {name: _plain(value) for name, value in record.items() if name != "label"}
        for record in records
    ]


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if not isinstance(value, float) or np.isfinite(value) else None
