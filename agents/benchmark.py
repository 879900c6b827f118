"""The benchmark: many tuners, several tasks and seeds, one protocol; resumable, on all cores."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from samstar_rl import atomic
from samstar_rl.agents.contenders import CONTENDERS, Arena, Ready
from samstar_rl.bank import Bank
from samstar_rl.envs.simulated import build_simulated_bank, with_ladder
from samstar_rl.proposals import ProposalEngine
from samstar_rl.sam import load_sam
from samstar_rl.task import load_task

PLAN = "plan.json"
UNITS = "units"
SEEDED = ("ppo", "sac")
TEST_SEED = 100_000
"""Seeds of the streams to be judged on begin here: none of them is ever trained on."""


class BenchmarkError(ValueError):
    """A benchmark cannot be run or resumed as asked."""


@dataclass(frozen=True)
class BenchmarkPlan:
    """All that decides what a benchmark computes.

    Attributes
    ----------
    tasks : tuple of str
        The first one is met by all contenders, the others by those of `everywhere`.
    contenders : tuple of str
        Names of `CONTENDERS`.
    everywhere : tuple of str
        Contenders that take part in every task.
    n_seeds : int
        Of PPO and SAC; the others run once.
    n_streams, n_frames, n_test_streams, n_test_frames : int
        Simulated streams to learn from and to be judged on, and frames in each.
    size_px : int
    drift : float
    points_per_side : tuple of int
    steps : int
        Evaluations that a learner, or the search for a static choice, may spend.
    n_evaluations : int
        That a search may spend on each test frame.
    """

    tasks: tuple[str, ...] = ("particles", "overlap", "morphology", "size")
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    everywhere: tuple[str, ...] = (
        "default", "random", "static", "static-search", "frozen-start", "hindsight", "genetic",
        "ppo", "sac", "oracle",
    )  # fmt: skip
    n_seeds: int = 5
    n_streams: int = 16
    n_frames: int = 12
    n_test_streams: int = 8
    n_test_frames: int = 24
    size_px: int = 256
    drift: float = 1.0
    points_per_side: tuple[int, ...] = (8, 16, 32)
    steps: int = 20_000
    n_evaluations: int = 300

    @classmethod
    def quick(cls, task: str = "particles") -> BenchmarkPlan:
        """One task, the contenders that matter most, two seeds: about ten minutes."""
        names = ("default", "random", "static", "static-search", "frozen-start", "genetic", "mlp")
        return cls(
            tasks=(task,),
            contenders=(*names, "ppo"),
            everywhere=(),
            n_seeds=2,
            n_streams=10,
            n_frames=8,
            n_test_streams=4,
            n_test_frames=12,
            points_per_side=(8, 16),
        )

    def __post_init__(self) -> None:
        unknown = [name for name in self.contenders if name not in CONTENDERS]
        if unknown:
            raise BenchmarkError(
                f"no contender {unknown[0]!r}: expected some of {', '.join(CONTENDERS)}"
            )

    def units(self) -> Iterator[Unit]:
        """Every task, contender and seed."""
        for position, task in enumerate(self.tasks):
            for name in self.contenders:
                if position == 0 or name in self.everywhere:
                    for seed in range(self.n_seeds if name in SEEDED else 1):
                        yield Unit(task, name, seed)


@dataclass(frozen=True)
class Unit:
    """One piece of work: a contender on a task with a seed."""

    task: str
    contender: str
    seed: int

    def folder(self, root: Path) -> Path:
        """Where its results lie."""
        return root / UNITS / self.task / f"{self.contender}-{self.seed}"

    def is_done(self, root: Path) -> bool:
        """Whether its results are complete: the sheet is written last."""
        return (self.folder(root) / "unit.json").is_file()


@dataclass(eq=False)
class BenchmarkResults:
    """What a benchmark came to.

    Attributes
    ----------
    rows : DataFrame
        One row a task, contender, seed and frame.
    sheets : dict of Unit to dict
        ``curve``, ``evaluations`` and ``seconds`` of getting ready.
    """

    rows: pd.DataFrame
    sheets: dict[Unit, dict[str, Any]] = field(default_factory=dict)


def run_benchmark(
    plan: BenchmarkPlan,
    root: Path,
    *,
    n_workers: int | None = None,
    announce: Callable[[str, float], None] = lambda stage, share: None,
) -> BenchmarkResults:
    """Run a benchmark, or finish one that was begun in the folder.

    Parameters
    ----------
    plan : BenchmarkPlan
    root : path
    n_workers : int, optional
        Processes; by default one a core.
    announce : callable
        Called with a stage's name and how much of it is done, in [0, 1].

    Returns
    -------
    BenchmarkResults

    Raises
    ------
    BenchmarkError
        If the folder holds another benchmark.
    """
    _begin(plan, root)
    for task in plan.tasks:
        _build_banks(plan, root, task, announce)
    waiting = [unit for unit in plan.units() if not unit.is_done(root)]
    _run_all(plan, root, waiting, n_workers or os.cpu_count() or 1, announce)
    return read_results(plan, root)


def run_unit(plan: BenchmarkPlan, root: Path, unit: Unit) -> None:
    """Make a contender ready, judge it on the test streams, write its results."""
    import torch

    torch.set_num_threads(1)
    folder = unit.folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    task = with_ladder(load_task(unit.task), plan.points_per_side)
    arena = Arena(
        task=task,
        bank=_open(root, unit.task, "train"),
        test=_open(root, unit.task, "test"),
        steps=plan.steps,
        n_evaluations=plan.n_evaluations,
        folder=folder,
    )
    ready = CONTENDERS[unit.contender](arena, unit.seed)
    rows = arena.judge.judge(ready.tuner, seed=unit.seed, task=unit.task)
    rows["tuner"] = unit.contender
    with atomic.replacing(folder / "rows.csv") as temporary:
        rows.to_csv(temporary, index=False)
    atomic.write_json(folder / "unit.json", _sheet(unit, ready))


def read_results(plan: BenchmarkPlan, root: Path) -> BenchmarkResults:
    """Gather what the units wrote."""
    sheets, tables = {}, []
    for unit in plan.units():
        if unit.is_done(root):
            folder = unit.folder(root)
            sheets[unit] = json.loads((folder / "unit.json").read_text(encoding="utf-8"))
            tables.append(pd.read_csv(folder / "rows.csv"))
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return BenchmarkResults(rows, sheets)


def _begin(plan: BenchmarkPlan, root: Path) -> None:
    """Write the plan, or see that the folder's is the same."""
    wanted = json.loads(json.dumps(asdict(plan)))
    path = root / PLAN
    if path.is_file():
        present: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name, value in wanted.items():
            if present.get(name) != value:
                raise BenchmarkError(
                    f"{root} holds a benchmark with {name} = {present.get(name)}, asked for is "
                    f"{value}: choose another folder, or ask for the same to finish it"
                )
    root.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, wanted)


def _build_banks(
    plan: BenchmarkPlan, root: Path, name: str, announce: Callable[[str, float], None]
) -> None:
    task = with_ladder(load_task(name), plan.points_per_side)
    engine = ProposalEngine(load_sam("tiny"))
    sizes = {
        "train": (plan.n_streams, plan.n_frames),
        "test": (plan.n_test_streams, plan.n_test_frames),
    }
    total, done = sum(streams * frames for streams, frames in sizes.values()), 0
    stage = f"{name}: SAM proposes masks"
    announce(stage, 0.0)
    for part, (n_streams, n_frames) in sizes.items():
        first = TEST_SEED if part == "test" else 0

        def on_frame(count: int, before: int = done) -> None:
            announce(stage, (before + count) / total)

        build_simulated_bank(
            task,
            root / "banks" / name / part,
            seeds=range(first, first + n_streams),
            n_frames=n_frames,
            size_px=plan.size_px,
            drift=plan.drift,
            engine=engine,
            on_frame=on_frame,
        )
        done += n_streams * n_frames


def _open(root: Path, task: str, part: str) -> Bank:
    return Bank(root / "banks" / task / part, cached_proposals=2048)


def _run_all(
    plan: BenchmarkPlan,
    root: Path,
    units: list[Unit],
    n_workers: int,
    announce: Callable[[str, float], None],
) -> None:
    stage = "contenders"
    announce(stage, 0.0)
    if n_workers == 1:
        for done, unit in enumerate(units, start=1):
            run_unit(plan, root, unit)
            announce(stage, done / len(units))
    elif units:
        # spawn: the same on Windows, and no forked threads of torch
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(n_workers, mp_context=context) as pool:
            futures = [pool.submit(run_unit, plan, root, unit) for unit in units]
            for done, future in enumerate(concurrent.futures.as_completed(futures), start=1):
                future.result()
                announce(stage, done / len(units))
    announce(stage, 1.0)


def _sheet(unit: Unit, ready: Ready) -> dict[str, Any]:
    return {
        **asdict(unit),
        "curve": [list(point) for point in ready.curve],
        "evaluations": ready.evaluations,
        "seconds": ready.seconds,
    }
