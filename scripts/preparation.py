"""What segment, tune and deploy set up alike: task, SAM, tuner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from samstar_rl.agents import TUNERS, make_tuner
from samstar_rl.agents.bundle import SUFFIX
from samstar_rl.checkpoints import is_checkpoint_name
from samstar_rl.decoding import Precision
from samstar_rl.proposals import PointPlaces, ProposalEngine
from samstar_rl.sam import load_sam
from samstar_rl.task import Task, load_task
from samstar_rl.tuner import Objective, Tuner

STATIC_FILE = "static:"


@dataclass(frozen=True)
class Bench:
    """All that turns frames into scored segmentations."""

    task: Task
    objective: Objective
    engine: ProposalEngine
    sam_sha256: str | None

    def make_tuner(self, spec: str, *, n_evaluations: int, seed: int) -> Tuner:
        """Make the tuner of this name for the task and the SAM in use."""
        return make_tuner(
            spec, self.task, sam_sha256=self.sam_sha256, n_evaluations=n_evaluations, seed=seed
        )


def prepare(
    task: str | Task,
    *,
    sam: str,
    device: str,
    precision: Precision = "float32",
    points: PointPlaces = "grid",
) -> Bench:
    """Load the task, unless it is loaded already, and the SAM.

    Raises
    ------
    ValueError
        If either does not exist or is wrong, saying what is.
    """
    loaded = load_task(task) if isinstance(task, str) else task
    model = load_sam(sam, device=device)
    engine = ProposalEngine(model, device=device, precision=precision, points=points)
    return Bench(loaded, Objective(loaded), engine, getattr(model, "samstar_sha256", None))


def located_sam(sam: str) -> str:
    """A SAM as a process in another folder finds it: a name, or an absolute path."""
    return sam if sam == "tiny" or is_checkpoint_name(sam) else str(Path(sam).absolute())


def located_tuner(spec: str) -> str:
    """A tuner as a process in another folder finds it: a name, or an absolute path."""
    if spec.startswith(STATIC_FILE):
        return f"{STATIC_FILE}{Path(spec.removeprefix(STATIC_FILE)).absolute()}"
    named = spec in TUNERS or not any(Path(spec + suffix).is_dir() for suffix in ("", SUFFIX))
    return spec if named else str(Path(spec).absolute())
