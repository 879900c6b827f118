"""Train a policy that sets the generator for each frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.scripts._shared.options import Out, PixelSize, Sam, Seed

if TYPE_CHECKING:
    from samstar_rl.agents.learning.train import Progress, Trained
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tasks.task import Task

POLICY = "policy"
Lesson = tuple["Task", "Bank"]


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
    algo: Annotated[
        str,
        typer.Option(
            "--algo",
            metavar="PPO|SAC|TD3|TQC|TRPO|...",
            help="Class name of a learner of Stable-Baselines3 or sb3-contrib.",
        ),
    ] = "PPO",
    out: Out = Path("runs/train"),
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
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in OUT.")
    ] = False,
    pixel_size: PixelSize = None,
    sam: Sam = "tiny",
    seed: Seed = 0,
) -> None:
    """Train a policy that sets the generator for each frame.

    Learns on simulated streams unless --frames or --bank says otherwise. No ground truth is
    needed: the task's score of physics and learned plausibility is the reward. OUT/policy.bundle
    is what --tuner of segment and deploy takes; one of several tasks serves any task.
    OUT/tensorboard shows the curves. With --optimize nothing but OUT/hyperparameters.toml is made;
    the same command goes on with a search that was stopped.
    """
    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.learning.learners import algorithm_class, algorithm_name
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.scripts._shared.training_frames import Lessons, read_tasks

    tasks, learner = read_tasks(task or ["particles"]), algorithm_name(algo)
    _check(tasks, frames, names, bank)
    algorithm_class(learner)  # one that is not installed fails here
    given = _hyperparameters(learner, tasks, steps, hyperparameters)
    run = RunFolder(out)
    run.record(
        {"tasks": [one.to_dict() for one in tasks], "algo": learner, "frames": frames,
         "names": names, "bank": bank, "hyperparameters": given, "without": without or [],
         "optimize": optimize, "sam": sam, "seed": seed}
    )  # fmt: skip
    with StageDisplay() as display:
        source = Lessons(sam, display.announce)
        lessons = _open_lessons(source, tasks, out, frames, names, bank, pixel_size)
        school = School(learner, given, lessons, seed, tuple(without or ()), display.announce)
        if optimize is not None:
            typer.echo(_optimise(school, out, optimize, task))
            return
        trained = school.train(given, out, resume=resume)
    path = school.save_bundle(trained, out)
    run.write_results(asdict(trained.progress))
    typer.echo(_summary(trained, path, out, task))


@dataclass(frozen=True)
class School:
    """All that decides about a training, but for the hyperparameters."""

    algorithm: str
    usual: dict[str, Any]
    lessons: Sequence[Lesson]
    seed: int
    without: tuple[str, ...]
    announce: Callable[[str, float], None]

    def train(
        self,
        hyperparameters: dict[str, Any],
        folder: Path,
        *,
        resume: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Trained:
        """Train one policy, for one task or for several."""
        from samstar_rl.agents.learning.train import TrainingPlan, train_multi_policy, train_policy
        from samstar_rl.envs.variation import VARIATION

        def show(progress: Progress) -> None:
            share = progress.steps / int(hyperparameters["total_steps"])
            self.announce(f"training {self.algorithm.upper()}", min(share, 1.0))

        plan = TrainingPlan(
            self.algorithm,
            hyperparameters,
            seed=self.seed,
            variation=VARIATION if self.is_multi else 0.0,
            without=self.without,
        )
        heard = on_progress or show
        if self.is_multi:
            return train_multi_policy(self.lessons, plan, folder, resume=resume, on_progress=heard)
        ((task, bank),) = self.lessons
        return train_policy(task, bank, plan, folder, resume=resume, on_progress=heard)

    @property
    def is_multi(self) -> bool:
        """Whether the policy is to serve any task."""
        return len(self.lessons) > 1

    def save_bundle(self, trained: Trained, out: Path) -> Path:
        """Write OUT/policy.bundle."""
        from samstar_rl.agents.learning.train import TrainedUnion
        from samstar_rl.agents.policies.bundle import PolicyBundle
        from samstar_rl.envs import STREAM_ID
        from samstar_rl.envs.bank_frames import BankFrames

        task, bank = self.lessons[0]
        union = trained.union if isinstance(trained, TrainedUnion) else None
        names = [one.name for one, _ in self.lessons]
        bundle = PolicyBundle.of(
            trained.network,
            name="many" if self.is_multi else task.name,
            env_id=STREAM_ID,
            task=task,
            schema=BankFrames(bank, task, union=union).builder.schema,
            sam_name=bank.sam_name or "unknown",
            sam_sha256=bank.sam_sha256 or "",
            training={
                "algorithm": self.algorithm,
                "tasks": names,
                "seed": self.seed,
                "without": list(self.without),
                "curve": trained.progress.curve,
            },
            union=union,
        )
        return bundle.save(out / POLICY)


def _check(
    tasks: Sequence[Task], frames: Path | None, names: str | None, bank: Path | None
) -> None:
    if frames is not None and bank is not None:
        raise SamstarError("--frames and --bank were both given: learn on one of them")
    if names is not None and frames is None:
        raise SamstarError("--names chooses among --frames FOLDER: give it too")
    if len(tasks) > 1 and (frames is not None or bank is not None):
        raise SamstarError(
            f"{len(tasks)} tasks were given with --frames or --bank, which hold one sample: give "
            "one task, or learn on simulated streams"
        )


def _hyperparameters(
    algorithm: str, tasks: Sequence[Task], steps: int | None, path: Path | None
) -> dict[str, Any]:
    from samstar_rl.agents.learning.hyperparameters import load_hyperparameters
    from samstar_rl.envs import STREAM_ID

    name = tasks[0].name if len(tasks) == 1 else "all"
    overrides = {} if steps is None else {"total_steps": steps}
    return load_hyperparameters(
        algorithm, task=name, env_id=STREAM_ID, path=path, overrides=overrides
    )


def _open_lessons(
    source: Any,
    tasks: Sequence[Task],
    out: Path,
    frames: Path | None,
    names: str | None,
    bank: Path | None,
    pixel_size_nm: float | None,
) -> list[Lesson]:
    """Each task with the bank to learn from: one that exists, the user's frames, or simulated."""
    if bank is not None:
        from samstar_rl.bank.simulated import open_whole

        return [(tasks[0], open_whole(bank))]
    if frames is not None:
        made = source.of_frames(
            tasks[0], frames, out / "bank", names=names, pixel_size_nm=pixel_size_nm
        )
        return [(tasks[0], made)]
    return [(one, source.simulated(one)) for one in tasks]


def _optimise(school: School, out: Path, n_trials: int, tasks: Sequence[str] | None) -> str:
    """Search hyperparameters; what to do with them."""
    from samstar_rl.agents.learning.hyperparameter_search import (
        FILE,
        SHORTER,
        optimise_hyperparameters,
    )

    short = {**school.usual, "total_steps": max(512, school.usual["total_steps"] // SHORTER)}
    found = optimise_hyperparameters(
        school.algorithm,
        short,
        lambda chosen, folder, report: school.train(chosen, folder, on_progress=report).progress,
        out,
        n_trials=n_trials,
        seed=school.seed,
        on_trial=lambda done: school.announce("trials", done / n_trials),
    )
    chosen = " ".join(f"--task {name}" for name in tasks or ["particles"])
    return (
        f"validation reward {found.reward:.4f}, the best of {found.n_trials} trials "
        f"({found.n_pruned} cut off)\nuse it: samstar train {chosen} --algo {school.algorithm} "
        f"--hyperparameters {out / FILE}"
    )


def _summary(trained: Trained, path: Path, out: Path, tasks: Sequence[str] | None) -> str:
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
