"""The demonstration: simulate, train, search, and judge all tuners on unseen streams."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from samstar_rl.agents.judging.judge import Judge, summarise
from samstar_rl.agents.learning.plan import plan_training
from samstar_rl.agents.learning.train import bundle_trained, split_streams, train_on_tasks
from samstar_rl.agents.policies.bundle import PolicyBundle
from samstar_rl.agents.reporting.curve_writer import CurveWriter
from samstar_rl.agents.reporting.figures import (
    FORMATS,
    HEADINGS,
    draw_curves,
    draw_per_frame,
    is_constant,
    settings_moved,
)
from samstar_rl.agents.reporting.html import Report
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuners.fixed import RandomTuner, default_tuner
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.agents.tuners.search import SearchTuner
from samstar_rl.bank.build import build_for_task
from samstar_rl.bank.simulated import SimulatedStreams, with_ladder
from samstar_rl.envs.bank_frames import BankFrames
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.simulator.seeds import first_seed
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import StaticTuner

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import TunedFrame, Tuner

REPORT = "report.html"


@dataclass(frozen=True)
class DemoPlan:
    """How large the demonstration is.

    Attributes
    ----------
    task : str
    n_streams, n_frames : int
        Simulated streams to train on, and frames in each.
    n_test_streams, n_test_frames : int
        Fresh streams to judge on, and frames in each.
    size_px : int
        Side of a frame.
    drift : float
        1 is an ordinary experiment.
    points_per_side : tuple of int
        Ladder of prompt densities that SAM computes for each frame.
    steps : int
        Environment steps of the training, and evaluations of the search for a static choice.
    n_evaluations : int
        Of the genetic search on each frame.
    seed : int
    """

    task: str = "particles"
    n_streams: int = 40
    n_frames: int = 2
    n_test_streams: int = 4
    n_test_frames: int = 8
    size_px: int = 256
    drift: float = 1.5
    points_per_side: tuple[int, ...] = (8, 16)
    steps: int = 20_000
    n_evaluations: int = 300
    seed: int = 0

    @property
    def training(self) -> SimulatedStreams:
        """The streams to train on."""
        first = first_seed("training", self.seed)
        return SimulatedStreams(
            self.n_streams, self.n_frames, self.size_px, self.drift, first_seed=first
        )

    @property
    def test(self) -> SimulatedStreams:
        """Fresh streams to judge on."""
        first = first_seed("training", self.seed) + 500
        return SimulatedStreams(
            self.n_test_streams, self.n_test_frames, self.size_px, self.drift, first_seed=first
        )

    def quick(self) -> DemoPlan:
        """The same with a tenth of everything: to see that it runs."""
        return replace(
            self,
            n_streams=3,
            n_frames=3,
            n_test_streams=2,
            n_test_frames=2,
            steps=2000,
            n_evaluations=40,
        )


@dataclass(eq=False)
class Demonstration:
    """What the demonstration came to.

    Attributes
    ----------
    rows : DataFrame
        One row a tuner and test frame.
    summary : DataFrame
        One row a tuner.
    report : Path
    tensorboard : Path
    seconds : dict
        Wall time of each stage.
    """

    rows: pd.DataFrame
    summary: pd.DataFrame
    report: Path
    tensorboard: Path
    seconds: dict[str, float] = field(default_factory=dict)


Announce = Callable[[str, float], None]
"""Called with a stage's name and how much of it is done, in [0, 1]."""


def demonstrate(plan: DemoPlan, folder: Path, announce: Announce) -> Demonstration:
    """Run the demonstration.

    Parameters
    ----------
    plan : DemoPlan
    folder : path
        Gets banks, policy, TensorBoard's events, results and report.
    announce : callable

    Returns
    -------
    Demonstration
    """
    demo = _Demonstration(plan, folder, announce)
    demo.simulate()
    demo.train()
    demo.search()
    demo.judge()
    return demo.report()


class _Demonstration:
    """The stages of the demonstration, in order."""

    def __init__(self, plan: DemoPlan, folder: Path, announce: Announce) -> None:
        self.plan, self.folder, self.announce = plan, folder, announce
        self.task: Task = with_ladder(load_task(plan.task), plan.points_per_side)
        self.objective = Objective(self.task)
        self.seconds: dict[str, float] = {}
        self.curves: dict[str, list[tuple[float, float]]] = {}
        self.shown: dict[str, dict[int, TunedFrame]] = {}
        self.events = folder / "tensorboard"

    def simulate(self) -> None:
        """Simulate streams for training and others for judging; let SAM compute their proposals."""
        plan = self.plan
        engine = ProposalEngine(load_sam("tiny"))
        with self._stage("simulate streams, let SAM propose masks") as done:
            total = len(plan.training) + len(plan.test)
            before = 0
            for part, streams in (("bank", plan.training), ("bank_test", plan.test)):
                bank = build_for_task(
                    self.task,
                    streams.streams(self.task),
                    self.folder / part,
                    engine,
                    n_frames=len(streams),
                    on_progress=lambda share, before=before, streams=streams: done(  # type: ignore[misc]
                        (before + share * len(streams)) / total
                    ),
                )
                before += len(streams)
                if part == "bank":
                    self.bank: Bank = bank
                else:
                    self.test: Bank = bank

    def train(self) -> None:
        """Train PPO on the training streams."""
        with self._stage("train PPO") as done:
            plan = plan_training("ppo", [self.task], steps=self.plan.steps, seed=self.plan.seed)
            tasks_and_banks = [(self.task, self.bank)]
            trained = train_on_tasks(tasks_and_banks, plan, self.folder / "ppo", on_share=done)
            (self.folder / "ppo" / "tensorboard").replace(_fresh(self.events / "ppo"))
        self.frames = BankFrames(self.bank, self.task)
        self.curves["PPO: a policy"] = [(p["steps"], p["score"]) for p in trained.progress.curve]
        bundle = bundle_trained(trained, plan, tasks_and_banks, f"{self.task.name}-demo")
        self.bundle_path = bundle.save(self.folder / "policy")

    def search(self) -> None:
        """Search one static choice on the same frames with the same number of evaluations."""
        training, validation = split_streams(self.bank.streams)
        judge = Judge(self.bank, self.objective, validation, against_truth=False)
        sources = [self.frames.source(i) for stream in training for i in stream]
        curve = self.curves["genetic algorithm: one static choice"] = []
        with (
            self._stage("search one static choice (genetic)") as done,
            CurveWriter(_fresh(self.events / "genetic-static")) as events,
        ):
            spent = 0.0
            clock = time.perf_counter()

            def on_round(evaluations: int, settings: Settings, reward: float) -> None:
                nonlocal spent, clock
                spent += time.perf_counter() - clock
                rows = judge.judge(StaticTuner(settings))
                values = {"score": rows["score"].mean(), "reward": rows["reward"].mean()}
                curve.append((evaluations, values["score"]))
                events.point(values, evaluations=evaluations, seconds=spent)
                done(evaluations / self.plan.steps)
                clock = time.perf_counter()

            self.found = search_static(
                sources,
                self.objective,
                n_evaluations=self.plan.steps,
                seed=self.plan.seed,
                on_round=on_round,
            )
        self.levels = {
            name: judge.judge(tuner)["score"].mean()
            for name, tuner in (
                ("static settings of the task", StaticTuner(self.task.static)),
                ("SAM's defaults", default_tuner(self.task)),
            )
        }

    def judge(self) -> None:
        """Judge all tuners on the fresh streams."""
        judge = Judge(self.test, self.objective)
        tuners = self._tuners()
        total = len(tuners) * judge.n_frames
        tables: list[pd.DataFrame] = []
        with self._stage("judge all tuners on fresh streams") as done:
            for tuner in tuners:
                kept = self.shown.setdefault(tuner.name, {})

                def on_frame(index: int, tuned: TunedFrame, kept: dict = kept) -> None:
                    kept[index] = tuned
                    done(sum(map(len, self.shown.values())) / total)

                tables.append(judge.judge(tuner, on_frame=on_frame, seed=self.plan.seed))
        self.rows = pd.concat(tables, ignore_index=True)
        self.summary = summarise(self.rows)
        self.rows.to_csv(self.folder / "results.csv", index=False)

    def _tuners(self) -> list[Tuner]:
        policy = PolicyTuner.from_bundle(PolicyBundle.load(self.bundle_path, task=self.task))
        policy.name = "policy (PPO)"
        genetic = SearchTuner(self.task, n_evaluations=self.plan.n_evaluations, seed=self.plan.seed)
        genetic.name = "genetic search per frame"
        return [
            StaticTuner(default_tuner(self.task).settings, "SAM's defaults"),
            _named(RandomTuner(self.task, seed=self.plan.seed), "random settings"),
            StaticTuner(self.task.static, "static (the task's)"),
            StaticTuner(self.found.settings, "static (genetic search)"),
            policy,
            genetic,
        ]

    def report(self) -> Demonstration:
        """Write the report and the pictures for TensorBoard."""
        with self._stage("write the report") as done:
            path = write_report(self, self.folder / REPORT)
            done(1.0)
        return Demonstration(self.rows, self.summary, path, self.events, self.seconds)

    @contextmanager
    def _stage(self, name: str) -> Iterator[Callable[[float], None]]:
        started = time.perf_counter()
        self.announce(name, 0.0)
        yield lambda share: self.announce(name, min(share, 1.0))
        self.announce(name, 1.0)
        self.seconds[name] = time.perf_counter() - started


def write_report(demo: _Demonstration, path: Path) -> Path:
    """Write the demonstration's report."""
    report = Report(
        "samstar_rl: a policy that tunes Segment Anything",
        "Simulated micrographs drift as experiments do. A PPO policy sets the mask generator for "
        "each new frame at once; it is compared with SAM's defaults, static settings and a genetic "
        "search, on streams that none of them saw.",
    )
    _add_table(report, demo)
    _add_curves(report, demo)
    _add_overlays(report, demo)
    _add_moves(report, demo)
    report.heading("How this was made")
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in demo.seconds.items())
    report.text(f"Wall time: {stages}.", note=True)
    report.text(f"TensorBoard: tensorboard --logdir {demo.events}", note=True)
    report.code("\n".join(f"{k} = {v!r}" for k, v in vars(demo.plan).items()), "configuration")
    return report.write(path)


def _add_table(report: Report, demo: _Demonstration) -> None:
    plan = demo.plan
    report.heading("Fresh streams")
    report.table(
        demo.summary,
        headings=HEADINGS,
        formats=FORMATS,
        strong=[int(i) for i in np.flatnonzero(demo.summary["tuner"] == "policy (PPO)")],
    )
    report.text(
        f"Means over {plan.n_test_streams} streams of {plan.n_test_frames} frames. The score is "
        "the task's, of physics and learned plausibility, which every tuner maximises less a small "
        "cost for prompts; "
        "F1 compares with the simulator's truth, which no tuner sees. Milliseconds include SAM's "
        "own time for the prompts that were decoded. To be quick, all settings here are kept to "
        f"{' or '.join(map(str, plan.points_per_side))} points a side, SAM's defaults as well.",
        note=True,
    )
    report.figure(
        draw_per_frame(
            demo.rows,
            ["SAM's defaults", "static (the task's)", "policy (PPO)", "genetic search per frame"],
            "score",
            "score",
        ),
        "Score on each frame of the fresh streams.",
    )


def _add_curves(report: Report, demo: _Demonstration) -> None:
    report.heading("Learning and searching on the same budget")
    report.figure(
        draw_curves(demo.curves, demo.levels),
        "Mean score on the validation streams, which neither learns from, against evaluations "
        "spent on the training streams. PPO begins at the task's static settings.",
    )


def _add_overlays(report: Report, demo: _Demonstration) -> None:
    report.heading("Before and after")
    names = ["SAM's defaults", "static (the task's)", "policy (PPO)"]
    pictures: list[tuple[str, str, NDArray[np.uint8]]] = []
    for index in _spread_frames(demo.test):
        for name in names:
            tuned = demo.shown[name][index]
            segmentation = tuned.evaluation.segmentation
            row = demo.rows[(demo.rows.tuner == name) & (demo.rows.frame_index == index)].iloc[0]
            caption = f"score {row['score']:.2f}, F1 {row['f1']:.2f}, {len(segmentation)} masks"
            pictures.append((name, caption, draw_outlines(tuned.frame, segmentation, 2)))
        pictures.append(("truth", f"{tuned.frame.id}", _draw_truth(demo.test, index)))
    report.gallery(pictures, columns=len(names) + 1)
    with CurveWriter(_fresh(demo.events / "overlays")) as events:
        for number, (title, _, picture) in enumerate(pictures):
            events.picture(f"frame {number // (len(names) + 1) + 1}/{title}", picture)


def _add_moves(report: Report, demo: _Demonstration) -> None:
    report.heading("What the policy moves")
    moved = settings_moved(demo.rows[demo.rows["tuner"] == "policy (PPO)"], demo.task)
    formats = {name: ".3g" for name in ("static", "mean", "lowest", "highest")}
    report.table(moved, formats={**formats, "moves": ".1%"})
    verdict = (
        "The policy answers the same on every frame: it is a static choice, found by learning."
        if is_constant(moved)
        else "The last column is the standard deviation over frames as a share of the range."
    )
    report.text(verdict, note=True)


def _spread_frames(bank: Bank, count: int = 3) -> list[int]:
    """The middle frames of the first streams: no picking of the nicest."""
    return [stream[len(stream) // 2] for stream in bank.streams[:count]]


def _draw_truth(bank: Bank, index: int) -> NDArray[np.uint8]:
    frame, labels = bank.frame(index), bank.truth(index)
    return draw_outlines(frame, Segmentation.from_labels(labels, frame), 2)


def _named(tuner: RandomTuner, name: str) -> RandomTuner:
    tuner.name = name
    return tuner


def _fresh(folder: Path) -> Path:
    """The folder, without what an earlier run left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
