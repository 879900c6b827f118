"""The benchmark: many tuners, several tasks and seeds, one protocol; resumable, on all cores."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from samstar_rl._io import atomic
from samstar_rl._io.workers import spread
from samstar_rl.agents.benchmark.claims import DEFAULT
from samstar_rl.agents.benchmark.conditions import Conditions, sam_seconds
from samstar_rl.agents.benchmark.contenders import CONTENDERS, ONCE
from samstar_rl.agents.benchmark.pace import measure_pace
from samstar_rl.agents.benchmark.plan import BenchmarkError, begin
from samstar_rl.agents.benchmark.units import (
    BANKS,
    PACE,
    PARTS,
    PLAN,
    REAL,
    ROWS,
    SHEET,
    SURVEY,
    TEST,
    TRAIN,
    UNITS,
    bank_path,
)
from samstar_rl.bank.bank import Bank
from samstar_rl.bank.build import BankProgress, build_bank
from samstar_rl.bank.shards import PartPlan, compute_by_workers
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.proposals import Floor

if TYPE_CHECKING:
    from distributed import Client

    from samstar_rl.agents.benchmark.contenders import Contender
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan
    from samstar_rl.agents.benchmark.units import Unit
    from samstar_rl.tuning.tuner import TunedFrame

OVERLAYS = 3
"""Frames of which each contender leaves a picture."""
DEATHS = 5
"""Workers that may die before a benchmark gives up; what they had in hand is done anew."""


@dataclass(eq=False)
class BenchmarkResults:
    """What a benchmark came to.

    Attributes
    ----------
    root : Path
        Its folder.
    rows : DataFrame
        One row a condition, task, contender, seed, budget and frame.
    sheets : dict of Unit to dict
        ``curve``, ``evaluations``, ``seconds`` of getting ready, ``hyperparameters``, ...
    """

    root: Path
    rows: pd.DataFrame
    sheets: dict[Unit, dict[str, Any]] = field(default_factory=dict)


Announce = Callable[[str, float], None]
"""Called with a stage's name and how much of it is done, in [0, 1]."""


def run_benchmark(
    plan: BenchmarkPlan,
    root: Path,
    *,
    n_workers: int | None = None,
    client: Client | None = None,
    announce: Announce = lambda stage, share: None,
) -> BenchmarkResults:
    """Run a benchmark, or finish one that was begun in the folder.

    Units of work depend on plan and banks alone: where they run, and in which order, changes
    nothing but the seconds.

    Parameters
    ----------
    plan : BenchmarkPlan
    root : path
    n_workers : int, optional
        Processes; by default one a core.
    client : Client, optional
        Of a dask cluster, which then does the work instead of processes of this machine.
    announce : callable
        Called with a stage's name and how much of it is done, in [0, 1].

    Returns
    -------
    BenchmarkResults

    Raises
    ------
    BenchmarkError
        If the folder holds another benchmark, or workers die again and again.
    """
    begin(plan, root)
    for condition, task in plan.banks():
        build_banks(plan, root, condition, task, announce, client)
    waiting = sorted(
        (unit for unit in plan.units() if not unit.is_done(root)),
        # bank by bank, since units of one share what they compute; the longest first
        key=lambda unit: (
            plan.conditions.index(unit.condition),
            plan.tasks.index(unit.task),
            CONTENDERS[unit.contender].seeds == ONCE,
        ),
    )
    announce("contenders", 0.0)
    function = partial(run_unit, plan, root.absolute())
    if client is None:
        finished = _spread_over_processes(n_workers or os.cpu_count() or 1, function, waiting)
    else:
        finished = spread(client, function, waiting)
    for done, _ in enumerate(finished, start=1):
        announce("contenders", done / len(waiting))
    announce("contenders", 1.0)
    # at the end, when nothing else of the benchmark runs
    measure_pace(plan, root, partial(announce, "live frames"))
    return read_results(plan, root)


def clear_other(plan: BenchmarkPlan, root: Path) -> None:
    """Empty a benchmark's folder if it holds another plan; what is no benchmark's is left alone."""
    if (root / PLAN).is_file() and atomic.read_json(root / PLAN) != plan.to_dict():
        (root / PLAN).unlink()
        (root / PACE).unlink(missing_ok=True)
        for name in (UNITS, BANKS, "tensorboard"):
            shutil.rmtree(root / name, ignore_errors=True)


def run_unit(plan: BenchmarkPlan, root: Path, unit: Unit) -> Unit:
    """Make a contender ready, judge it on the test streams, write its results.

    Parameters
    ----------
    plan : BenchmarkPlan
    root : path
        The benchmark's folder.
    unit : Unit

    Returns
    -------
    Unit
        The same.
    """
    import torch

    if unit.is_done(root):
        return unit
    torch.set_num_threads(1)
    folder = unit.folder(root)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)  # of an attempt that was killed
    folder.mkdir(parents=True, exist_ok=True)
    conditions = open_conditions(plan, root, unit)
    contender = CONTENDERS[unit.contender]
    prepared = contender.prepare(conditions, unit.seed)
    judge = prepared.judge or conditions.judge
    wanted = shown_frames(conditions.test.streams)
    budgets = plan.limits if contender.has_budget else (math.inf,)
    drawn_at = budgets[len(budgets) // 2]
    tables = []
    for budget in budgets:

        def draw(index: int, tuned: TunedFrame, budget: float = budget) -> None:
            if index in wanted and budget == drawn_at:
                picture = draw_outlines(tuned.frame, tuned.evaluation.segmentation, 2)
                with atomic.replacing(folder / f"frame-{index:05d}.png") as temporary:
                    Image.fromarray(picture).save(temporary)

        tables.append(
            judge.judge(
                prepared.at(budget), budget=budget, on_frame=draw, seed=unit.seed,
                task=unit.task, condition=unit.condition,
            )
        )  # fmt: skip
    rows = pd.concat(tables, ignore_index=True)
    rows["tuner"] = unit.contender
    if prepared.keep is not None:
        prepared.keep(folder)
    atomic.write_csv(folder / ROWS, rows)
    # the sheet is written last: with it the unit is done
    sheet = {
        **asdict(unit),
        "curve": [list(point) for point in prepared.curve],
        "evaluations": prepared.evaluations,
        "seconds": prepared.seconds,
        "bank_seconds": sum(map(sam_seconds, prepared.learned_from)),
        "hyperparameters": prepared.hyperparameters,
    }
    atomic.write_json(folder / SHEET, sheet)
    return unit


def open_conditions(plan: BenchmarkPlan, root: Path, unit: Unit) -> Conditions:
    """Open what a unit of work needs.

    Parameters
    ----------
    plan : BenchmarkPlan
    root : path
        The benchmark's folder.
    unit : Unit

    Returns
    -------
    Conditions
    """
    contender = CONTENDERS[unit.contender]
    others = [name for name in plan.tasks if contender.transfers and name != unit.task]
    return Conditions(
        task=plan.task(unit.task),
        bank=_open_shared(root, unit.condition, unit.task),
        test=_open(root, unit.condition, unit.task, TEST),
        budgets=plan.limits,
        steps=plan.steps,
        n_evaluations=plan.n_evaluations,
        folder=unit.folder(root),
        every=_every(plan, contender),
        grid=plan.grid,
        own=len(plan.real.fit) if unit.condition == REAL and plan.real is not None else None,
        others={
            name: (plan.task(name), _open(root, unit.condition, name, TRAIN)) for name in others
        },
    )


def _every(plan: BenchmarkPlan, contender: Contender) -> int:
    if contender.name == DEFAULT:
        return plan.grid_every
    return plan.slow_every if contender.slow else 1


def read_results(plan: BenchmarkPlan, root: Path) -> BenchmarkResults:
    """Gather what the units wrote."""
    sheets, tables = {}, []
    for unit in plan.units():
        if unit.is_done(root):
            folder = unit.folder(root)
            sheets[unit] = atomic.read_json(folder / SHEET)
            tables.append(pd.read_csv(folder / ROWS))
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return BenchmarkResults(root, rows, sheets)


def build_banks(
    plan: BenchmarkPlan,
    root: Path,
    condition: str,
    name: str,
    announce: Announce,
    client: Client | None = None,
) -> None:
    """Let SAM compute the proposals of a task's frames, or finish what was begun.

    Parameters
    ----------
    plan : BenchmarkPlan
    root : path
    condition : str
    name : str
        Of the task.
    announce : callable
        Called with a stage's name and how much of it is done, in [0, 1].
    client : Client, optional
        Of a dask cluster that computes the proposals.
    """
    task, engine = plan.task(name), ProposalEngine(load_sam("tiny"))
    for part in PARTS:
        path = bank_path(root, condition, name, part).absolute()
        total, streams = plan.streams(condition, name, part)
        prompts, floor = task.space.prompts(), Floor.under(task.space)
        stage = f"{condition}, {name}: SAM proposes masks to {part} on"
        if client is not None:
            compute_by_workers(
                client, PartPlan.of_task(task, path), plan.streams(condition, name, part)[1],
                lambda count, stage=stage, total=total: announce(stage, count / total),  # type: ignore[misc]
            )  # fmt: skip
        announce(stage, 0.0)
        if (condition, part) == (REAL, TRAIN):
            _take_over(bank_path(root, SURVEY, name, TRAIN), path)

        def on_frame(progress: BankProgress, stage: str = stage, total: int = total) -> None:
            announce(stage, progress.n_frames / total)

        build_bank(streams, path, engine, prompts, floor=floor, on_progress=on_frame)


def _take_over(surveys: Path, path: Path) -> None:
    """Give a bank that begins with simulated surveys what SAM has proposed to these already."""
    (path / "frames").mkdir(parents=True, exist_ok=True)
    for file in surveys.glob("frames/*.bin"):
        # where files cannot be linked, and where another frame stands there, SAM works anew
        with contextlib.suppress(OSError):
            os.link(file, path / "frames" / file.name)


def _open(root: Path, condition: str, task: str, part: str) -> Bank:
    return Bank(bank_path(root, condition, task, part), cached_proposals=2048)


@lru_cache(maxsize=1)
def _open_shared(root: Path, condition: str, task: str) -> Bank:
    """The bank to learn from, kept open: what a unit computed of its masks serves the next.

    Not so the bank to be judged on: what a tuner takes is measured there.
    """
    return _open(root, condition, task, TRAIN)


def shown_frames(streams: Sequence[range]) -> list[int]:
    """The middle frames of the first streams: no picking of the nicest."""
    return [stream[len(stream) // 2] for stream in streams[:OVERLAYS]]


def _spread_over_processes(
    n_workers: int, function: Callable[[Unit], Unit], units: Sequence[Unit]
) -> Iterator[Unit]:
    """Apply a function to units in processes of this machine; when one dies, go on without it."""
    if n_workers == 1:
        yield from map(function, units)
        return
    # spawn: the same on Windows, and no forked threads of torch
    context = multiprocessing.get_context("spawn")
    waiting, deaths = list(units), 0
    while waiting:
        try:
            with concurrent.futures.ProcessPoolExecutor(n_workers, mp_context=context) as pool:
                futures = [pool.submit(function, unit) for unit in waiting]
                for future in concurrent.futures.as_completed(futures):
                    unit = future.result()
                    waiting.remove(unit)
                    yield unit
        except BrokenProcessPool as error:
            deaths += 1
            if deaths > DEATHS:
                raise BenchmarkError(
                    f"{deaths} workers died, for want of memory perhaps: what is done is kept; "
                    "run the same again, with fewer workers"
                ) from error
