"""Train a policy that sets the generator for each frame."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.tuning.budget import BUDGET_RANGE, PRICE

if TYPE_CHECKING:
    from samstar_rl.agents.learning.train import Trained
    from samstar_rl.bank.bank import Bank
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.tasks.task import Task

POLICY = "policy"


def train(
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|FILE.toml|all",
            help="What the sample should look like; by default particles. Several (repeated, or "
            "parted by commas), or all: one policy for many samples.",
        ),
    ] = None,
    algo: options.Learner = "PPO",
    out: options.Out = Path("runs/train"),
    frames: Annotated[
        Path | None,
        typer.Option(
            "--frames", metavar="FOLDER", help="Learn on these frames, not on simulated streams."
        ),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            metavar="emps:PART|FILE",
            help="Of --frames only these: a part of the EMPS split, or a text file of names.",
        ),
    ] = None,
    bank: Annotated[
        Path | None, typer.Option("--bank", help="Learn on a bank that samstar bank build made.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=512, help="Evaluations to spend; by default the learner's."),
    ] = None,
    hyperparameters: Annotated[
        Path | None,
        typer.Option("--hyperparameters", metavar="FILE.toml", help="Such as --optimize writes."),
    ] = None,
    optimize: Annotated[
        int | None,
        typer.Option(
            "--optimize",
            min=1,
            metavar="N",
            help="Search hyperparameters in N short trainings (extra optuna) instead.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="BLOCK",
            help="Leave this block of the observation out; repeatable.",
        ),
    ] = None,
    env: Annotated[
        Literal["stream", "tuning"],
        typer.Option(
            "--env",
            help="stream: one answer to each frame; tuning: look at a frame until it is enough.",
        ),
    ] = "stream",
    price: options.Price = PRICE,
    budget: Annotated[
        tuple[float, float],
        typer.Option(
            "--budget",
            metavar="LOW HIGH",
            help="Costs that frames may have in training, each episode another.",
        ),
    ] = BUDGET_RANGE,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in OUT.")
    ] = False,
    pixel_size: options.PixelSize = None,
    sam: options.Sam = "tiny",
    seed: options.Seed = 0,
) -> None:
    """Train a policy that sets the generator for each frame.

    Learns on simulated streams unless --frames or --bank says otherwise. No ground truth is
    needed: the task's score of physics and learned plausibility is the reward. OUT/policy.bundle
    is what --tuner of segment and deploy takes; one of several tasks serves any task.
    OUT/tensorboard shows the curves. With --optimize nothing but OUT/hyperparameters.toml is made;
    the same command goes on with a search that was stopped.
    """
    from samstar_rl.scripts._shared.inputs import read_tasks

    # what is wrong is said before the heavy libraries are loaded
    tasks = read_tasks(task or ["particles"])
    if frames is not None and bank is not None:
        raise SamstarError("--frames and --bank were both given: learn on one of them")
    if names is not None and frames is None:
        raise SamstarError("--names chooses among --frames FOLDER: give it too")
    if len(tasks) > 1 and (frames is not None or bank is not None):
        raise SamstarError(
            f"{len(tasks)} tasks were given with --frames or --bank, which hold one sample: give "
            "one task, or learn on simulated streams"
        )

    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.learning.hyperparameter_search import optimise_hyperparameters
    from samstar_rl.agents.learning.learners import algorithm_class
    from samstar_rl.agents.learning.plan import plan_training
    from samstar_rl.agents.learning.train import bundle_trained, train_on_tasks
    from samstar_rl.envs import STREAM_ID, TUNING_ID
    from samstar_rl.scripts._shared.display import StageDisplay

    plan = plan_training(
        algo, tasks, steps=steps, path=hyperparameters, seed=seed, price=price, budget=budget,
        without=tuple(without or ()), env_id={"stream": STREAM_ID, "tuning": TUNING_ID}[env],
    )  # fmt: skip
    algorithm_class(plan.algorithm)  # one that is not installed fails here
    run = RunFolder(out)
    run.record(
        {"tasks": [one.to_dict() for one in tasks], "algo": plan.algorithm, "frames": frames,
         "names": names, "bank": bank, "hyperparameters": dict(plan.hyperparameters),
         "env": plan.env_id, "price": price, "budget": budget,
         "without": plan.without, "optimize": optimize, "sam": sam, "seed": seed}
    )  # fmt: skip
    with StageDisplay() as display:
        banks = _open_banks(tasks, display, out, frames, names, bank, pixel_size, sam)
        if optimize is not None:
            found = optimise_hyperparameters(
                banks, plan, out, n_trials=optimize, on_trial=display.stage("trials")
            )
            chosen = " ".join(f"--task {name}" for name in task or ["particles"])
            typer.echo(
                f"{found.summary}\nuse it: samstar train {chosen} --algo {plan.algorithm} "
                f"--hyperparameters {found.file}"
            )
            return
        stage = f"training {plan.algorithm.upper()}"
        trained = train_on_tasks(banks, plan, out, resume=resume, on_share=display.stage(stage))
    path = bundle_trained(trained, plan, banks).save(out / POLICY)
    run.write_results(asdict(trained.progress))
    typer.echo(_summary(trained, path, out, task))


def _open_banks(
    tasks: list[Task],
    display: StageDisplay,
    out: Path,
    frames: Path | None,
    names: str | None,
    bank: Path | None,
    pixel_size_nm: float | None,
    sam: str,
) -> list[tuple[Task, Bank]]:
    """Each task with the bank to learn from: one that exists, the user's frames, or simulated."""
    from samstar_rl.bank.build import build_for_task, open_whole
    from samstar_rl.bank.simulated import TO_LEARN_FROM, simulated_bank
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam
    from samstar_rl.scripts._shared.inputs import find_named, read_frames

    if bank is not None:
        return [(tasks[0], open_whole(bank))]
    engine = ProposalEngine(load_sam(sam))
    if frames is None:
        return [
            (one, simulated_bank(one, TO_LEARN_FROM, engine=engine,
                                 on_progress=display.stage(f"{one.name}: SAM's proposals")))
            for one in tasks
        ]  # fmt: skip
    # each frame is a stream of its own: single images do not follow one another
    streams = [[frame] for frame in read_frames(find_named(frames, names), pixel_size_nm)]
    if len(streams) < 2:
        raise SamstarError(
            f"{frames} holds {len(streams)} frame to learn from: give at least two, since the "
            "policy is chosen on frames that it did not learn from"
        )
    made = build_for_task(
        tasks[0], streams, out / "bank", engine, n_frames=len(streams),
        on_progress=display.stage("SAM's proposals"),
    )  # fmt: skip
    return [(tasks[0], made)]


def _summary(trained: Trained, path: Path, out: Path, tasks: list[str] | None) -> str:
    curve = trained.progress.curve
    best = max(curve, key=lambda point: point["reward"])
    named = tasks[0] if tasks is not None and len(tasks) == 1 and "," not in tasks[0] else None
    task = "particles" if tasks is None else "TASK" if named in (None, "all") else named
    return (
        f"validation score {curve[0]['score']:.3f} -> {best['score']:.3f} in "
        f"{trained.progress.steps} steps, {trained.progress.seconds:.0f} s\n"
        f"use it: samstar segment IMAGES --task {task} --tuner {path}\n"
        f"curves: tensorboard --logdir {out}"
    )


if __name__ == "__main__":
    run_command(train)
