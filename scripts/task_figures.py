"""The pictures of the tasks: a simulated frame of each, and what its static settings find."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samstar_rl.atomic import replacing
from samstar_rl.frames.conversion import to_sam_rgb
from samstar_rl.frames.simulator import SimulatedStream
from samstar_rl.overlay import draw_outlines
from samstar_rl.proposals import ProposalEngine
from samstar_rl.segmentation import Segmentation
from samstar_rl.task import Task

FRAME_PX = 256
_GAP_PX = 4
_COLOURS = 48


def write_task_picture(path: Path, engine: ProposalEngine, task: Task, seed: int) -> None:
    """Write the picture of a task as a PNG of few colours: some tens of kB.

    Parameters
    ----------
    path : Path
    engine : ProposalEngine
    task : Task
        With a simulator's preset of its name.
    seed : int
        Of the simulated frame.
    """
    picture = Image.fromarray(draw_task(engine, task, seed))
    with replacing(path) as temporary:
        picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(temporary, optimize=True)


def draw_task(engine: ProposalEngine, task: Task, seed: int) -> NDArray[np.uint8]:
    """The frame, what the task's static settings find, and the truth, side by side."""
    with SimulatedStream(task.name, seed=seed, size=FRAME_PX, drift=0.0) as stream:
        labelled = stream.frame_at(0)
    frame = labelled.frame
    found = engine.segment(frame, task.static, length_unit_px=task.length_unit_px(frame))
    truth = Segmentation.from_labels(labelled.truth, frame)
    # noise is what a PNG cannot compress, and nothing that this picture is about
    calm = cv2.GaussianBlur(to_sam_rgb(frame.image), (0, 0), 0.8)
    panels = [
        calm,
        *(_over(calm, draw_outlines(frame, one), frame.image) for one in (found, truth)),
    ]
    gap = np.full((FRAME_PX, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)


def _over(
    calm: NDArray[np.uint8], outlined: NDArray[np.uint8], image: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The outlines of one picture over another."""
    drawn = (outlined != to_sam_rgb(image)).any(axis=2)
    return np.where(drawn[..., None], outlined, calm)
