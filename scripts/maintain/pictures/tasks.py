"""The pictures of the tasks: a simulated frame of each, and what its static settings find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samstar_rl._io.atomic import replacing
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.results.overlay import PALETTE, draw_outlines
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.simulator import SimulatedStream

if TYPE_CHECKING:
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.tasks.task import Task

FRAME_PX = 256
_GAP_PX = 4
#: Levels of grey; with the outlines' colours they make a small palette, and a small PNG.
_GREYS = 20


def write_task_picture(path: Path, engine: ProposalEngine, task: Task, seed: int) -> None:
    """Write the picture of a task: the frame, what its static settings find, and the truth.

    Parameters
    ----------
    path : Path
        A PNG of some tens of kB.
    engine : ProposalEngine
    task : Task
        With a simulator's preset of its name.
    seed : int
        Of the simulated frame.
    """
    picture = Image.fromarray(_draw_task(engine, task, seed))
    greys = np.linspace(0, 255, _GREYS).astype(np.uint8)
    colours = np.concatenate([np.repeat(greys[:, None], 3, axis=1), np.array(PALETTE, np.uint8)])
    picture.putpalette(colours.tobytes())
    with replacing(path) as temporary:
        picture.save(temporary, optimize=True)


def _draw_task(engine: ProposalEngine, task: Task, seed: int) -> NDArray[np.uint8]:
    """The three panels side by side, (H, W) uint8: levels of grey, then colours of `PALETTE`."""
    with SimulatedStream(task.name, seed=seed, size=FRAME_PX, drift=0.0) as stream:
        labelled = stream.frame_at(0)
    frame = labelled.frame
    found = engine.segment(frame, task.static, **PhysicsReward(task).gauge(frame))
    truth = Segmentation.from_labels(labelled.truth, frame)
    shown = to_sam_rgb(frame.image)
    # noise is what a PNG cannot compress, and nothing that this picture is about
    calm = cv2.GaussianBlur(shown[..., 0], (0, 0), 0.9)
    greys = np.rint(calm / 255.0 * (_GREYS - 1)).astype(np.uint8)
    gap = np.full((FRAME_PX, _GAP_PX), _GREYS - 1, np.uint8)
    panels = [_outlined(greys, shown, draw_outlines(frame, one)) for one in (found, truth)]
    return np.concatenate([greys, gap, panels[0], gap, panels[1]], axis=1)


def _outlined(
    greys: NDArray[np.uint8], shown: NDArray[np.uint8], outlined: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The grey panel with the outlines' pixels as positions in the palette."""
    distances = np.abs(outlined[..., None, :].astype(int) - np.array(PALETTE)).sum(axis=-1)
    drawn = (outlined != shown).any(axis=2)
    return np.where(drawn, _GREYS + distances.argmin(axis=-1), greys).astype(np.uint8)
