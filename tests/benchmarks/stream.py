"""The environment on a bank: steps a second, memory, size on disk.

Task, prompts, budgets and observation are those that ship. What is known of a frame and of a mask
is computed when a step first meets them: a short training lives in that, a long one does not.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
from segment_anything import SamAutomaticMaskGenerator

from samstar_rl.bank.bank import Bank
from samstar_rl.bank.build import build_bank
from samstar_rl.envs.options import StreamOptions
from samstar_rl.envs.stream import StreamEnv
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.tasks.task import load_task
from tests.benchmarks.report import Row

STEPS_A_STOCK_FRAME, SIZE_ALLOWED_MB, GROWTH_ALLOWED_MB = 20_000, 5.0, 64.0
STOCK_SIDE = 32


def measure(items: list[LabelledFrame], *, n_steps: int, folder: Path) -> list[Row]:
    """Build a bank of the frames and step through it with random actions."""
    task = load_task("particles")
    engine = ProposalEngine(load_sam("tiny"))
    # the task's own prompt settings; the same frames in one stream
    bank = build_bank([items], folder, engine, task.space.prompts())
    megabytes = bank.n_bytes / 1e6 / len(bank) / len(bank.prompts)
    size = Row(
        "bank, MB a frame and prompt setting",
        f"{megabytes:.2f} MB",
        "",
        megabytes,
        SIZE_ALLOWED_MB,
        True,
    )
    stock = SamAutomaticMaskGenerator(engine.sam, points_per_side=STOCK_SIDE)
    started = time.perf_counter()
    stock.generate(to_sam_rgb(items[0].frame.image))
    return [size, *_steps(bank, task, n_steps, time.perf_counter() - started)]


def _steps(bank: Bank, task, n_steps: int, stock_seconds: float) -> list[Row]:
    environment = StreamEnv(task, bank, options=StreamOptions(window=min(64, len(bank))))
    n_new = max(1, n_steps // 40)
    new_seconds = _run(environment, n_new, seed=2)
    # every frame has been seen with many settings: the state of a long training
    _run(environment, n_steps // 4, seed=0)
    before = _peak_mb()
    seconds = _run(environment, n_steps, seed=1)
    growth = _peak_mb() - before
    return [
        Row(
            "Stream-v1 from a bank, steps in the time of a stock frame",
            f"{n_steps / seconds:.0f} steps/s",
            f"{stock_seconds:.1f} s",
            n_steps / seconds * stock_seconds,
            STEPS_A_STOCK_FRAME,
            note="random actions, observation and score included",
        ),
        Row(
            f"Stream-v1 from a bank, the first {n_new} steps on {len(bank)} frames",
            f"{n_new / new_seconds:.0f} steps/s",
            f"{stock_seconds:.1f} s",
            n_new / new_seconds * stock_seconds,
            note="foregrounds and pixels of masks met for the first time",
        ),
        Row(
            "Stream-v1, growth of memory, MB",
            f"{growth:.1f} MB",
            "",
            growth,
            GROWTH_ALLOWED_MB,
            True,
        ),
    ]


def _run(environment: StreamEnv, n_steps: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    shape = environment.action_space.shape
    started = time.perf_counter()
    environment.reset(seed=seed)
    for _ in range(n_steps):
        *_, terminated, truncated, _ = environment.step(rng.uniform(-1, 1, shape).astype("f4"))
        if terminated or truncated:
            environment.reset()
    return time.perf_counter() - started


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
