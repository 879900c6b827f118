"""A bank in memory whose proposals are made of truth: learning can be tested without a SAM.

Every frame shows discs. Each disc is proposed well, and badly in several ways; how sure the "SAM"
is of good and of bad masks shifts from stream to stream and drifts along it, visibly so in the
embedding. The best threshold of predicted IoU therefore moves, and a policy that looks follows it.
"""

from __future__ import annotations

import numpy as np

from samstar_rl.frames.frame import Frame
from samstar_rl.masks.particle_table import Scene
from samstar_rl.masks.store import MaskStore
from samstar_rl.sam.embedding import FrameFeatures
from samstar_rl.segmentation.proposals import Effort, Floor, Proposals
from samstar_rl.settings import STABILITY_OFFSETS
from samstar_rl.tasks.task import Task

SIDE_PX = 72
N_CHANNELS = 8
GAP = 0.2  # between the predicted IoU of good and of bad masks
VIEW_COST = 36.0
LEVELS = (0.2, 0.85)  # of the predicted IoU of good masks


class SyntheticBank:
    """What `Bank` offers, without a file.

    Parameters
    ----------
    task : Task
        Proposals are made for all prompt settings that it can reach.
    n_streams, n_frames : int
        Streams, and frames in each.
    seed : int
    truth : bool
        Whether the bank knows the truth.
    mixed : bool
        Whether every second frame is twice as high as wide.
    """

    sam_name = "synthetic"
    sam_sha256 = "5" * 64
    view_cost = VIEW_COST

    def __init__(
        self,
        task: Task,
        *,
        n_streams: int = 4,
        n_frames: int = 4,
        seed: int = 0,
        truth: bool = True,
        mixed: bool = False,
    ) -> None:
        self.prompts = task.space.prompts()
        self.streams = tuple(range(i * n_frames, (i + 1) * n_frames) for i in range(n_streams))
        rng = np.random.default_rng(seed)
        self._frames, self._truths, self._features, self._proposals = [], [], [], []
        for stream in self.streams:
            level = rng.uniform(*LEVELS)
            for index in stream:
                level = float(np.clip(level + rng.normal(0, 0.03), *LEVELS))
                self._add(rng, f"synthetic-{seed}-{index}", level, mixed and index % 2 == 1)
        self.has_truth = truth

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, index: int) -> Frame:
        return self._frames[index]

    def truth(self, index: int) -> np.ndarray:
        if not self.has_truth:
            raise ValueError("this bank has no ground truth")
        return self._truths[index]

    def features(self, index: int) -> FrameFeatures:
        return self._features[index]

    def proposals(self, index: int, prompt, cost_limit=None) -> Proposals:
        record = next(held for held in self.prompts if held.holds(prompt))
        return self._proposals[index][record].first(prompt, cost_limit)

    def _add(self, rng: np.random.Generator, name: str, level: float, high: bool) -> None:
        labels = np.pad(draw_discs(rng), ((0, SIDE_PX if high else 0), (0, 0)))
        image = np.where(labels > 0, 0.8, 0.3) + rng.normal(0, 0.05, labels.shape)
        frame = Frame(image.astype(np.float32), pixel_size_nm=1.0, id=name)
        self._frames.append(frame)
        self._truths.append(labels)
        self._features.append(draw_features(rng, level))
        scene = Scene(frame.image)
        self._proposals.append(
            {
                prompt: draw_proposals(rng, name, labels, scene, prompt, level)
                for prompt in self.prompts
            }
        )


def draw_discs(rng: np.random.Generator, count: int = 9) -> np.ndarray:
    """Labels of discs on a 3 x 3 raster, (72, 72) int32."""
    labels = np.zeros((SIDE_PX, SIDE_PX), dtype=np.int32)
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    cell = SIDE_PX // 3
    for number in range(count):
        y = (number // 3 + 0.5) * cell + rng.uniform(-3, 3)
        x = (number % 3 + 0.5) * cell + rng.uniform(-3, 3)
        radius = rng.uniform(5, 7.5)
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number + 1
    return labels


def draw_features(rng: np.random.Generator, level: float) -> FrameFeatures:
    """Features that show the level: the good masks' predicted IoU."""
    pooled = rng.normal(0, 0.1, N_CHANNELS)
    pooled[0] += level
    return FrameFeatures(pooled.astype(np.float32), seconds=0.01)


def draw_proposals(rng, name, labels, scene, prompt, level) -> Proposals:
    """Each disc found, shifted, halved and joined with the background; more prompts, more discs."""
    recall = 1 - 4.0 / max(np.sqrt(prompt.most_prompts), 8)
    windows, qualities = [], []
    for label in range(1, labels.max() + 1):
        if rng.random() > recall:
            continue
        disc = labels == label
        rows = np.arange(len(labels))[:, None]
        middle = np.average(rows[:, 0], weights=disc.sum(axis=1))
        variants = [
            (disc, level),
            (np.roll(disc, 9, axis=1), level - GAP),
            (disc & (rows < middle), level - GAP),
            (np.roll(disc, 8, axis=0) | np.roll(disc, -8, axis=0), level - 0.8 * GAP),
        ]
        for mask, quality in variants:
            windows.append(((0, 0), mask))
            qualities.append(quality + rng.normal(0, 0.02))
    store = MaskStore.from_windows(labels.shape, windows)
    count = len(store)
    effort, prompt_index = None, None
    if prompt.n_prompts is not None:  # a view for each zoom above 1, opened by the first prompt
        n_prompts = prompt.n_prompts
        costs = VIEW_COST * (1 + (prompt.zoom > 1)) + np.arange(1.0, n_prompts + 1)
        views = np.full(n_prompts, int(prompt.zoom > 1), dtype=np.int32)
        effort = Effort(costs, views, VIEW_COST, int(prompt.zoom > 1), "n_prompts")
        prompt_index = (np.arange(count) * n_prompts // max(count, 1)).astype(np.int32)
    boxes = [[0, 0, *labels.shape[::-1]]] * (1 + (effort is not None and prompt.zoom > 1))
    centres = (store.boxes[:, :2] + store.boxes[:, 2:]) / 2.0
    return Proposals(
        frame_id=name,
        prompt=prompt,
        offsets=STABILITY_OFFSETS,
        floor=Floor(),
        scene=scene,
        masks=store,
        iou_pred=np.clip(qualities, 0.01, 0.99).astype(np.float32),
        stability=rng.uniform(0.9, 1.0, (count, len(STABILITY_OFFSETS))).astype(np.float32),
        point_xy=centres,
        crop_index=np.full(count, len(boxes) - 1, dtype=np.int32),
        crop_boxes=np.array(boxes),
        n_prompts_decoded=prompt.most_prompts,
        view_cost=VIEW_COST,
        prompt_index=prompt_index,
        effort=effort,
        seconds=0.001 * prompt.most_prompts,
    )
