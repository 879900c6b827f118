"""Train a policy that sets the generator for each frame."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from samstar_rl.scripts.command import run_command
from samstar_rl.scripts.options import Out, PixelSize, Sam, Seed, Task

if TYPE_CHECKING:
    from samstar_rl.agents.training import Trained
    from samstar_rl.bank import Bank
    from samstar_rl.frames.frame import Frame
    from samstar_rl.task import Task as SampleTask

POLICY = "policy"


def train(
    task: Task = "particles",
    algo: Annotated[Literal["ppo", "sac"], typer.Option("--algo", help="SB3's learner.")] = "ppo",
    out: Out = Path("runs/train"),
    frames: Annotated[
        Path | None,
        typer.Option(
            "--frames", metavar="FOLDER", help="Learn on these frames, not on simulated streams."
        ),
    ] = None,
    bank: Annotated[
        Path | None, typer.Option("--bank", help="Learn on a bank that samstar bank build made.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=512, help="Evaluations to spend; by default the learner's."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in OUT.")
    ] = False,
    pixel_size: PixelSize = None,
    sam: Sam = "tiny",
    seed: Seed = 0,
) -> None:
    """Train a policy that sets the generator for each frame.

    Learns on simulated streams unless --frames or --bank says otherwise. No ground truth is
    needed: the task's physics score is the reward. OUT/policy.bundle is what --tuner of segment
    and deploy takes; OUT/tensorboard shows the curves.
    """
    from samstar_rl.run_folder import RunFolder
    from samstar_rl.scripts.display import StageDisplay
    from samstar_rl.task import load_task

    if frames is not None and bank is not None:
        raise ValueError("--frames and --bank were both given: learn on one of them")
    loaded = load_task(task)
    run = RunFolder(out)
    run.record(
        {"task": loaded.to_dict(), "algo": algo, "frames": frames, "bank": bank, "steps": steps,
         "sam": sam, "seed": seed}
    )  # fmt: skip
    with StageDisplay() as display:
        learned_on = _open_bank(loaded, out, frames, bank, pixel_size, sam, display)
        trained = _train(loaded, learned_on, algo, steps, seed, out, resume, display)
    path = _save_bundle(loaded, learned_on, trained, algo, seed, out)
    run.write_results(asdict(trained.progress))
    before, after = trained.progress.curve[0], max(trained.progress.curve, key=_reward)
    typer.echo(
        f"validation score {before['score']:.3f} -> {after['score']:.3f} in "
        f"{trained.progress.steps} steps, {trained.progress.seconds:.0f} s\n"
        f"use it: samstar segment IMAGES --task {task} --tuner {path}\n"
        f"curves: tensorboard --logdir {out}"
    )


def _open_bank(
    task: SampleTask,
    out: Path,
    frames: Path | None,
    bank: Path | None,
    pixel_size_nm: float | None,
    sam: str,
    display: Any,
) -> Bank:
    """The bank to learn from: one that exists, one of the user's frames, or simulated streams."""
    from samstar_rl.bank import Bank, build_bank
    from samstar_rl.envs.simulated import N_FRAMES, N_STREAMS, simulated_bank
    from samstar_rl.proposal_data import Floor
    from samstar_rl.proposals import ProposalEngine
    from samstar_rl.sam import load_sam

    if bank is not None:
        return Bank(bank)
    engine = ProposalEngine(load_sam(sam))
    if frames is None:
        total = N_STREAMS * N_FRAMES
        return simulated_bank(
            task,
            engine=engine,
            on_frame=lambda count: display.announce("SAM's proposals", count / total),
        )
    # single images are no stream: each is a window of its own
    streams = [[frame] for frame in _read_frames(frames, pixel_size_nm)]
    return build_bank(
        streams,
        out / "bank",
        engine,
        task.space.prompts(),
        floor=Floor.under(task.space),
        on_progress=lambda progress: display.announce(
            "SAM's proposals", progress.n_frames / len(streams)
        ),
    )


def _read_frames(folder: Path, pixel_size_nm: float | None) -> list[Frame]:
    from samstar_rl.frames.files import iterate_file
    from samstar_rl.scripts.segment import find_images

    return [
        frame
        for path in find_images([folder])
        for frame in iterate_file(path, pixel_size_nm=pixel_size_nm)
    ]


def _train(
    task: SampleTask,
    bank: Bank,
    algo: str,
    steps: int | None,
    seed: int,
    out: Path,
    resume: bool,
    display: Any,
) -> Trained:
    from samstar_rl.agents.hyperparameters import load_hyperparameters
    from samstar_rl.agents.training import TrainingPlan, train_policy
    from samstar_rl.envs import STREAM_ID

    overrides = {} if steps is None else {"total_steps": steps}
    hyperparameters = load_hyperparameters(
        algo, task=task.name, env_id=STREAM_ID, overrides=overrides
    )
    total = int(hyperparameters["total_steps"])
    return train_policy(
        task,
        bank,
        TrainingPlan(algo, hyperparameters, seed=seed),
        out,
        resume=resume,
        on_progress=lambda progress: display.announce(
            f"training {algo.upper()}", progress.steps / total
        ),
    )


def _save_bundle(
    task: SampleTask, bank: Bank, trained: Trained, algo: str, seed: int, out: Path
) -> Path:
    from samstar_rl.agents.bundle import PolicyBundle
    from samstar_rl.envs import STREAM_ID
    from samstar_rl.envs.frames import BankFrames

    bundle = PolicyBundle.of(
        trained.network,
        name=task.name,
        env_id=STREAM_ID,
        task=task,
        schema=BankFrames(bank, task).builder.schema,
        sam_name=bank.sam_name or "unknown",
        sam_sha256=bank.sam_sha256 or "",
        training={"algorithm": algo, "seed": seed, "curve": trained.progress.curve},
    )
    return bundle.save(out / POLICY)


def _reward(point: dict[str, float]) -> float:
    return point["reward"]


if __name__ == "__main__":
    run_command(train)
