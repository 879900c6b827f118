"""Rebuild everything that depends on the embedded SAM's weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from samstar_rl.agents.policies.bundle import PolicyBundle
from samstar_rl.agents.search.ask_tell import Vectors, make_search, maximise
from samstar_rl.agents.search.decode import decode_frames
from samstar_rl.agents.search.static import search_static
from samstar_rl.agents.tuner_names import shipped_folder
from samstar_rl.errors import SamstarError
from samstar_rl.fitting.emps import load_labelled, split_names
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards.reward import PhysicsReward
from samstar_rl.sam.engine import ProposalEngine, Proposals
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared.command import make_progress, run_command
from samstar_rl.scripts._shared.inputs import ALL
from samstar_rl.scripts.maintain.figures import figures
from samstar_rl.scripts.train import POLICY, train
from samstar_rl.segmentation.filters import segment
from samstar_rl.segmentation.proposals import Floor
from samstar_rl.segmenter import Segmenter
from samstar_rl.settings import Settings
from samstar_rl.simulator import SimulatedStream
from samstar_rl.tasks.shipped import task_path
from samstar_rl.tasks.task import Task, load_task, write_static
from samstar_rl.truth.metrics import Truth, f1_at

TASKS = ("particles", "overlap", "morphology", "size")
CHOICES = 600
# every second `tune` frame: enough for five numbers, in half the time
TUNE_STEP = 2
SAMPLES = 8
# settings under this floor keep masks that SAM itself takes for poor: not worth decoding
FLOOR = Floor(iou_pred=0.2, stability=0.5)


def artefacts(
    emps: Annotated[
        Path | None,
        typer.Option(
            help="Folder of EMPS' train split, on every second of whose `tune` frames the static "
            "settings of `particles` are chosen; without it they stay as they are."
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
            _rebuild_policy(name, seed)
    if "figures" in stages:
        figures()


def _rebuild_policy(name: str, seed: int) -> None:
    """Train a policy and put its bundle among those that ship.

    Of `ALL` the policy for many samples: it learns on the banks of all `TASKS`.
    """
    folder = Path("build") / "policies" / name
    train(task=list(TASKS) if name == ALL else [name], out=folder, seed=seed)
    PolicyBundle.load(folder / POLICY).renamed(name).save(shipped_folder() / name)


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
        sources, segmenter.objective, n_evaluations=CHOICES * len(sources), seed=seed
    )
    return found.settings, found.reward, "mean reward"


def static_by_truth(
    task: Task,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    points_per_side: Sequence[int] = (16, 32),
) -> tuple[Settings, float, str]:
    """The settings above `FLOOR` with the highest mean F1 at IoU 0.5 over labelled frames.

    Parameters
    ----------
    task : Task
    pairs : sequence of (image, labels)
    seed : int
        Of the genetic search.
    points_per_side : sequence of int
        Prompt densities to choose from.

    Returns
    -------
    Settings, float, str
        The settings, their F1, and what was searched, for people.
    """
    engine = ProposalEngine(load_sam("tiny"))
    frames = [Frame(image.astype(np.float32), id=str(k)) for k, (image, _) in enumerate(pairs)]
    truths = [Truth(labels) for _, labels in pairs]
    reward = PhysicsReward(task)
    proposals: dict[int, list[Proposals]] = {}
    with make_progress() as progress:
        work = [(points, frame) for points in points_per_side for frame in frames]
        for points, frame in progress.track(work, description="SAM's proposals"):
            prompt = Settings(points_per_side=points).prompt
            proposals.setdefault(points, []).append(engine.propose(frame, prompt, floor=FLOOR))

    def mean_f1(vector: Vectors) -> float:
        settings = task.space.decode(vector)
        if settings.points_per_side not in proposals or not FLOOR.is_under(settings):
            return 0.0
        found = (
            segment(of_frame, settings, **reward.gauge(frame))
            for of_frame, frame in zip(proposals[settings.points_per_side], frames, strict=True)
        )
        return float(np.mean([f1_at(one, truth) for one, truth in zip(found, truths, strict=True)]))

    best = maximise(make_search("genetic", task, seed=seed), mean_f1, CHOICES)
    return task.space.decode(best.vector), best.reward, "mean F1"


if __name__ == "__main__":
    run_command(artefacts)
