"""The plugin without a screen: masks, score, and settings that are followed without SAM."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_particles import draw, grid

from samstar_rl.sources.readers.microscope import MODULES

pytest.importorskip("napari")
# Qt's own libraries want libEGL and others: `make system-deps`
pytest.importorskip("qtpy.QtWidgets", exc_type=ImportError)

pytestmark = pytest.mark.slow


@pytest.fixture
def viewer(monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    yield ViewerModel()
    application.processEvents()


@pytest.fixture
def widget(viewer):
    from samstar_rl.napari.plugin import SegmentWidget, _geometry

    frame, _ = draw((96, 96), grid((96, 96), 32, 16))
    viewer.add_image(frame.image, name="drawn", **_geometry(0.5, 2))
    return SegmentWidget(viewer)


def test_the_manifest_names_what_exists():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("samstar-rl")
    for command in manifest.contributions.commands:
        assert callable(command.python_name and _load(command.python_name))
    assert [one.display_name for one in manifest.contributions.widgets] == ["Segment particles"]
    patterns = {name for one in manifest.contributions.readers for name in one.filename_patterns}
    assert patterns == {f"*{suffix}" for suffix in (*MODULES, ".zarr")}


def _load(python_name: str) -> object:
    import importlib

    module, _, name = python_name.partition(":")
    return getattr(importlib.import_module(module), name)


def test_masks_score_and_histogram_appear_and_follow_the_settings(widget, viewer, monkeypatch):
    widget.segment()
    assert "particles, score" in widget.message.text()
    labels = viewer.layers["drawn particles"]
    n_before = len(np.unique(labels.data)) - 1
    assert n_before > 0 and len(labels.features) >= n_before
    assert {"label", "area_nm2", "circularity", "predicted_iou"} <= set(labels.features)
    assert tuple(labels.scale) == (0.5, 0.5)
    assert len(widget.figure.axes) == 2
    # from here on SAM may not work any more
    engine = widget.session.segmenter.engine
    monkeypatch.setattr(engine, "propose", lambda *_, **__: pytest.fail("SAM was asked"))
    slider = widget.sliders["pred_iou_thresh"].slider
    slider.setValue(slider.maximum())
    assert widget.session.result.settings.pred_iou_thresh == pytest.approx(
        widget.session.space.limits("pred_iou_thresh")[1]
    )
    assert viewer.layers["drawn particles"] is labels
    slider.setValue(slider.minimum())
    assert len(widget.session.result.segmentation) >= len(np.unique(labels.data)) - 1


def test_what_is_wrong_is_said_in_the_widget(widget, viewer):
    viewer.layers.clear()
    widget.segment()
    assert "select one image layer" in widget.message.text()
    viewer.add_image(np.zeros((32, 32)), name="blank")
    widget.segment()
    assert "'blank': the frame is blank" in widget.message.text()
    viewer.layers.clear()
    viewer.add_image(np.random.default_rng(0).random((32, 32)), name="no scale")
    widget.task.setCurrentText("overlap")
    widget.segment()
    assert "pixel size" in widget.message.text()


def test_files_and_the_sample_open_as_layers(tmp_path):
    from samstar_rl.napari.plugin import get_reader, simulated_micrograph

    np.save(tmp_path / "a.npy", np.zeros((3, 8, 9)))
    ((data, options, kind),) = get_reader(str(tmp_path / "a.npy"))(str(tmp_path / "a.npy"))
    assert data.shape == (3, 8, 9) and options["name"] == "a" and kind == "image"
    ((data, options, kind),) = simulated_micrograph()
    assert data.shape == (512, 512) and options["units"] == ("nm", "nm") and kind == "image"


def test_the_labels_of_a_stacks_plane_lie_on_it_and_follow_the_sliders(viewer):
    from samstar_rl.napari.plugin import SegmentWidget

    frame, _ = draw((96, 96), grid((96, 96), 32, 16))
    stack = np.stack([np.zeros_like(frame.image), frame.image])
    layer = viewer.add_image(
        stack, name="stack", scale=(1, 0.0005, 0.0005), translate=(0, 3, 4), units=["um"] * 3
    )
    viewer.dims.set_current_step(0, 1)
    widget = SegmentWidget(viewer)
    widget.segment()
    labels = viewer.layers["stack particles"]
    assert "0.5 nm a pixel" in widget.message.text() and labels.data.any()
    np.testing.assert_allclose(labels.extent.world[:, 1:], layer.extent.world[:, 1:])
    np.testing.assert_allclose(labels.extent.world[:, 0], [1, 1])
    slider = widget.sliders["pred_iou_thresh"].slider
    slider.setValue(slider.maximum())
    assert labels.data.shape == (1, 96, 96)
    viewer.dims.set_current_step(0, 0)
    widget.segment()
    assert "blank" in widget.message.text()


def test_images_of_different_pixel_sizes_are_layers(tmp_path):
    import tifffile

    from samstar_rl.napari.plugin import read_layers

    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for size in (2.0, 2.0, 5.0):
            metadata = {f"PhysicalSize{axis}{unit}": "nm" if unit else size
                        for axis in "XY" for unit in ("", "Unit")}  # fmt: skip
            file.write(np.zeros((8, 9), np.uint8), metadata=metadata)
    layers = read_layers(str(tmp_path / "a.ome.tif"))
    assert [data.shape for data, _, _ in layers] == [(2, 8, 9), (8, 9)]
    assert [options["scale"][-1] for _, options, _ in layers] == [2.0, 5.0]
