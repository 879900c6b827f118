"""Rebuild everything that depends on the embedded SAM's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from samstar_rl.agents.learning.plan import plan_training
from samstar_rl.agents.learning.train import bundle_trained, train_on_tasks
from samstar_rl.agents.search.ask_tell import Vectors, make_search, maximise
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuner_names import shipped_folder
from samstar_rl.bank.build import build_for_task
from samstar_rl.bank.simulated import SimulatedStreams
from samstar_rl.errors import SamstarError
from samstar_rl.fitting.emps import load_labelled, split_names
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.scripts._shared.display import StageDisplay
from samstar_rl.scripts._shared.inputs import ALL
from samstar_rl.scripts.maintain.figures import figures
from samstar_rl.settings import Settings
from samstar_rl.tasks.shipped import task_path
from samstar_rl.tasks.task import Task, load_task, write_static
from samstar_rl.truth.metrics import Truth, f1_at
from samstar_rl.tuning.evaluable_frames import BankFrame
from samstar_rl.tuning.objective import Objective

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tuning.tuner import FrameSource

TASKS = ("particles", "overlap", "morphology", "size")
FOLDER = Path("build") / "policies"
CHOICES = 600
# every second `tune` frame: enough for eight numbers, in half the time; and of every fourth
# simulated experiment the first frame, so that filters do not fit the samples of EMPS alone
TUNE_STEP, SIMULATED_STEP = 2, 4
LIVE_COST = 150.0
"""Static settings are the best that a live frame has time for."""

DRIFTING = SimulatedStreams(n_streams=40, n_frames=2, size_px=512, every=30)
"""What policies and static settings are chosen on."""
OF_ANY_KIND = (
    SimulatedStreams(n_streams=32, n_frames=2, size_px=512, every=30),
    SimulatedStreams(n_streams=16, n_frames=1, size_px=512, every=12, survey=1),
    SimulatedStreams(n_streams=16, n_frames=1, size_px=512, every=12, survey=2, first_seed=16),
)
"""The same for `particles`, to which surveys belong: of each survey one frame."""


def artefacts(
    emps: Annotated[
        Path | None,
        typer.Option(
            help="Folder of EMPS' train split, on whose `tune` frames the static settings of "
            "`particles` are chosen, and its policy learns, too; without it simulated frames alone "
            "serve."
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
    names = task or [*TASKS, ALL]
    console = Console()
    if "static" in stages or "policies" in stages:
        engine = ProposalEngine(load_sam("tiny"))
        banks = {
            name: _learning_bank(load_task(name), emps, engine)
            for name in TASKS
            if name in names or ALL in names
        }
    if "static" in stages:
        for name in [one for one in banks if one in names]:
            real = name == "particles" and emps is not None
            _rebuild_static(load_task(name), banks[name], real, seed, console)
    if "policies" in stages:
        for name in names:
            of = banks if name == ALL else [name]
            # read again: their static settings may be new
            _rebuild_policy(name, [(load_task(one), banks[one]) for one in of], seed, console)
    if "figures" in stages:
        figures()


def _rebuild_policy(
    name: str, tasks_and_banks: list[tuple[Task, Bank]], seed: int, console: Console
) -> None:
    """Train a policy and put its bundle among those that ship."""
    plan = plan_training("PPO", [task for task, _ in tasks_and_banks], seed=seed)
    if name == "particles":
        # its static filters were chosen by truth: a search by score is no better
        plan = replace(plan, hyperparameters={**plan.hyperparameters, "start_share": 0.0})
    with StageDisplay() as display:
        trained = train_on_tasks(
            tasks_and_banks, plan, FOLDER / name, on_share=display.stage(f"{name}: training")
        )
    bundle_trained(trained, plan, tasks_and_banks, name=name).save(shipped_folder() / name)
    curve = trained.progress.curve
    console.print(f"{name}: {curve[0]['score']:.3f} -> {max(one['score'] for one in curve):.3f}")


def _learning_bank(task: Task, emps: Path | None, engine: ProposalEngine) -> Bank:
    """Simulated experiments that drift; for `particles` surveys and real frames, too."""
    plans = OF_ANY_KIND if task.name == "particles" else (DRIFTING,)
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
    with StageDisplay() as display:
        return build_for_task(
            task,
            streams,
            FOLDER / "banks" / task.name,
            engine,
            n_frames=n_frames,
            on_progress=display.stage(f"{task.name}: SAM's proposals"),
        )


def _rebuild_static(task: Task, bank: Bank, real: bool, seed: int, console: Console) -> None:
    """Search the static settings of a task: by truth where labelled real frames are among them."""
    if real:
        # behind the simulated streams each real frame is a stream of its own
        n_simulated = sum(plan.n_streams for plan in OF_ANY_KIND)
        streams = bank.streams[n_simulated::TUNE_STEP] + bank.streams[:n_simulated:SIMULATED_STEP]
        frames = [BankFrame(bank, stream[0]) for stream in streams]
        truths = [Truth(bank.truth(frame.index)) for frame in frames]
        settings, value = static_by_truth(task, frames, truths, seed=seed)
        measure = "mean F1"
    else:
        # one frame of each of several samples says more of a static choice than many of one
        frames = [BankFrame(bank, stream[0]) for stream in bank.streams]
        found = search_static(
            frames,
            Objective(task),
            n_evaluations=CHOICES * len(frames),
            budget=LIVE_COST,
            seed=seed,
        )
        settings, value, measure = found.settings, found.reward, "mean reward"
    # the number of prompts that this cost paid for: the settings must not depend on a budget
    most = max(
        bank.proposals(frame.index, settings.prompt, LIVE_COST).n_prompts_decoded
        for frame in frames
    )
    settings = settings.replace(n_prompts=min(most, settings.prompt.most_prompts))
    write_static(task_path(task.name), settings)
    console.print(f"{task.name}: {measure} {value:.3f} with {settings}")


def static_by_truth(
    task: Task, frames: Sequence[FrameSource], truths: Sequence[Truth], *, seed: int
) -> tuple[Settings, float]:
    """The settings within `LIVE_COST` with the highest mean F1 at IoU 0.5 over labelled frames.

    Parameters
    ----------
    task : Task
    frames : sequence of FrameSource
    truths : sequence of Truth
        Of the frames.
    seed : int
        Of the genetic search.

    Returns
    -------
    settings : Settings
    f1 : float
        Their mean F1.
    """
    physics = PhysicsReward(task)
    gauges = [physics.gauge(source.frame) for source in frames]

    def mean_f1(vector: Vectors) -> float:
        settings = task.space.decode(vector)
        found = (
            f1_at(source.segment(settings, cost_limit=LIVE_COST, **gauge), truth)
            for source, gauge, truth in zip(frames, gauges, truths, strict=True)
        )
        return float(np.mean(list(found)))

    best = maximise(make_search("genetic", task, seed=seed), mean_f1, CHOICES)
    return task.space.decode(best.vector), best.reward


if __name__ == "__main__":
    run_command(artefacts)
