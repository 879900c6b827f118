"""A frame, maps and proposals that depend on no network: what is kept of them must never change."""

from __future__ import annotations

import cv2
import numpy as np

from samstar_rl.foreground.network import ForegroundMaps, working_shape
from samstar_rl.frames.frame import Frame
from samstar_rl.masks.particle_table import Scene
from samstar_rl.masks.store import MaskStore
from samstar_rl.segmentation.proposals import Floor, Proposals
from samstar_rl.settings import STABILITY_OFFSETS, Settings
from samstar_rl.simulator import SimulatedStream
from samstar_rl.tasks.task import Task

SIDE_PX = 160
N_SETTINGS = 8


def frozen_frame() -> tuple[Frame, np.ndarray]:
    """A simulated frame and its labels."""
    with SimulatedStream("particles", seed=11, size=SIDE_PX, length=1) as stream:
        labelled = stream.frame_at(0)
    return labelled.frame, labelled.truth


def frozen_maps(truth: np.ndarray) -> ForegroundMaps:
    """What a network that knows the labels would say."""
    height, width = working_shape(truth.shape)
    there = (truth > 0).astype(np.float32)
    inner = cv2.erode(there, np.ones((5, 5), np.uint8))
    probability, core = (
        cv2.resize(cv2.GaussianBlur(part, (0, 0), 1.5), (width, height)) for part in (there, inner)
    )
    return ForegroundMaps(probability * np.float32(0.9), core * np.float32(0.9))


def frozen_proposals(frame: Frame, truth: np.ndarray) -> Proposals:
    """Masks as SAM might propose them: true, shrunk, grown, moved, joined, split, and wrong."""
    rng = np.random.default_rng(5)
    block = np.ones((3, 3), np.uint8)
    labels = np.unique(truth[truth > 0])
    masks: list[np.ndarray] = []
    for label in labels:
        mask = (truth == label).astype(np.uint8)
        masks += [mask, cv2.erode(mask, block), cv2.dilate(mask, block, iterations=2)]
        masks.append(np.roll(mask, tuple(rng.integers(-3, 4, 2)), axis=(0, 1)))
        half = mask.copy()
        half[:, : int(np.nonzero(mask)[1].mean())] = 0
        masks.append(half)
        masks.append(np.maximum(mask, (truth == rng.choice(labels)).astype(np.uint8)))
    yy, xx = np.mgrid[:SIDE_PX, :SIDE_PX]
    for y, x in rng.uniform(5, SIDE_PX - 5, (20, 2)):
        masks.append((np.hypot(yy - y, xx - x) < rng.uniform(3, 20)).astype(np.uint8))
    store = MaskStore.from_windows(frame.shape, [((0, 0), mask.astype(bool)) for mask in masks])
    n_masks = len(store)
    return Proposals(
        frame_id=frame.id,
        prompt=Settings().prompt,
        offsets=STABILITY_OFFSETS,
        floor=Floor(),
        scene=Scene(frame.image),
        masks=store,
        iou_pred=rng.uniform(0.5, 1.0, n_masks).astype(np.float32),
        stability=rng.uniform(0.7, 1.0, (n_masks, len(STABILITY_OFFSETS))).astype(np.float32),
        point_xy=rng.uniform(0, SIDE_PX, (n_masks, 2)),
        crop_index=np.zeros(n_masks, dtype=np.int32),
        crop_boxes=np.array([[0, 0, SIDE_PX, SIDE_PX]]),
        n_prompts_decoded=1024,
        pixel_size_nm=frame.pixel_size_nm,
    )


def frozen_choices(task: Task) -> list[Settings]:
    """Settings of a task, drawn at random, with stock prompts: static ones may be chosen anew."""
    rng = np.random.default_rng(7)
    drawn = [task.space.decode(rng.uniform(-1, 1, task.space.n)) for _ in range(N_SETTINGS)]
    stock = Settings()
    changes = stock.prompt.to_dict() | {"n_prompts": None, "zoom": 1.0}
    ungated = {name: getattr(stock, name) for name in ("min_diameter", "max_diameter")}
    # the lengths of some tasks suit no particle of the frame: every other choice leaves them out
    return [
        settings.replace(**changes, **(ungated if number % 2 else {}))
        for number, settings in enumerate(drawn)
    ]
