"""The napari plugin: choose task and tuner, see masks and score, move a setting and see it at once.

SAM computes the proposals of an image once; a setting that only filters them is followed without
it. The manifest beside this file, `napari.yaml`, tells napari what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from samstar_rl.agents import make_tuner, shipped_bundles
from samstar_rl.errors import SamstarError
from samstar_rl.napari.geometry import ShownPlane
from samstar_rl.segmenter import Segmenter
from samstar_rl.settings import SETTINGS, Settings, SettingsSpace
from samstar_rl.simulator import SimulatedStream
from samstar_rl.sources.readers.registry import iterate_file
from samstar_rl.tasks.shipped import task_names

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.results.result import FrameResult

LabelLayer = Any
#: positions of a slider
STEPS = 200
N_EVALUATIONS = 300
TUNERS = ("static", "default", "genetic", "nsga2")


def get_reader(path: str | list[str]) -> Callable[[Any], list[Any]] | None:
    """A reader of the microscope's file, for napari."""
    return None if isinstance(path, list) else read_layers


def read_layers(path: str) -> list[Any]:
    """The images of a file as a layer for each pixel size, which is its scale."""
    layers = []
    for size_nm, frames in groupby(iterate_file(path), key=lambda frame: frame.pixel_size_nm):
        images = [frame.image for frame in frames]
        data = images[0] if len(images) == 1 else np.stack(images)
        layers.append((data, {"name": Path(path).stem, **_geometry(size_nm, data.ndim)}, "image"))
    return layers


def simulated_micrograph() -> list[Any]:
    """A simulated micrograph as a layer."""
    frame = SimulatedStream("particles", seed=0, size=512, length=1).frame_at(0).frame
    return [(frame.image, {"name": "simulated", **_geometry(frame.pixel_size_nm, 2)}, "image")]


class Session:
    """One image under one task: its proposals, and the last result.

    Parameters
    ----------
    segmenter : Segmenter
        Of the task; keeps proposals.
    frame : Frame

    Raises
    ------
    SamstarError
        If the frame cannot be segmented.
    """

    def __init__(self, segmenter: Segmenter, frame: Frame) -> None:
        self.segmenter = segmenter
        self._prepared = segmenter.prepare(frame)
        self.result = segmenter.segment(self._prepared)
        # what the task does not let move stands where the tuner has put it
        self.space = SettingsSpace(segmenter.task.space.free, base=self.result.settings)

    def move(self, name: str, value: float) -> FrameResult:
        """Change one setting; a filter setting needs no SAM."""
        settings = self.result.settings.replace(**{name: value})
        self.result = self.segmenter.segment(self._prepared, settings)
        return self.result


class SegmentWidget(QWidget):
    """Segment the selected image and follow its settings.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        By this name napari hands itself over.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session: Session | None = None
        self._segmenters: dict[str, Segmenter] = {}
        self._layer: LabelLayer | None = None
        self._plane: ShownPlane | None = None
        self.task = _choice(task_names(), "particles")
        self.tuner = _choice((*TUNERS, *shipped_bundles()), "static")
        self.run = QPushButton("Segment the selected image")
        self.run.clicked.connect(self.segment)
        self.message = QLabel("Select an image layer.")
        self.message.setWordWrap(True)
        self.figure = Figure(figsize=(4, 4.5), layout="constrained")
        self.canvas = FigureCanvasQTAgg(self.figure)
        self.canvas.setMinimumHeight(330)
        self.sliders: dict[str, SettingSlider] = {}
        self._form = QFormLayout()
        choices = QFormLayout()
        choices.addRow("task", self.task)
        choices.addRow("tuner", self.tuner)
        settings = QWidget()
        settings.setLayout(self._form)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(settings)
        area.setMinimumHeight(220)
        layout = QVBoxLayout(self)
        layout.addLayout(choices)
        for widget in (self.run, self.message, self.canvas, area):
            layout.addWidget(widget)

    def segment(self) -> None:
        """Let the tuner choose, and show what comes out."""
        try:
            plane = ShownPlane.of(self._selected_layer(), self.viewer)
            frame = plane.frame()
            name = self.task.currentText()
            if name not in self._segmenters:
                self._segmenters[name] = Segmenter.load(name)
            loaded = self._segmenters[name]
            tuner = make_tuner(
                self.tuner.currentText(),
                loaded.task,
                sam_sha256=loaded.engine.sha256,
                n_evaluations=N_EVALUATIONS,
            )
            self.session = Session(loaded.with_tuner(tuner, keep_proposals=True), frame)
        except SamstarError as error:  # blank, no pixel size, a policy for another SAM
            self.message.setText(str(error))
            return
        self._layer, self._plane = None, plane
        self._make_sliders(self.session.space, self.session.result.settings)
        self._show(self.session.result)

    def _move(self, name: str, value: float) -> None:
        if self.session is not None:
            self._show(self.session.move(name, value))

    def _show(self, result: FrameResult) -> None:
        found = result.segmentation
        size = "" if found.pixel_size_nm is None else f", {found.pixel_size_nm:.4g} nm a pixel"
        notes = "".join(f"; {note}" for note in result.notes)
        score = f"score {result.score.total:.3f}"
        self.message.setText(f"{len(found)} particles, {score}{size}{notes}")
        labels, features = found.to_labels(), found.to_dataframe()
        features = features.assign(index=features["label"])
        if self._plane is None:
            return
        placed = self._plane.place(labels)
        if self._layer is None or self._layer not in self.viewer.layers:
            self._layer = self.viewer.add_labels(
                placed,
                name=f"{found.frame_id} particles",
                opacity=0.5,
                **self._plane.geometry(),
            )
        else:
            self._layer.data = placed
        self._layer.features = features
        _draw_score(self.figure, result)
        self.canvas.draw_idle()

    def _selected_layer(self) -> Any:
        layer = self.viewer.layers.selection.active
        if layer is None or type(layer).__name__ != "Image":
            images = [one for one in self.viewer.layers if type(one).__name__ == "Image"]
            if len(images) != 1:
                raise SamstarError("select one image layer in the list on the left")
            (layer,) = images
        return layer

    def _make_sliders(self, space: SettingsSpace, settings: Settings) -> None:
        while self._form.rowCount():
            self._form.removeRow(0)
        self.sliders = {}
        for name in space.names:
            slider = SettingSlider(space, name, getattr(settings, name), self._move)
            self.sliders[name] = slider
            self._form.addRow(name, slider)


class SettingSlider(QWidget):
    """A setting's range, on the scale that the task gives it, and its value.

    Parameters
    ----------
    space : SettingsSpace
    name : str
        One of the space's.
    value : float
        Where it begins.
    on_move : callable
        Told the name and the value.
    """

    def __init__(
        self, space: SettingsSpace, name: str, value: float, on_move: Callable[[str, float], None]
    ) -> None:
        super().__init__()
        self._space = SettingsSpace({name: space.free[name]}, base=space.base)
        self._name, self._on_move = name, on_move
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, STEPS)
        self.slider.setValue(self._position(value))
        self.slider.setToolTip(SETTINGS[name].help)
        self.text = QLabel(f"{value:.4g}")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.slider)
        layout.addWidget(self.text)
        # a prompt setting runs SAM: only when the hand lets go
        moves = SETTINGS[name].kind == "prompt"
        (self.slider.sliderReleased if moves else self.slider.valueChanged).connect(self._moved)

    @property
    def value(self) -> float:
        """The setting where the slider stands."""
        code = 2 * self.slider.value() / STEPS - 1
        return float(getattr(self._space.decode([code]), self._name))

    def _moved(self, *_: Any) -> None:
        self.text.setText(f"{self.value:.4g}")
        self._on_move(self._name, self.value)

    def _position(self, value: float) -> int:
        settings = self._space.base.replace(**{self._name: value})
        return round((float(self._space.encode(settings)[0]) + 1) / 2 * STEPS)


def _draw_score(figure: Figure, result: FrameResult) -> None:
    """Bars of the terms, and a histogram of the diameters."""
    figure.clear()
    terms, diameters = figure.subplots(2, 1)
    score, found = result.score, result.segmentation
    bars = terms.barh(list(score.terms), list(score.terms.values()), color="tab:blue")
    terms.bar_label(bars, fmt="%.2f", padding=2)
    terms.axvline(score.total, color="black", linewidth=1)
    terms.set_xlim(0, 1.15)
    terms.invert_yaxis()
    terms.set_title(f"score {score.total:.3f}")
    size_nm = found.pixel_size_nm
    diameters.hist(
        found.table.equivalent_diameter_area * (size_nm or 1), bins=20, color="tab:orange"
    )
    diameters.set_xlabel(f"equivalent diameter / {'nm' if size_nm else 'px'}")
    diameters.set_ylabel("particles")


def _geometry(pixel_size_nm: float | None, n_axes: int) -> dict[str, Any]:
    if pixel_size_nm is None:
        return {}
    leading = n_axes - 2
    return {
        "scale": (1.0,) * leading + (pixel_size_nm,) * 2,
        "units": ("pixel",) * leading + ("nm",) * 2,
    }


def _choice(names: tuple[str, ...], first: str) -> QComboBox:
    box = QComboBox()
    box.addItems(list(names))
    box.setCurrentText(first)
    return box
