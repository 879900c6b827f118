"""Looking prompt by prompt: F1 at a cost, small particles in large frames, deadlines."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import cv2
import numpy as np
from rich.progress import track
from segment_anything import SamAutomaticMaskGenerator

from samstar_rl.agents import make_tuner
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.sam.engine import Floor, ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmenter import Segmenter
from samstar_rl.settings import SETTINGS, PromptSettings, Settings
from samstar_rl.tasks.task import load_task
from samstar_rl.truth.metrics import f1_at
from samstar_rl.tuning.budget import GazeOptions
from samstar_rl.tuning.evaluable_frames import LiveFrame
from samstar_rl.tuning.tuner import FrameEvaluator, StaticTuner, tune_frame
from tests.benchmarks.report import Row
from tests.benchmarks.samples import enlarged

COSTS = {100: -0.02, 300: 0.02, 1000: 0.04}
"""Costs, and by how much F1 must exceed that of the static settings at 1,024 grid points."""
ZOOM_AT = {100: 1.0, 300: 2.0, 1000: 2.0}
"""The one zoom for all frames at each cost."""
BUDGETS = (75, 150, 300, 600)
"""Of the policy that ships."""
DEADLINES_MS = (200, 500, 1000)
LATE = 1.1
MOST_LATE = 0.01
LEAST_F1_SHARE = 0.9
LIVE_RATIOS, WORST_OVER_MEDIAN = {512: 40.0, 2048: 80.0}, 3.0
"""Times as fast as the stock generator at 32 points a side, by the frame's size in px."""
FOREGROUND_MS = {512: 60.0, 2048: 150.0}
FRAMES_AT_2048 = 3
BACKEND_FRAMES = 6
FOUND = 0.95
DISCS_PER_SIDE, DISC_PX, MONTAGE_PX = 6, 20, 512


def measure(
    items: list[LabelledFrame], *, copies: tuple[int, ...] = (4, 8), side: int = 32
) -> Iterator[Row]:
    """Compare on real frames, and on montages of a drawn one; the stock grid has `side` points."""
    yield from _live(items, 512, side)
    yield _foreground(items, 512)
    if len(items) >= FRAMES_AT_2048:
        yield from _live([enlarged(item, 2048) for item in items[:FRAMES_AT_2048]], 2048, side)
        yield _foreground([enlarged(item, 2048) for item in items], 2048)
    yield from _deadlines(items)
    yield from _policy(items)
    yield from _f1_at_costs(items, side)
    yield from _backends(items[:BACKEND_FRAMES])
    yield from map(_montage, copies)


def _backends(items: list[LabelledFrame]) -> list[Row]:
    """SAM's part of a frame by torch and by ONNX Runtime, alone and beside a busy core."""
    sam = load_sam("tiny")
    engines = {name: ProposalEngine(sam, backend=name) for name in ("torch", "onnxruntime")}
    prompt = PromptSettings(n_prompts=64)
    rows = []
    for busy in (False, True):
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            took: dict[str, list[float]] = {name: [] for name in engines}
            for item in [items[0], *items]:  # the first time allocates
                for name, engine in engines.items():
                    frame = Frame(item.frame.image)
                    started = time.perf_counter()
                    engine.propose(frame, prompt, floor=Floor(0.5, 0.5))
                    took[name].append(time.perf_counter() - started)
        finally:
            if other is not None:
                other.kill()
                other.wait()
        torch_ms, onnx_ms = (1e3 * np.array(took[name][1:]) for name in engines)
        rows.append(
            Row(
                "64 prompts by ONNX Runtime, by torch" + (", one core kept busy" if busy else ""),
                f"{np.median(onnx_ms):.0f} ms",
                f"{np.median(torch_ms):.0f} ms",
                float(np.median(torch_ms) / np.median(onnx_ms)),
                note=f"slowest {onnx_ms.max():.0f} and {torch_ms.max():.0f} ms",
            )
        )
    return rows


def _f1_at_costs(items: list[LabelledFrame], side: int) -> list[Row]:
    grid = _mean_f1(Segmenter.load("particles", _grid(side)), items)
    rows = []
    for cost, least in COSTS.items():
        found = []
        segmenter = Segmenter.load("particles")
        settings = segmenter.task.static.replace(n_prompts=1200, zoom=ZOOM_AT[cost])
        for item in track(items, f"F1 at cost {cost}"):
            prepared = segmenter.prepare(item.frame)
            embedding = prepared.source.embedding
            unit = segmenter.objective.physics.gauge(item.frame)
            masks = segmenter.engine.segment(
                item.frame, settings, embedding=embedding, cost_limit=cost, **unit
            )
            found.append(f1_at(masks, item.truth))
        f1 = float(np.mean(found))
        rows.append(
            Row(
                f"F1 at cost {cost}, zoom {ZOOM_AT[cost]:g}",
                f"{f1:.3f}",
                f"grid of {side**2}: {grid:.3f}",
                f1 - grid,
                least,
            )
        )
    return rows


def _policy(items: list[LabelledFrame]) -> list[Row]:
    """The policy that ships, at several budgets, beside the static settings that ship."""
    segmenter = Segmenter.load("particles")
    tuners = [make_tuner("particles", segmenter.task), StaticTuner(segmenter.task.static)]
    rows = []
    for budget in BUDGETS:
        found: list[list[float]] = [[], []]
        costs: list[float] = []
        for item in track(items, f"policy at a budget of {budget}"):
            for tuner, f1 in zip(tuners, found, strict=True):
                source = LiveFrame(segmenter.engine, Frame(item.frame.image))
                evaluator = FrameEvaluator(source, segmenter.objective, cost_limit=budget)
                masks = tune_frame(tuner, evaluator).evaluation.segmentation
                f1.append(f1_at(masks, item.truth))
                if tuner is tuners[0]:
                    costs.append(masks.proposals.cost)
        policy, static = map(float, map(np.mean, found))
        rows.append(
            Row(
                f"F1 of the policy less that of static settings, budget {budget}",
                f"{policy:.3f}",
                f"{static:.3f}",
                policy - static,
                note=f"mean cost {np.mean(costs):.0f}",
            )
        )
    return rows


def _foreground(items: list[LabelledFrame], size: int) -> Row:
    """The estimate of the foreground by itself, from the raw image on."""
    physics = PhysicsReward(load_task("particles"))
    physics.look_at(Frame(items[0].frame.image))
    took = []
    for item in track(items, f"foregrounds of {size} px"):
        frame = Frame(item.frame.image)
        started = time.perf_counter()
        physics.look_at(frame)
        took.append(1e3 * (time.perf_counter() - started))
    ms = float(np.median(took))
    name = f"foreground of a frame of {size} px, ms"
    return Row(name, f"{ms:.0f} ms", "", ms, FOREGROUND_MS[size], at_most=True)


def _live(items: list[LabelledFrame], size: int, side: int) -> list[Row]:
    """Live frames by the static settings that ship against the stock generator."""
    segmenter = Segmenter.load("particles")
    grid = Segmenter.load("particles", _grid(side))
    stock = SamAutomaticMaskGenerator(load_sam("tiny"), points_per_side=side)
    for _ in range(2):
        segmenter(Frame(items[0].frame.image))
    ours, theirs, found, on_grid = [], [], [], []
    for item in track(items, f"live frames of {size} px"):
        frame = Frame(item.frame.image)
        started = time.perf_counter()
        result = segmenter(frame)
        ours.append(time.perf_counter() - started)
        found.append(f1_at(result.segmentation, item.truth))
        on_grid.append(f1_at(grid(item.frame).segmentation, item.truth))
        started = time.perf_counter()
        stock.generate(to_sam_rgb(item.frame.image))
        theirs.append(time.perf_counter() - started)
    cost = f"cost {segmenter.task.static.n_prompts or 1024} and a view"
    f1, grid_f1 = float(np.mean(found)), float(np.mean(on_grid))
    name = f"live frame of {size} px, static"
    return [
        Row(
            f"{name}, the stock generator at {side} points a side",
            f"{np.median(ours) * 1e3:.0f} ms",
            f"{np.median(theirs) * 1e3:.0f} ms",
            float(np.median(np.array(theirs) / np.array(ours))),
            LIVE_RATIOS[size],
            note=cost,
        ),
        Row(f"{name}: the slowest over the median", f"{max(ours) * 1e3:.0f} ms", "",
            max(ours) / float(np.median(ours)), WORST_OVER_MEDIAN, at_most=True),
        Row(f"{name}: F1 less that of {side**2:,} grid points", f"{f1:.3f}", f"{grid_f1:.3f}",
            f1 - grid_f1, 0.0),
    ]  # fmt: skip


def _deadlines(items: list[LabelledFrame]) -> list[Row]:
    rows = []
    for deadline_ms in DEADLINES_MS:
        segmenter = Segmenter.load("particles", gaze=GazeOptions(budget_ms=deadline_ms))
        segmenter(Frame(items[0].frame.image))
        late, timed, untimed = [], [], []
        for item in track(items, f"deadline {deadline_ms} ms"):
            frame = Frame(item.frame.image)
            started = time.perf_counter()
            result = segmenter(frame)
            late.append((time.perf_counter() - started) * 1e3 > LATE * deadline_ms)
            timed.append(f1_at(result.segmentation, item.truth))
            effort = result.segmentation.proposals.effort
            assert effort is not None
            gauge = segmenter.objective.physics.gauge(item.frame)
            same = segmenter.engine.segment(
                item.frame, result.settings, cost_limit=effort.cost, **gauge
            )
            untimed.append(f1_at(same, item.truth))
        share = float(np.mean(timed)) / max(float(np.mean(untimed)), 1e-9)
        rows += [
            Row(f"--budget-ms {deadline_ms}: frames later than {LATE:g} times",
                f"{np.mean(late):.1%}", "", float(np.mean(late)), MOST_LATE, at_most=True),
            Row(f"--budget-ms {deadline_ms}: F1 over that of the same cost untimed",
                f"{np.mean(timed):.3f}", f"{np.mean(untimed):.3f}", share, LEAST_F1_SHARE),
        ]  # fmt: skip
    return rows


def _montage(copies: int) -> Row:
    """Copies of a drawn frame of small discs, side by side."""
    image, labels = draw_montage(copies)
    n_discs = DISCS_PER_SIDE**2 * copies**2
    settings = Settings(
        pred_iou_thresh=0.7,
        stability_score_thresh=0.8,
        n_prompts=min(int(SETTINGS["n_prompts"].high), 2 * n_discs),
        zoom=min(2 * copies, 16),
    )
    engine = Segmenter.load("particles").engine
    found = engine.segment(Frame(image), settings)
    painted = found.to_labels()
    centres = [np.argwhere(labels == k + 1).mean(axis=0).astype(int) for k in range(n_discs)]
    hit = 0
    for k, (y, x) in enumerate(centres):
        hit += painted[y, x] > 0 and _iou(painted == painted[y, x], labels == k + 1, y, x) > 0.5
    size = MONTAGE_PX * copies
    name = f"discs of {DISC_PX} px found on {size} px"
    return Row(name, str(hit), str(n_discs), hit / n_discs, FOUND)


def _iou(one: np.ndarray, other: np.ndarray, y: int, x: int) -> float:
    """IoU of two masks near a point: both are far smaller than 100 px."""
    near = slice(max(y - 50, 0), y + 50), slice(max(x - 50, 0), x + 50)
    shared = np.count_nonzero(one[near] & other[near])
    return shared / max(np.count_nonzero(one[near] | other[near]), 1)


def draw_montage(copies: int) -> tuple[np.ndarray, np.ndarray]:
    """36 discs of 20 px in 512 x 512 px, and copies of it side by side, with labels."""
    rng = np.random.default_rng(0)
    image = rng.normal(0.25, 0.03, (MONTAGE_PX, MONTAGE_PX)).astype(np.float32)
    labels = np.zeros((MONTAGE_PX, MONTAGE_PX), dtype=np.int32)
    for k in range(DISCS_PER_SIDE**2):
        row, column = divmod(k, DISCS_PER_SIDE)
        x, y = (int(40 + 84 * place + rng.integers(-12, 12)) for place in (column, row))
        cv2.circle(labels, (x, y), DISC_PX // 2, k + 1, -1)
    image[labels > 0] += 0.5
    image = cv2.GaussianBlur(image, (0, 0), 1)
    numbers = np.arange(copies**2).reshape(copies, copies) * DISCS_PER_SIDE**2
    offsets = np.kron(numbers, np.ones_like(labels))
    tiled = np.tile(labels, (copies, copies))
    return np.tile(image, (copies, copies)), np.where(tiled > 0, tiled + offsets, 0)


def _grid(side: int) -> Settings:
    static = Segmenter.load("particles").task.static
    return static.replace(n_prompts=None, zoom=1, points_per_side=side)


def _mean_f1(segmenter: Segmenter, items: list[LabelledFrame]) -> float:
    return float(
        np.mean(
            [
                f1_at(segmenter(item.frame).segmentation, item.truth)
                for item in track(items, "static settings at the grid")
            ]
        )
    )
