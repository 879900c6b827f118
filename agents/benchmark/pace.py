"""What a cost comes to in milliseconds on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from segment_anything import SamAutomaticMaskGenerator

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.units import PACE, TEST, bank_path
from samstar_rl.bank.bank import Bank
from samstar_rl.frames.frame import Frame
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.tuning.evaluable_frames import LiveFrame
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import FrameEvaluator

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan

LIVE_FRAMES = 20
STOCK_FRAMES = 3
"""The stock generator takes seconds for each."""


def measure_pace(
    plan: BenchmarkPlan, root: Path, on_progress: Callable[[float], None] = lambda share: None
) -> dict[str, float]:
    """Segment live frames at the plan's budgets in turn, and fit a line to what they take.

    A frame's time begins with its pixels and ends with its score. Where SAM's defaults take part,
    `segment_anything`'s own generator is timed on a few of the frames. What was measured stands in
    ``pace.json`` and is not measured anew.

    Parameters
    ----------
    plan : BenchmarkPlan
    root : path
        The benchmark's folder, with its banks.
    on_progress : callable
        Called with the share done, in [0, 1].

    Returns
    -------
    dict
        ``constant_ms``, ``ms_per_unit`` of cost, ``n_frames``, and ``stock_ms`` if measured.
    """
    if (root / PACE).is_file():
        return dict(atomic.read_json(root / PACE))
    condition, name = plan.conditions[0], plan.tasks[0]
    bank = Bank(bank_path(root, condition, name, TEST))
    task, engine = plan.task(name), ProposalEngine(load_sam("tiny"))
    objective = Objective(task)
    zoom = plan.zooms[len(plan.zooms) // 2]
    settings = task.static.replace(n_prompts=plan.most_prompts, zoom=zoom)
    limits = plan.limits
    measured = []
    n_frames = min(LIVE_FRAMES, len(bank))
    n_stock = min(STOCK_FRAMES, n_frames) if "default" in plan.contenders else 0
    indices = np.linspace(0, len(bank) - 1, n_frames + 1).round().astype(int).tolist()
    for k, index in enumerate(indices):
        known = bank.frame(index)
        # what is known of the frame of the bank is not to be found again
        frame = Frame(known.image, known.pixel_size_nm, known.id, known.time)
        started = time.perf_counter()
        evaluator = FrameEvaluator(
            LiveFrame(engine, frame), objective, cost_limit=limits[k % len(limits)]
        )
        cost = evaluator(settings).cost
        measured.append((cost, 1e3 * (time.perf_counter() - started)))
        on_progress((k + 1) / (len(indices) + n_stock))
    # the first one loads what all use
    costs, took_ms = np.array(measured[1:]).T
    spread = costs - costs.mean()
    slope = float(spread @ took_ms / max(float(spread @ spread), 1e-9))
    pace = {
        "constant_ms": float(took_ms.mean() - slope * costs.mean()),
        "ms_per_unit": slope,
        "n_frames": float(len(costs)),
    }
    # what SAM's defaults take where nobody has made them faster
    stock = SamAutomaticMaskGenerator(load_sam("tiny"), points_per_side=plan.grid)
    stock_ms = []
    for index in indices[1 : 1 + n_stock]:
        started = time.perf_counter()
        stock.generate(to_sam_rgb(bank.frame(index).image))
        stock_ms.append(1e3 * (time.perf_counter() - started))
        on_progress((len(indices) + len(stock_ms)) / (len(indices) + n_stock))
    if stock_ms:
        pace["stock_ms"] = float(np.median(stock_ms))
    atomic.write_json(root / PACE, pace)
    return pace
