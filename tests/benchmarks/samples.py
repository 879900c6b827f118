"""Frames to measure on: real ones that the SAM never saw, or, without those, simulated ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samstar_rl.fitting.emps import load_labelled, split_names
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.settings import GATE_NAMES, Settings
from samstar_rl.simulator import SimulatedStream

EMPS = Path("../shared/data/emps/train")
# frames with fewer particles hardly give a filter anything to do
LEAST_PARTICLES = 20


def frames(count: int, folder: Path | None = None) -> list[LabelledFrame]:
    """Frames of about 512 x 512."""
    folder = folder or EMPS
    if not (folder / "images").is_dir():
        return list(SimulatedStream("particles", seed=5, size=512, length=count))
    return list(_real(count, folder))


def _real(count: int, folder: Path) -> Iterator[LabelledFrame]:
    """The first frames with at least `LEAST_PARTICLES` particles."""
    names = split_names("check") if folder == EMPS else []
    names = names or sorted(path.stem for path in (folder / "images").glob("*.png"))
    for name in names:
        ((image, labels),) = load_labelled(folder, [name])
        if len(np.unique(labels)) > LEAST_PARTICLES:
            yield LabelledFrame(Frame(image, id=name), labels)
            count -= 1
        if count == 0:
            return


def enlarged(item: LabelledFrame, long_side: int) -> LabelledFrame:
    """The frame at another size."""
    height, width = item.frame.shape
    scale = long_side / max(height, width)
    size = (round(width * scale), round(height * scale))
    image = cv2.resize(item.frame.image, size, interpolation=cv2.INTER_CUBIC)
    labels = cv2.resize(item.truth.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return LabelledFrame(Frame(image, id=item.frame.id), np.rint(labels).astype(np.int32))


def stock_arguments(settings: Settings) -> dict[str, Any]:
    """What the stock generator takes of settings that look at its grid."""
    ours = {*GATE_NAMES, "n_prompts", "zoom"}
    return {name: value for name, value in settings.to_dict().items() if name not in ours}
