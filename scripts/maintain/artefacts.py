"""Rebuild everything that depends on the embedded SAM's weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from samstar_rl.agents.learning.plan import plan_training
from samstar_rl.agents.learning.train import bundle_trained, train_on_tasks
from samstar_rl.agents.search.ask_tell import Vectors, make_search, maximise
from samstar_rl.agents.search.decode import decode_frames
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuner_names import shipped_folder
from samstar_rl.bank.build import build_for_task
from samstar_rl.bank.simulated import SimulatedStreams
from samstar_rl.errors import SamstarError
from samstar_rl.fitting.emps import load_labelled, split_names
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared.command import make_progress, run_command
from samstar_rl.scripts._shared.inputs import ALL
from samstar_rl.scripts.maintain.figures import figures
from samstar_rl.segmenter import Segmenter
from samstar_rl.settings import Settings
from samstar_rl.simulator import SimulatedStream
from samstar_rl.tasks.shipped import task_path
from samstar_rl.tasks.task import Task, load_task, write_static
from samstar_rl.truth.metrics import Truth, f1_at

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank

TASKS = ("particles", "overlap", "morphology", "size")
CHOICES = 600
# every second `tune` frame: enough for six numbers, in half the time
TUNE_STEP = 2
SAMPLES = 12
LIVE_COST = 150.0
"""Static settings are the best that a live frame has time for."""

DRIFTING = SimulatedStreams(n_streams=40, n_frames=2, size_px=512, every=30)
SURVEYING = tuple(
    SimulatedStreams(n_streams=12, n_frames=4, size_px=512, every=6, first_seed=1000 * n, survey=n)
    for n in (1, 2)
)
"""What shipped policies learn on: one frame of each field of a survey is enough."""


def artefacts(
    emps: Annotated[
        Path | None,
        typer.Option(
            help="Folder of EMPS' train split, on every second of whose `tune` frames the static "
            "settings of `particles` are chosen, and on which its policy learns, too; without it "
            "the static settings stay as they are."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            help="Repeatable; by default all four, and of policies the one for many samples (all).",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="static, policies or figures; repeatable, by default all three."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of searches and trainings.")] = 0,
) -> None:
    """Rebuild what depends on the embedded SAM: static settings, policies, figures."""
    stages = only or ["static", "policies", "figures"]
    unknown = set(stages) - {"static", "policies", "figures"}
    if unknown:
        raise SamstarError(f"--only takes static, policies or figures, got {sorted(unknown)[0]!r}")
    names = [name for name in task or TASKS if name != ALL]
    console = Console()
    if "static" in stages:
        for name in names:
            _rebuild_static(load_task(name), emps, seed, console)
    if "policies" in stages:
        for name in task or [*TASKS, ALL]:
            _rebuild_policy(name, emps, seed, console)
    if "figures" in stages:
        figures()


def _rebuild_policy(name: str, emps: Path | None, seed: int, console: Console) -> None:
    """Train a policy and put its bundle among those that ship.

    Of `ALL` the policy for many samples: it learns on the banks of all `TASKS`.
    """
    folder = Path("build") / "policies" / name
    tasks = [load_task(one) for one in (TASKS if name == ALL else [name])]
    engine = ProposalEngine(load_sam("tiny"))
    with make_progress() as progress:
        banks = [(one, _learning_bank(one, emps, engine, progress)) for one in tasks]
        plan = plan_training("PPO", tasks, seed=seed)
        stage = progress.add_task(f"{name}: training", total=1.0)
        trained = train_on_tasks(
            banks, plan, folder, on_share=lambda share: progress.update(stage, completed=share)
        )
    bundle_trained(trained, plan, banks, name=name).save(shipped_folder() / name)
    curve = trained.progress.curve
    console.print(f"{name}: {curve[0]['score']:.3f} -> {max(one['score'] for one in curve):.3f}")


def _learning_bank(
    task: Task, emps: Path | None, engine: ProposalEngine, progress: Progress
) -> Bank:
    """Simulated experiments that drift; for `particles` surveys and real frames, too."""
    plans = (DRIFTING, *SURVEYING) if task.name == "particles" else (DRIFTING,)
    streams = [stream for plan in plans for stream in plan.streams(task)]
    n_frames = sum(len(plan) for plan in plans)
    if task.name == "particles" and emps is not None:
        names = split_names("tune")
        pairs = zip(names, load_labelled(emps, names), strict=True)
        streams += [
            iter([LabelledFrame(Frame(image.astype(np.float32), id=name), labels)])
            for name, (image, labels) in pairs
        ]
        n_frames += len(names)
    stage = progress.add_task(f"{task.name}: SAM's proposals", total=1.0)
    return build_for_task(
        task,
        streams,
        Path("build") / "policies" / "banks" / task.name,
        engine,
        n_frames=n_frames,
        on_progress=lambda share: progress.update(stage, completed=share),
    )


def _rebuild_static(task: Task, emps: Path | None, seed: int, console: Console) -> None:
    if task.name != "particles":
        settings, value, measure = _static_by_score(task, seed)
    elif emps is not None:
        pairs = load_labelled(emps, split_names("tune")[::TUNE_STEP])
        settings, value, measure = static_by_truth(task, pairs, seed=seed)
    else:
        console.print("particles: kept, since --emps is not given")
        return
    write_static(task_path(task.name), settings)
    console.print(f"{task.name}: {measure} {value:.3f} with {settings}")


def _static_by_score(task: Task, seed: int) -> tuple[Settings, float, str]:
    """What an operator without ground truth finds on simulated frames.

    One frame of each of several samples says more of a static choice than many of one.
    """
    segmenter = Segmenter.load(task)
    frames = []
    for sample in range(SAMPLES):
        with SimulatedStream(task.name, seed=sample, size=512, length=1) as stream:
            frames.append(stream.frame_at(0).frame)
    sources = decode_frames(segmenter, frames)
    found = search_static(
        sources,
        segmenter.objective,
        n_evaluations=CHOICES * len(sources),
        budget=LIVE_COST,
        seed=seed,
    )
    return found.settings, found.reward, "mean reward"


def static_by_truth(
    task: Task, pairs: Sequence[tuple[np.ndarray, np.ndarray]], *, seed: int
) -> tuple[Settings, float, str]:
    """The settings within `LIVE_COST` with the highest mean F1 at IoU 0.5 over labelled frames.

    Parameters
    ----------
    task : Task
    pairs : sequence of (image, labels)
        Both (H, W).
    seed : int
        Of the genetic search.

    Returns
    -------
    settings : Settings
    value : float
        Their mean F1.
    measure : str
        What the value is.
    """
    segmenter = Segmenter.load(task)
    frames = [Frame(image.astype(np.float32), id=str(k)) for k, (image, _) in enumerate(pairs)]
    truths = [Truth(labels) for _, labels in pairs]
    with make_progress() as progress:
        stage = progress.add_task("SAM's proposals", total=1.0)
        sources = decode_frames(
            segmenter, frames, on_progress=lambda share: progress.update(stage, completed=share)
        )
    gauges = [segmenter.objective.physics.gauge(frame) for frame in frames]

    def mean_f1(vector: Vectors) -> float:
        settings = task.space.decode(vector)
        found = (
            f1_at(source.segment(settings, cost_limit=LIVE_COST, **gauge), truth)
            for source, gauge, truth in zip(sources, gauges, truths, strict=True)
        )
        return float(np.mean(list(found)))

    best = maximise(make_search("genetic", task, seed=seed), mean_f1, CHOICES)
    return task.space.decode(best.vector), best.reward, "mean F1"


if __name__ == "__main__":
    run_command(artefacts)
