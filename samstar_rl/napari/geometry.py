"""Which plane of a layer is shown, and where labels must lie to lie on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame
from samstar_rl.sources.readers.pixel_size import square_nm
from samstar_rl.sources.readers.planes import to_grey


@dataclass(frozen=True)
class ShownPlane:
    """The plane of an image layer that the viewer shows.

    Parameters
    ----------
    layer : napari.layers.Image
    axes : tuple of int
        The layer's axes that span the plane, in the order of the screen: down, right.
    index : tuple of int
        Where it lies along all axes of the layer; 0 along those that span it.
    """

    layer: Any
    axes: tuple[int, int]
    index: tuple[int, ...]

    @classmethod
    def of(cls, layer: Any, viewer: Any) -> ShownPlane:
        """Find the plane of a layer that a viewer shows.

        A layer of fewer axes than the viewer has the last ones; the viewer's point is in units of
        its own.

        Raises
        ------
        SamstarError
            If the layer lies in one line there, or does not reach to the point shown.
        """
        n_axes, missing = layer.ndim, viewer.dims.ndim - layer.ndim
        shown = [axis - missing for axis in viewer.dims.order if axis >= missing]
        # in three dimensions, too, the last two of those on the screen
        down, right = shown[-2:] if len(shown) >= 2 else (-1, -1)
        if down < 0 or n_axes < 2:
            raise SamstarError(f"the layer {layer.name!r} is no image: select one")
        index = np.rint(layer.world_to_data(_point(layer, viewer))).astype(int)
        index[[down, right]] = 0
        size = _full_resolution(layer).shape[:n_axes]
        if any(not 0 <= place < length for place, length in zip(index, size, strict=True)):
            raise SamstarError(
                f"the layer {layer.name!r} has nothing at the place that is shown: move the slider"
            )
        return cls(layer, (down, right), tuple(index.tolist()))

    def frame(self) -> Frame:
        """The plane at its full resolution, with the pixel size of the layer's scale and units."""
        data = _full_resolution(self.layer)
        selected = tuple(
            slice(None) if axis in self.axes else place for axis, place in enumerate(self.index)
        )
        plane = np.asarray(data[selected])
        if self.axes[0] > self.axes[1]:
            plane = plane.swapaxes(0, 1)
        return Frame(to_grey(plane, self.layer.name), self._pixel_size_nm(), self.layer.name)

    def place(self, labels: NDArray[np.integer]) -> NDArray[np.integer]:
        """Labels of the plane, (H, W), with all axes of the layer: of length 1 across the plane."""
        if self.axes[0] > self.axes[1]:
            labels = labels.T
        return labels[
            tuple(slice(None) if axis in self.axes else None for axis in range(self.layer.ndim))
        ]

    def geometry(self) -> dict[str, Any]:
        """What a layer of `place` takes to lie on the plane, whatever the image's transform is."""
        from napari.utils.transforms import Affine

        layer = self.layer
        kept = {
            name: getattr(layer, name)
            for name in ("scale", "rotate", "shear", "affine", "units", "axis_labels")
            if hasattr(layer, name)
        }
        linear = Affine(
            scale=layer.scale, rotate=layer.rotate, shear=layer.shear, ndim=layer.ndim
        ).linear_matrix
        return {**kept, "translate": np.asarray(layer.translate) + linear @ np.array(self.index)}

    def _pixel_size_nm(self) -> float | None:
        sizes = [length_nm(self.layer.scale[axis], self.layer.units[axis]) for axis in self.axes]
        height_nm, width_nm = (None if size is None else abs(size) for size in sizes)
        return None if height_nm is None or width_nm is None else square_nm(width_nm, height_nm)


def length_nm(value: float, unit: Any) -> float | None:
    """A length in nm from any unit of napari's, which are pint's; None where it is no length."""
    if not unit.is_compatible_with("nanometer"):  # pixels
        return None
    return float((float(value) * unit).to("nanometer").magnitude)


def _full_resolution(layer: Any) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def _point(layer: Any, viewer: Any) -> list[float]:
    """The point that the viewer shows, in the units of the layer, along its axes."""
    point = list(viewer.dims.point)[-layer.ndim :]
    # from napari 0.6 on layers may have units of their own, and the viewer one for all
    world = getattr(viewer.layers.extent, "units", None)
    if world is None:
        return point
    return [
        float((value * from_unit).to(unit).magnitude)
        for value, from_unit, unit in zip(point, world[-layer.ndim :], layer.units, strict=True)
    ]
