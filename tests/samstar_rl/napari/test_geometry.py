"""Labels lie on the plane of the image that is shown: extents in the world are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from samstar_rl.errors import SamstarError
from samstar_rl.napari.geometry import ShownPlane

if TYPE_CHECKING:
    from napari.components import ViewerModel

pytest.importorskip("napari")

IMAGE = np.random.default_rng(0).random((48, 64)).astype(np.float32)
STACK = np.random.default_rng(1).random((3, 5, 48, 64)).astype(np.float32)


@pytest.fixture
def viewer() -> ViewerModel:
    from napari.components import ViewerModel  # seconds, which collecting tests is to spare

    return ViewerModel()


def add_labels(viewer: ViewerModel, layer: Any) -> tuple[ShownPlane, Any]:
    """Labels on the plane that is shown, with a mark in one corner."""
    plane = ShownPlane.of(layer, viewer)
    labels = np.zeros(plane.frame().shape, np.int32)
    labels[:10, :20] = 7
    return plane, viewer.add_labels(plane.place(labels), **plane.geometry())


GEOMETRIES = {
    "plain": {},
    "translated": {"translate": (30.0, -12.5)},
    "scaled in nm": {"scale": (0.5, 0.5), "units": ("nm", "nm")},
    "in micrometres": {"scale": (0.002, 0.002), "units": ("um", "um"), "translate": (3.0, 1.0)},
    "in metres": {"scale": (2e-9, 2e-9), "units": ("m", "m"), "translate": (1e-6, 1e-6)},
    "turned": {"scale": (2.0, 2.0), "rotate": 30.0, "translate": (5.0, 6.0)},
    "sheared": {"shear": (0.25,), "translate": (5.0, 6.0)},
    "by a matrix": {"affine": np.array([[0.0, -2.0, 7.0], [2.0, 0.0, 9.0], [0.0, 0.0, 1.0]])},
}
SIZES_NM = {"scaled in nm": 0.5, "in micrometres": 2.0, "in metres": 2.0}


@pytest.mark.parametrize("kind", ["grey", "rgb", "multiscale", "rgb, multiscale"])
@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_labels_lie_on_their_image(viewer, kind, name):
    data = np.stack([IMAGE] * 3, -1) if "rgb" in kind else IMAGE
    levels = [data, data[::2, ::2], data[::4, ::4]] if "multiscale" in kind else data
    layer = viewer.add_image(levels, rgb="rgb" in kind, multiscale="multiscale" in kind,
                             **GEOMETRIES[name])  # fmt: skip
    plane, labels = add_labels(viewer, layer)
    np.testing.assert_allclose(plane.frame().image, IMAGE, rtol=1e-6)
    assert plane.frame().pixel_size_nm == (
        pytest.approx(SIZES_NM[name]) if name in SIZES_NM else None
    )
    np.testing.assert_allclose(labels.extent.world, layer.extent.world)
    assert labels.units == layer.units
    for corner in ((0, 0), (10, 20), (47, 63)):
        np.testing.assert_allclose(labels.data_to_world(corner), layer.data_to_world(corner))


@pytest.mark.parametrize("units", [None, ("um", "um", "um", "um")])
@pytest.mark.parametrize("other", [None, "2d in nm", "5d"])
def test_the_plane_that_is_shown(viewer, units, other):
    """Axes count from the right, and steps are those of the viewer."""
    if other == "2d in nm":
        viewer.add_image(IMAGE, units=("nm", "nm") if units else None)
    if other == "5d":
        viewer.add_image(np.zeros((4, 3, 5, 8, 8)))
    layer = viewer.add_image(
        STACK, scale=(1.0, 2.0, 0.5, 0.5), translate=(0.0, 7.0, 1.0, 2.0), units=units
    )
    for index in ((0, 0), (2, 4), (1, 3)):
        world = layer.data_to_world((*index, 0, 0))
        factor = 1000.0 if units and other == "2d in nm" else 1.0
        for axis, value in zip((-4, -3), world, strict=False):
            viewer.dims.set_point(viewer.dims.ndim + axis, value * factor)
        plane, labels = add_labels(viewer, layer)
        np.testing.assert_array_equal(plane.frame().image, STACK[index])
        # on the screen the same place, and nowhere but on this plane
        np.testing.assert_allclose(labels.extent.world[:, -2:], layer.extent.world[:, -2:])
        np.testing.assert_allclose(labels.extent.world[:, :2], [world[:2]] * 2)
        np.testing.assert_allclose(labels.data_to_world((0, 0, 9, 19)),
                                   layer.data_to_world((*index, 9, 19)))  # fmt: skip


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 0, 1)])
def test_planes_that_are_cut_otherwise(viewer, order):
    layer = viewer.add_image(STACK[0], scale=(2.0, 1.0, 1.0))
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 2)
    plane, labels = add_labels(viewer, layer)
    expected = np.moveaxis(STACK[0], order, (0, 1, 2))[2]
    np.testing.assert_array_equal(plane.frame().image, expected)
    across = list(order[1:])
    np.testing.assert_allclose(labels.extent.world[:, across], layer.extent.world[:, across])
    assert labels.data.shape[order[0]] == 1


def test_pixels_that_are_not_square_have_no_size(viewer):
    layer = viewer.add_image(IMAGE, scale=(1.0, 2.0), units=("nm", "nm"))
    with pytest.warns(UserWarning, match="not square"):
        assert ShownPlane.of(layer, viewer).frame().pixel_size_nm is None


def test_a_plane_outside_the_layer_is_refused(viewer):
    layer = viewer.add_image(STACK[0])
    viewer.add_image(STACK[0], translate=(100, 0, 0))
    viewer.dims.set_point(0, 102)
    with pytest.raises(SamstarError, match="nothing at the place"):
        ShownPlane.of(layer, viewer)
