"""The benchmark: many tuners, several tasks and seeds, one protocol; resumable, on all cores."""

from __future__ import annotations

import concurrent.futures
import functools
import importlib.util
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from samstar_rl._io import atomic
from samstar_rl.agents.benchmark.arena import Arena, Ready, sam_seconds
from samstar_rl.agents.benchmark.contenders import (
    CONTENDERS,
    NEEDS,
    ON_STREAMS,
    SEEDED,
    SLOW,
    TRANSFERS,
)
from samstar_rl.bank.bank import Bank, BankError, Progress, build_bank
from samstar_rl.bank.labelled import read_labelled, simulated_stream
from samstar_rl.bank.simulated import preset_of, with_ladder
from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.proposals import Floor
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.tuner import TunedFrame

PLAN = "plan.json"
UNITS = "units"
SHEET, ROWS = "unit.json", "rows.csv"
PARTS = ("train", "test")
TEST_SEED = 100_000
"""Seeds of the streams to be judged on begin here: none of them is ever trained on."""
OVERLAYS = 3
"""Frames of which each contender leaves a picture."""
DEATHS = 5
"""Workers that may die before a benchmark gives up; what they had in hand is done anew."""


class BenchmarkError(SamstarError):
    """A benchmark cannot be run or resumed as asked."""


@dataclass(frozen=True)
class RealFrames:
    """Labelled images of the user's: which to fit on, which to report on.

    Attributes
    ----------
    fit, judge : tuple of str
        Paths of images; none is in both.
    labels : str
        Folder with the ground truth of each, under its name.
    pixel_size_nm : float, optional
        By default what the files say.

    Raises
    ------
    BenchmarkError
        If one of the two is empty, or an image is in both.
    """

    fit: tuple[str, ...]
    judge: tuple[str, ...]
    labels: str
    pixel_size_nm: float | None = None

    def __post_init__(self) -> None:
        if len(self.fit) < 2 or not self.judge:
            raise BenchmarkError(
                f"at least 2 images to fit on and 1 to judge on are needed, got {len(self.fit)} "
                f"and {len(self.judge)}"
            )
        both = sorted(set(self.fit) & set(self.judge))
        if both:
            raise BenchmarkError(f"{both[0]} would be fitted on and judged on: keep them apart")


@dataclass(frozen=True)
class BenchmarkPlan:
    """All that decides what a benchmark computes.

    Attributes
    ----------
    tasks : tuple of str
        Names of shipped tasks, or TOML files. The first one is met by all contenders, the others
        by those of `everywhere`.
    contenders : tuple of str
        Names of `CONTENDERS`.
    everywhere : tuple of str
        Contenders that take part in every task.
    n_seeds : int
        Of the contenders of `SEEDED`; the others run once.
    n_streams, n_frames, n_test_streams, n_test_frames : int
        Simulated streams to learn from and to be judged on, and frames in each.
    frame_step, test_frame_step : int
        Distance of those frames in the simulated experiment, which is that many times longer.
    size_px : int
    drift : float
        1 is an ordinary experiment.
    points_per_side : tuple of int
        Ladder of prompt densities that SAM computes for each frame.
    steps : int
        Evaluations that a learner, or the search for a static choice, may spend.
    n_evaluations : int
        That a search may spend on each test frame.
    slow_every : int
        The contenders of `SLOW` are judged on one in so many frames of each test stream.
    real : RealFrames, optional
        Images to fit and judge on in place of simulated streams. Each is a stream of its own: the
        contenders of `ON_STREAMS` do not take part.

    Raises
    ------
    BenchmarkError
        If a contender does not exist or cannot take part, or a number makes no sense.
    """

    tasks: tuple[str, ...] = ("particles", "overlap", "morphology", "size")
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    everywhere: tuple[str, ...] = (
        "default", "random", "static", "static-search", "frozen-first", "frozen-start", "hindsight",
        "genetic", "others-static", "unseen", "ppo", "sac", "oracle",
    )  # fmt: skip
    n_seeds: int = 5
    n_streams: int = 60
    n_frames: int = 2
    frame_step: int = 30
    n_test_streams: int = 6
    n_test_frames: int = 24
    test_frame_step: int = 20
    size_px: int = 512
    drift: float = 1.0
    points_per_side: tuple[int, ...] = (8, 16, 32)
    steps: int = 40_000
    n_evaluations: int = 300
    slow_every: int = 1
    real: RealFrames | None = None

    @classmethod
    def quick(cls, task: str = "particles") -> BenchmarkPlan:
        """One task, the contenders that matter most, two seeds: about ten minutes."""
        names = ("default", "random", "static", "static-search", "frozen-start", "genetic", "mlp")
        return cls(
            tasks=(task,),
            contenders=(*names, "ppo"),
            everywhere=(),
            n_seeds=2,
            n_streams=40,
            n_test_streams=4,
            n_test_frames=12,
            test_frame_step=40,
            points_per_side=(8, 16),
        )

    @classmethod
    def on(cls, real: RealFrames, task: str = "particles") -> BenchmarkPlan:
        """One task on labelled images, all contenders that can take part."""
        contenders = tuple(name for name in CONTENDERS if name not in ON_STREAMS)
        return cls(tasks=(task,), contenders=contenders, everywhere=(), real=real)

    def __post_init__(self) -> None:
        unknown = [name for name in self.contenders if name not in CONTENDERS]
        if unknown:
            raise BenchmarkError(
                f"no contender {unknown[0]!r}: expected some of {', '.join(CONTENDERS)}"
            )
        if self.real is not None:
            streaming = [name for name in self.contenders if name in ON_STREAMS]
            if streaming:
                raise BenchmarkError(
                    f"{streaming[0]!r} needs streams, single images are none: leave it out, or "
                    "benchmark on simulated streams"
                )
        if len({short_name(task) for task in self.tasks}) < len(self.tasks) or not self.tasks:
            raise BenchmarkError(f"tasks must be named, each once, got {', '.join(self.tasks)}")
        self._check_counts()

    def _check_counts(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, int) and value < 1:
                raise BenchmarkError(f"{name} must be at least 1, got {value}")
        if self.n_streams * self.n_frames < 2:
            raise BenchmarkError("one frame cannot be split into training and validation")

    def units(self) -> Iterator[Unit]:
        """Every task, contender and seed."""
        for position, task in enumerate(self.tasks):
            for name in self.contenders:
                if position == 0 or name in self.everywhere:
                    for seed in range(self._n_seeds(name)):
                        yield Unit(task, name, seed)

    def _n_seeds(self, contender: str) -> int:
        n_others = len(self.tasks) - 1
        if contender == "others-static":  # one for each of the other tasks
            return n_others
        if contender in TRANSFERS and n_others == 0:
            return 0
        return self.n_seeds if contender in SEEDED else 1

    def task(self, name: str) -> Task:
        """A task with the plan's ladder of prompt densities."""
        return with_ladder(load_task(name), self.points_per_side)

    def size_of(self, part: str) -> tuple[int, int]:
        """Streams, and frames in each, of ``train`` or ``test``."""
        if self.real is not None:
            return len(self.real.fit if part == "train" else self.real.judge), 1
        if part == "train":
            return self.n_streams, self.n_frames
        return self.n_test_streams, self.n_test_frames

    def streams(self, task: str, part: str) -> Iterator[Iterable[LabelledFrame]]:
        """The streams of ``train`` or ``test``, with the truth that only the judge will see."""
        if self.real is not None:
            images = self.real.fit if part == "train" else self.real.judge
            yield from read_labelled(
                images, self.real.labels, pixel_size_nm=self.real.pixel_size_nm
            )
            return
        n_streams, n_frames = self.size_of(part)
        first = TEST_SEED if part == "test" else 0
        for seed in range(first, first + n_streams):
            yield simulated_stream(
                preset_of(load_task(task)),
                seed=seed,
                n_frames=n_frames,
                every=self.test_frame_step if part == "test" else self.frame_step,
                size_px=self.size_px,
                drift=self.drift,
            )


@dataclass(frozen=True)
class Unit:
    """One piece of work: a contender on a task with a seed."""

    task: str
    contender: str
    seed: int

    def folder(self, root: Path) -> Path:
        """Where its results lie."""
        return root / UNITS / short_name(self.task) / f"{self.contender}-{self.seed}"

    def is_done(self, root: Path) -> bool:
        """Whether its results are complete: the sheet is written last."""
        return (self.folder(root) / SHEET).is_file()


@dataclass(eq=False)
class BenchmarkResults:
    """What a benchmark came to.

    Attributes
    ----------
    root : Path
        Its folder.
    rows : DataFrame
        One row a task, contender, seed and frame.
    sheets : dict of Unit to dict
        ``curve``, ``evaluations``, ``seconds`` of getting ready, ``hyperparameters``, ...
    """

    root: Path
    rows: pd.DataFrame
    sheets: dict[Unit, dict[str, Any]] = field(default_factory=dict)


Announce = Callable[[str, float], None]
"""Called with a stage's name and how much of it is done, in [0, 1]."""

Spread = Callable[[Callable[[Unit], Unit], Sequence[Unit]], Iterator[Unit]]
"""Applies a function to units, wherever that is, and yields each when it is done."""


def run_benchmark(
    plan: BenchmarkPlan,
    root: Path,
    *,
    n_workers: int | None = None,
    spread: Spread | None = None,
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
    spread : callable, optional
        Runs the units elsewhere, such as on a cluster, instead of in processes of this machine.
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
    check_extras(plan)
    begin(plan, root)
    for task in plan.tasks:
        build_banks(plan, root, task, announce)
    run = spread or functools.partial(_spread_over_processes, n_workers or os.cpu_count() or 1)
    waiting = sorted(
        (unit for unit in plan.units() if not unit.is_done(root)),
        # task by task, since units of a task share what they compute; the longest first
        key=lambda unit: (plan.tasks.index(unit.task), unit.contender not in SEEDED),
    )
    announce("contenders", 0.0)
    function = functools.partial(run_unit, plan, root.absolute())
    for done, _ in enumerate(run(function, waiting), start=1):
        announce("contenders", done / len(waiting))
    announce("contenders", 1.0)
    return read_results(plan, root)


def run_unit(plan: BenchmarkPlan, root: Path, unit: Unit) -> Unit:
    """Make a contender ready, judge it on the test streams, write its results."""
    import torch

    if unit.is_done(root):
        return unit
    torch.set_num_threads(1)
    folder = unit.folder(root)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)  # of an attempt that was killed
    folder.mkdir(parents=True, exist_ok=True)
    arena = open_arena(plan, root, unit)
    ready = CONTENDERS[unit.contender](arena, unit.seed)
    painter = _Painter(arena, folder)
    rows = arena.judge.judge(ready.tuner, on_frame=painter, seed=unit.seed, task=unit.task)
    rows["tuner"] = unit.contender
    if ready.keep is not None:
        ready.keep(folder)
    with atomic.replacing(folder / ROWS) as temporary:
        rows.to_csv(temporary, index=False)
    atomic.write_json(folder / SHEET, _sheet(unit, ready))
    return unit


def open_arena(plan: BenchmarkPlan, root: Path, unit: Unit) -> Arena:
    """Open what a unit of work needs."""
    transfers = unit.contender in TRANSFERS
    others = [name for name in plan.tasks if transfers and name != unit.task]
    return Arena(
        task=plan.task(unit.task),
        bank=_open_shared(root, unit.task),
        test=_open(root, unit.task, "test"),
        steps=plan.steps,
        n_evaluations=plan.n_evaluations,
        folder=unit.folder(root),
        every=plan.slow_every if unit.contender in SLOW else 1,
        others={name: (plan.task(name), _open(root, name, "train")) for name in others},
    )


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


def check_extras(plan: BenchmarkPlan) -> None:
    """See that all contenders can run before hours have passed.

    Raises
    ------
    BenchmarkError
        If one needs a package that is not installed.
    """
    for name in plan.contenders:
        package, extra = NEEDS.get(name, ("", ""))
        if package and importlib.util.find_spec(package) is None:
            raise BenchmarkError(
                f"the contender {name!r} needs {package}: pip install 'samstar-rl[{extra}]', or "
                "choose others with --tuner"
            )


def begin(plan: BenchmarkPlan, root: Path) -> None:
    """Write the plan, or see that the folder's is the same.

    Raises
    ------
    BenchmarkError
        If it is another one.
    """
    wanted = json.loads(json.dumps(asdict(plan)))
    path = root / PLAN
    if path.is_file():
        present: Mapping[str, Any] = atomic.read_json(path)
        for name, value in wanted.items():
            if present.get(name) != value:
                raise BenchmarkError(
                    f"{root} holds a benchmark with {name} = {present.get(name)}, asked for is "
                    f"{value}: choose another folder, or ask for the same to finish it"
                )
    root.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, wanted)


def read_plan(root: Path) -> BenchmarkPlan:
    """The plan of the benchmark in a folder.

    Raises
    ------
    BenchmarkError
        If there is none.
    """
    path = root / PLAN
    if not path.is_file():
        raise BenchmarkError(f"{root} holds no benchmark: run `samstar benchmark -o {root}` first")
    content: dict[str, Any] = atomic.read_json(path)
    real = content.pop("real")
    if real is not None:
        content["real"] = RealFrames(**_with_tuples(real))
    return BenchmarkPlan(**_with_tuples(content))


def _with_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}


def short_name(task: str) -> str:
    """What a task's folders are called: its name, or that of its file."""
    return Path(task).stem


def bank_path(root: Path, task: str, part: str) -> Path:
    """Where the bank of ``train`` or ``test`` lies."""
    return root / "banks" / short_name(task) / part


def build_banks(plan: BenchmarkPlan, root: Path, name: str, announce: Announce) -> None:
    """Let SAM compute the proposals of a task's frames, or finish what was begun."""
    task, engine = plan.task(name), ProposalEngine(load_sam("tiny"))
    sizes = {part: plan.size_of(part) for part in PARTS}
    total, before = sum(streams * frames for streams, frames in sizes.values()), 0
    stage = f"{name}: SAM proposes masks"
    announce(stage, 0.0)
    for part, (n_streams, n_frames) in sizes.items():

        def on_progress(progress: Progress, before: int = before) -> None:
            announce(stage, (before + progress.n_frames) / total)

        build_bank(
            plan.streams(name, part),
            bank_path(root, name, part),
            engine,
            task.space.prompts(),
            floor=Floor.under(task.space),
            on_progress=on_progress,
        )
        before += n_streams * n_frames


def is_built(plan: BenchmarkPlan, root: Path, task: str, part: str) -> bool:
    """Whether a bank is complete."""
    try:
        return len(Bank(bank_path(root, task, part))) > 0
    except BankError:
        return False


def _open(root: Path, task: str, part: str) -> Bank:
    return Bank(bank_path(root, task, part), cached_proposals=2048)


@functools.lru_cache(maxsize=1)
def _open_shared(root: Path, task: str) -> Bank:
    """The bank to learn from, kept open: what a unit computed of its masks serves the next.

    Not so the bank to be judged on: what a frame takes is measured there.
    """
    return _open(root, task, "train")


class _Painter:
    """Leaves pictures of what a contender made of some test frames."""

    def __init__(self, arena: Arena, folder: Path) -> None:
        self._wanted = shown_frames(arena.test.streams)
        self._folder = folder

    def __call__(self, index: int, tuned: TunedFrame) -> None:
        if index in self._wanted:
            picture = draw_outlines(tuned.frame, tuned.evaluation.segmentation, 2)
            with atomic.replacing(self._folder / f"frame-{index:05d}.png") as temporary:
                Image.fromarray(picture).save(temporary)


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


def _sheet(unit: Unit, ready: Ready) -> dict[str, Any]:
    return {
        **asdict(unit),
        "curve": [list(point) for point in ready.curve],
        "evaluations": ready.evaluations,
        "seconds": ready.seconds,
        "bank_seconds": sum(map(sam_seconds, ready.learned_from)),
        "hyperparameters": ready.hyperparameters,
    }
