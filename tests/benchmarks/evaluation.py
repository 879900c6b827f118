"""Evaluations from proposals against the stock generator: filter, suppress, gate, score."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from segment_anything import SamAutomaticMaskGenerator

from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.rewards import PhysicsReward
from samstar_rl.sam.engine import ProposalEngine, Proposals
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.filters import Gauge, filter_proposals
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.tasks.task import load_task
from tests.benchmarks.report import Row
from tests.benchmarks.samples import stock_arguments

REQUIRED = 3000
MEDIAN_KEPT = 10


def measure(
    items: list[LabelledFrame], *, points_per_side: int, n_settings: int, n_stock: int
) -> list[Row]:
    """Mean seconds per evaluation, ours and the stock generator's, on the same frames."""
    sam, task = load_sam("tiny"), load_task("particles")
    reward, engine = PhysicsReward(task), ProposalEngine(sam)
    ours, stock, one_off, kept = [], [], [], []
    for item in items:
        frame = item.frame
        gauge = reward.gauge(frame)
        settings = draw_settings(n_settings, points_per_side)
        proposals = engine.propose(frame, settings[0].prompt)

        def evaluate(
            choice: Settings,
            proposals: Proposals = proposals,
            gauge: Gauge = gauge,
            item: LabelledFrame = item,
        ) -> int:
            segmentation = filter_proposals(proposals, choice, **gauge)
            reward.score(segmentation, item.frame)
            return len(segmentation)

        # the first time all settings are seen, descriptors and overlaps are computed
        first = _seconds(evaluate, settings)
        again = _seconds(evaluate, settings)
        one_off.append(sum(first) - sum(again))
        ours += again
        kept += [evaluate(choice) for choice in settings]
        stock += [_stock_seconds(sam, reward, item, choice) for choice in settings[:n_stock]]
    note = (
        f"{len(ours)} settings, median kept {np.median(kept):.0f}, descriptors and overlaps once "
        f"{np.mean(one_off):.2f} s a frame"
    )
    if np.median(kept) < MEDIAN_KEPT:
        note += f" (fewer than the {MEDIAN_KEPT} asked for)"
    row = Row(
        "evaluation from proposals / stock generator, both scored",
        f"{np.mean(ours) * 1e3:.2f} ms",
        f"{np.mean(stock):.2f} s",
        float(np.mean(stock) / np.mean(ours)),
        REQUIRED,
        note=note,
    )
    return [row]


def draw_settings(count: int, points_per_side: int, seed: int = 0) -> list[Settings]:
    """Settings of the task `particles`, uniform in its space, all of them on the stock's grid."""
    space = load_task("particles").space
    rng = np.random.default_rng(seed)
    vectors = rng.uniform(-1, 1, (count, space.n))
    grid = {"points_per_side": points_per_side, "n_prompts": None, "zoom": 1.0}
    return [space.decode(vector).replace(**grid) for vector in vectors]


def _seconds(evaluate: Callable[[Settings], int], settings: list[Settings]) -> list[float]:
    seconds = []
    for choice in settings:
        started = time.perf_counter()
        evaluate(choice)
        seconds.append(time.perf_counter() - started)
    return seconds


def _stock_seconds(sam, reward, item: LabelledFrame, choice: Settings) -> float:
    """One stock evaluation: generate, then score the masks."""
    rgb = to_sam_rgb(item.frame.image)
    started = time.perf_counter()
    records = SamAutomaticMaskGenerator(sam, **stock_arguments(choice)).generate(rgb)
    masks = [record["segmentation"] for record in records]
    reward.score(Segmentation.from_masks(masks, item.frame), item.frame)
    return time.perf_counter() - started
