"""From masks to particles: what each mask measures, in px and nm.

Shape descriptors need the mask alone, intensity descriptors also the frame. Both are computed once
a mask, when first asked for, from the mask's window. Lengths are in px, y points downwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from samstar_rl._io.opencv import avoid_ipp
from samstar_rl.frames.intensity import normalise
from samstar_rl.frames.slopes import slopes
from samstar_rl.masks.column_cache import Column, MaskColumns

if TYPE_CHECKING:
    from samstar_rl.masks.store import Ids, MaskStore, Window

SHAPE_COLUMNS = (
    "perimeter_crofton",
    "circularity",
    "solidity",
    "eccentricity",
    "aspect_ratio",
    "orientation",
    "centroid-1",
    "centroid-0",
    "touches_border",
)
INTENSITY_COLUMNS = ("intensity_mean", "rim_mean", "contrast", "edge_strength")
DESCRIPTOR_COLUMNS = SHAPE_COLUMNS + INTENSITY_COLUMNS
LENGTH_COLUMNS = ("centroid-0", "centroid-1", "equivalent_diameter_area", "perimeter_crofton")
#: Sides of `MaskStore.boxes`, x0, y0, x1, y1, of the columns ``bbox-0`` to ``bbox-3``.
_BOX_SIDES = (1, 0, 3, 2)
#: Of the columns below, in every file and in the feed; 1 were those of version 0.1.
SCHEMA_VERSION = 2
# intensities just outside a mask are taken from this many px around it
RIM_WIDTH_PX = 3
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RIM_WIDTH_PX + 1,) * 2)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


class Scene:
    """The intensities that descriptors look at, prepared once a frame.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) array
        Of any range; NaN marks missing pixels. Of three channels the mean is taken.
    unit : (H, W) float32 array, optional
        The image as `normalise` makes it, if that is known already.
    """

    def __init__(
        self,
        image: NDArray[np.floating] | NDArray[np.integer],
        unit: NDArray[np.float32] | None = None,
    ) -> None:
        self._image = image
        if unit is not None:
            self.__dict__["unit"] = unit

    @cached_property
    def unit(self) -> NDArray[np.float32]:
        """The image normalised to [0, 1] by robust percentiles, (H, W)."""
        grey = self._image.mean(axis=2) if self._image.ndim == 3 else self._image
        return normalise(grey)

    @cached_property
    def gradient(self) -> NDArray[np.float32]:
        """Sobel's gradient magnitude of the normalised image, 1/px, (H, W)."""
        avoid_ipp()
        along_x = cv2.Sobel(self.unit, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
        along_y = cv2.Sobel(self.unit, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
        return np.asarray(cv2.magnitude(along_x, along_y))

    @cached_property
    def slopes(self) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Derivatives along x and y of the slightly smoothed image, 1/px, (H, W) each.

        Half precision: a bank keeps them for all of its frames.
        """
        along_x, along_y = slopes(self.unit)
        return along_x.astype(np.float16), along_y.astype(np.float16)


class ParticleDescriptors:
    """Descriptors of a store's masks, each computed when first asked for and then remembered.

    Parameters
    ----------
    store : MaskStore
    scene : Scene
    known : (M, D) float32 array, optional
        Descriptors of the store's first masks, the columns being `DESCRIPTOR_COLUMNS`.
    likeness : mapping of float to (M,) float32 array, optional
        What `FrameEvidence.likeness` said of the store's first masks when they were recorded, for
        the stability scores of an offset.
    """

    def __init__(
        self,
        store: MaskStore,
        scene: Scene,
        known: NDArray[np.float32] | None = None,
        likeness: Mapping[float, NDArray[np.float32]] | None = None,
    ) -> None:
        self.store = store
        self.scene = scene
        self.likeness = likeness or {}
        self._shapes = MaskColumns(SHAPE_COLUMNS)
        self._intensities = MaskColumns(INTENSITY_COLUMNS)
        if known is not None:
            self._shapes.fill(known[:, : len(SHAPE_COLUMNS)])
            self._intensities.fill(known[:, len(SHAPE_COLUMNS) :])

    def column(self, name: str, ids: Ids) -> Column:
        """One descriptor of K masks, (K,)."""
        if name in SHAPE_COLUMNS:
            return self._shapes.get(name, ids, len(self.store), self._describe_shapes)
        return self._intensities.get(name, ids, len(self.store), self._describe_intensities)

    def all(self, ids: Ids) -> NDArray[np.float32]:
        """Every descriptor of K masks, (K, D) float32, in the order of `DESCRIPTOR_COLUMNS`."""
        columns = [self.column(name, ids) for name in DESCRIPTOR_COLUMNS]
        return np.stack(columns, axis=1).astype(np.float32)

    def _describe_shapes(self, ids: Ids) -> list[tuple[float, ...]]:
        store, boxes = self.store, self.store.boxes
        return [describe_shape(store.window(i), boxes[i].tolist(), store.shape) for i in ids]

    def _describe_intensities(self, ids: Ids) -> list[tuple[float, ...]]:
        store, boxes = self.store, self.store.boxes
        return [describe_intensity(store.window(i), boxes[i].tolist(), self.scene) for i in ids]


class ParticleTable:
    """What K particles measure, a column at a time: the one schema of files, feed and Python.

    Columns have the names and conventions of scikit-image's `regionprops_table` where it has them:
    axis 0 points down, axis 1 right, pixel centres lie at whole numbers, boxes are half-open.
    Lengths are in px. A column is computed or looked up when first asked for:
    ``table["solidity"]``, or ``table.solidity`` where the name allows it.

    Attributes
    ----------
    ids : (K,) int array
        The masks' numbers in the store.
    stability_offset : float
        At which the stability scores were taken.
    likeness : (K,) array or None
        As `FrameEvidence.likeness` gave it, once it was asked for.
    label : (K,) int array
        1 to K, as in `Segmentation.to_labels`.
    bbox-0, bbox-1, bbox-2, bbox-3 : (K,) int arrays
        First row and column, and those after the last.
    centroid-0, centroid-1 : (K,) arrays
        Row and column.
    area : (K,) int array
        px^2.
    equivalent_diameter_area
        Of the disc of equal area, sqrt(4 area / pi).
    perimeter_crofton
        Crofton's formula in four directions.
    circularity
        4 pi area / perimeter^2, at most 1. (Ours.)
    solidity
        Area over that of the convex hull: here of the pixels' corners, not of their centres.
    eccentricity, aspect_ratio, orientation
        Of the ellipse of equal second moments: sqrt(1 - minor^2 / major^2), major / minor (ours),
        and the angle in rad from axis 0 to the major axis, in (-pi/2, pi/2], counter-clockwise.
    intensity_mean, rim_mean
        Mean intensity inside, and within 3 px outside (ours), of the frame normalised to [0, 1];
        rim_mean equals intensity_mean where a mask leaves no such pixels.
    contrast
        intensity_mean - rim_mean, in [-1, 1]: signed, in units of the frame's robust range. (Ours.)
    edge_strength
        1/px: mean gradient of the normalised intensity along the mask's outermost pixels. (Ours.)
    touches_border : (K,) bool array
    predicted_iou, stability_score
        SAM's.
    """

    columns = (
        "label",
        *(f"bbox-{side}" for side in range(4)),
        "centroid-0",
        "centroid-1",
        "area",
        "equivalent_diameter_area",
        *SHAPE_COLUMNS[:6],
        *INTENSITY_COLUMNS,
        "touches_border",
        "predicted_iou",
        "stability_score",
    )

    label: NDArray[np.int64]
    area: NDArray[np.int64]
    equivalent_diameter_area: Column
    perimeter_crofton: Column
    circularity: Column
    solidity: Column
    eccentricity: Column
    aspect_ratio: Column
    orientation: Column
    intensity_mean: Column
    rim_mean: Column
    contrast: Column
    edge_strength: Column
    touches_border: NDArray[np.bool_]
    predicted_iou: Column
    stability_score: Column

    def __init__(
        self,
        descriptors: ParticleDescriptors,
        ids: Ids,
        predicted_iou: Column,
        stability_score: Column,
        stability_offset: float,
    ) -> None:
        self._descriptors = descriptors
        self.ids = ids
        self.predicted_iou = predicted_iou
        self.stability_score = stability_score
        self.stability_offset = stability_offset
        self.likeness: Column | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def store(self) -> MaskStore:
        """Where the masks' pixels are."""
        return self._descriptors.store

    @property
    def scene(self) -> Scene:
        """The intensities of the masks' frame."""
        return self._descriptors.scene

    @property
    def recorded_likeness(self) -> NDArray[np.float32] | None:
        """Likeness of the store's first masks, if it was recorded for the table's offset."""
        return self._descriptors.likeness.get(self.stability_offset)

    def part(self, positions: NDArray[np.integer]) -> ParticleTable:
        """The table of some of its particles, in the order given."""
        part = ParticleTable(
            self._descriptors,
            self.ids[positions],
            predicted_iou=self.predicted_iou[positions],
            stability_score=self.stability_score[positions],
            stability_offset=self.stability_offset,
        )
        part.likeness = None if self.likeness is None else self.likeness[positions]
        return part

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise KeyError(f"no column {name!r}: expected one of {', '.join(self.columns)}")
        return np.asarray(getattr(self, name))

    def __getattr__(self, name: str) -> NDArray[np.generic]:
        # reached only for columns that are not there yet
        if name not in ParticleTable.columns:
            raise AttributeError(f"no column {name!r}: expected one of {ParticleTable.columns}")
        values = self._compute(name)
        self.__dict__[name] = values
        return values

    def _compute(self, name: str) -> NDArray[np.generic]:
        if name == "label":
            return np.arange(1, len(self) + 1)
        if name == "area":
            return self.store.areas[self.ids]
        if name == "equivalent_diameter_area":
            return equivalent_diameters_px(self.area)
        if name.startswith("bbox-"):
            side = _BOX_SIDES[int(name.removeprefix("bbox-"))]
            return self.store.boxes[self.ids, side].astype(np.int64)
        values = self._descriptors.column(name, self.ids)
        return values > 0 if name == "touches_border" else values

    def to_dataframe(self, frame_id: str, pixel_size_nm: float | None = None) -> pd.DataFrame:
        """All columns as a data frame, a row a particle: what files and feed hold.

        Parameters
        ----------
        frame_id : str
            For the column ``frame``, which stands in front.
        pixel_size_nm : float, optional
            Adds the area as ``area_nm2`` and the lengths as ``*_nm``.

        Returns
        -------
        pandas.DataFrame
            At its end the column ``schema_version``.
        """
        columns: dict[str, object] = {"frame": [frame_id] * len(self)}
        columns |= {name: self[name] for name in self.columns}
        frame = pd.DataFrame(columns)
        if pixel_size_nm is not None:
            frame["area_nm2"] = frame["area"] * pixel_size_nm**2
            for name in LENGTH_COLUMNS:
                frame[f"{name}_nm"] = frame[name] * pixel_size_nm
        frame["schema_version"] = SCHEMA_VERSION
        return frame


def equivalent_diameters_px(areas_px2: NDArray[np.integer]) -> Column:
    """Diameters of the discs of equal area, sqrt(4 area / pi)."""
    return np.sqrt(areas_px2 * (4 / np.pi))


def describe_shape(
    window: Window, box: list[int], frame_shape: tuple[int, int]
) -> tuple[float, ...]:
    """Measure the shape of one mask.

    Parameters
    ----------
    window : (h, w) bool array
        The mask within its box.
    box : list of int
        x0, y0, x1, y1 in px, half-open; an empty mask has x1 <= x0.
    frame_shape : tuple of int
        Height and width of the frame in px.

    Returns
    -------
    tuple of float
        The descriptors `SHAPE_COLUMNS`; all 0 for an empty mask.
    """
    x0, y0, x1, y1 = box
    if x1 <= x0:
        return (0.0,) * len(SHAPE_COLUMNS)
    pixels = window.view(np.uint8)
    moments = cv2.moments(pixels, binaryImage=True)
    area = moments["m00"]
    perimeter = perimeter_crofton_px(window)
    eccentricity, aspect_ratio, orientation = _describe_ellipse(moments)
    height, width = frame_shape
    return (
        perimeter,
        min(1.0, 4 * np.pi * area / perimeter**2),
        area / _hull_area_px2(window),
        eccentricity,
        aspect_ratio,
        orientation,
        x0 + moments["m10"] / area,
        y0 + moments["m01"] / area,
        float(x0 == 0 or y0 == 0 or x1 == width or y1 == height),
    )


_STRAIGHT, _DIAGONAL = np.pi / 4, np.pi / (4 * np.sqrt(2))
#: Perimeter for each of the 16 configurations of 2 x 2 pixels: crossings of lines in four
#: directions, as scikit-image's ``perimeter_crofton`` counts them. The bits are: 1 lower right,
#: 2 upper right, 4 lower left, 8 upper left pixel.
_CROFTON_WEIGHTS = np.array([
    0, _STRAIGHT + _DIAGONAL, _DIAGONAL, 2 * _DIAGONAL,
    0, _STRAIGHT + _DIAGONAL, 0, _DIAGONAL,
    _STRAIGHT, 2 * _STRAIGHT, _DIAGONAL, _DIAGONAL,
    _STRAIGHT, 2 * _STRAIGHT, 0, 0,
])  # fmt: skip


def perimeter_crofton_px(window: Window) -> float:
    """Perimeter by Crofton's formula in four directions, in px."""
    height, width = window.shape
    padded = np.zeros((height + 2, width + 2), dtype=np.uint8)
    padded[1:-1, 1:-1] = window
    codes = padded[1:, 1:] + 2 * padded[:-1, 1:]
    codes += 4 * padded[1:, :-1]
    codes += 8 * padded[:-1, :-1]
    counts = np.bincount(codes.ravel(), minlength=16)
    return float(_CROFTON_WEIGHTS @ counts)


def _hull_area_px2(window: Window) -> float:
    """Area of the convex hull of all corners of the pixels."""
    height, width = window.shape
    first = window.argmax(axis=1)
    last = width - window[:, ::-1].argmax(axis=1)
    rows = np.flatnonzero(window[np.arange(height), first])
    corners = np.empty((4, len(rows), 2), dtype=np.int32)
    corners[:2, :, 0], corners[2:, :, 0] = first[rows], last[rows]
    corners[::2, :, 1], corners[1::2, :, 1] = rows, rows + 1
    hull = cv2.convexHull(corners.reshape(-1, 2))
    return float(cv2.contourArea(hull))


def _describe_ellipse(moments: dict[str, float]) -> tuple[float, float, float]:
    """Eccentricity, aspect ratio and orientation (rad from axis 0) from second moments."""
    area = moments["m00"]
    # a pixel is a square, not a point: its own second moment is 1/12
    xx, yy = moments["mu20"] / area + 1 / 12, moments["mu02"] / area + 1 / 12
    xy = moments["mu11"] / area
    spread = np.hypot(xx - yy, 2 * xy)
    major, minor = (xx + yy + spread) / 2, (xx + yy - spread) / 2
    eccentricity = float(np.sqrt(max(0.0, 1 - minor / major)))
    # of an undirected line: the angle from axis 0, towards axis 1
    orientation = np.pi / 2 - np.arctan2(2 * xy, xx - yy) / 2
    if orientation > np.pi / 2:
        orientation -= np.pi
    return eccentricity, float(np.sqrt(major / minor)), float(orientation)


def describe_intensity(window: Window, box: list[int], scene: Scene) -> tuple[float, ...]:
    """Measure the intensities in and around one mask.

    Parameters
    ----------
    window : (h, w) bool array
        The mask within its box.
    box : list of int
        x0, y0, x1, y1 in px, half-open; an empty mask has x1 <= x0.
    scene : Scene
        Normalised intensities and slopes of the frame.

    Returns
    -------
    tuple of float
        The descriptors `INTENSITY_COLUMNS`; all 0 for an empty mask.
    """
    x0, y0, x1, y1 = box
    if x1 <= x0:
        return (0.0,) * len(INTENSITY_COLUMNS)
    height, width = scene.unit.shape
    left, top = max(0, x0 - RIM_WIDTH_PX), max(0, y0 - RIM_WIDTH_PX)
    right, bottom = min(width, x1 + RIM_WIDTH_PX), min(height, y1 + RIM_WIDTH_PX)
    mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
    mask[y0 - top : y1 - top, x0 - left : x1 - left] = window
    unit = scene.unit[top:bottom, left:right]
    inside = cv2.mean(unit, mask)[0]
    rim = cv2.dilate(mask, _DISC) ^ mask
    outside = cv2.mean(unit, rim)[0] if rim.any() else inside
    # pixels beyond the frame count as set here: the frame's border is no edge of the particle
    edge = cv2.erode(mask, _CROSS) ^ mask
    strength = cv2.mean(scene.gradient[top:bottom, left:right], edge)[0]
    return inside, outside, inside - outside, strength
