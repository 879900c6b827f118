"""Which blocks of the observation earn their place: a policy is trained without each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from samstar_rl._io import atomic
from samstar_rl.agents.judging.judge import Judge
from samstar_rl.agents.judging.statistics import cells_of, mean_interval, paired_cells
from samstar_rl.agents.learning.train import train_policy
from samstar_rl.agents.tuners.filters import ChooseFilters
from samstar_rl.agents.tuners.policy import PolicyTuner
from samstar_rl.envs.observation.schema import LAST_FRAME
from samstar_rl.errors import SamstarError
from samstar_rl.tuning.objective import Objective

if TYPE_CHECKING:
    from samstar_rl.agents.judging.statistics import Estimate
    from samstar_rl.agents.learning.plan import TrainingPlan
    from samstar_rl.bank.bank import Bank
    from samstar_rl.tasks.task import Task

BLOCKS: dict[str, tuple[str, ...]] = {
    "image": ("image",),
    "foreground": ("foreground",),
    "embedding": ("embedding",),
    "gaze": ("gaze",),
    "targets": ("targets",),
    "budget": ("budget",),
    "last frame": LAST_FRAME,
}
"""What is left out together, by the name under which the table has it."""

ALL = "all blocks"
NONE = "no block"
"""Without any block a policy answers a constant: what is learned then is a static choice."""


@dataclass(frozen=True)
class Ablation:
    """What one variant came to.

    Attributes
    ----------
    name : str
        `ALL`, ``without BLOCK``, or `NONE`.
    score : Estimate
        Mean over test frames and seeds.
    difference : Estimate, optional
        Score less that with all blocks, paired per frame and seed; None for `ALL`.
    """

    name: str
    score: Estimate
    difference: Estimate | None


def ablate(
    task: Task,
    bank: Bank,
    test: Bank,
    plan: TrainingPlan,
    folder: str | Path,
    *,
    seeds: Sequence[int],
    blocks: Sequence[str] = tuple(BLOCKS),
    on_unit: Callable[[float], None] | None = None,
) -> list[Ablation]:
    """Train with all blocks, without each, and without any; judge all on the same fresh frames.

    What is done already is read from the folder; what was cut off goes on.

    Parameters
    ----------
    task : Task
    bank, test : Bank
        To learn from, and to be judged on.
    plan : TrainingPlan
        Its seed and ``without`` are replaced.
    folder : path
        Gets a folder for each variant and seed, and ``ablation.csv``.
    seeds : sequence of int
    blocks : sequence of str
        Names of `BLOCKS`.
    on_unit : callable, optional
        Called with the share of the trainings that are done.

    Returns
    -------
    list of Ablation
        With all blocks first.

    Raises
    ------
    SamstarError
        If a block does not exist, or there are no seeds.
    """
    check_blocks(blocks)
    if not seeds:
        raise SamstarError("an ablation needs at least one seed")
    everything = tuple(name for names in BLOCKS.values() for name in names)
    variants = {ALL: (), **{f"without {name}": BLOCKS[name] for name in blocks}, NONE: everything}
    judge = Judge(test, Objective(task, plan.price), against_truth=False)
    units = [(name, without, seed) for name, without in variants.items() for seed in seeds]
    tables = []
    for done, (name, without, seed) in enumerate(units, start=1):
        where = Path(folder) / name.replace(" ", "-") / f"seed-{seed}"
        variant = replace(plan, seed=seed, without=without)
        tables.append(_train_and_judge(task, bank, judge, variant, where).assign(variant=name))
        if on_unit is not None:
            on_unit(done / len(units))
    rows = pd.concat(tables, ignore_index=True)
    atomic.write_csv(Path(folder) / "ablation.csv", rows)
    of_variants = {name: rows[rows["variant"] == name] for name in rows["variant"].unique()}
    return [
        Ablation(
            name,
            mean_interval(cells_of(own, "score")),
            None if name == ALL else mean_interval(paired_cells(own, of_variants[ALL], "score")),
        )
        for name, own in of_variants.items()
    ]


def check_blocks(blocks: Sequence[str]) -> None:
    """See that all blocks exist, before minutes have passed.

    Raises
    ------
    SamstarError
        If one is not in `BLOCKS`.
    """
    unknown = [name for name in blocks if name not in BLOCKS]
    if unknown:
        raise SamstarError(f"no block {unknown[0]!r}: expected some of {', '.join(BLOCKS)}")


def to_markdown(ablations: Sequence[Ablation]) -> str:
    """The table for the documentation."""
    lines = ["| observation | score | difference to all blocks |", "|---|---|---|"]
    for one in ablations:
        difference = "" if one.difference is None else f"{one.difference}"
        lines.append(f"| {one.name} | {one.score} | {difference} |")
    return "\n".join(lines) + "\n"


def _train_and_judge(
    task: Task, bank: Bank, judge: Judge, plan: TrainingPlan, folder: Path
) -> pd.DataFrame:
    rows_file, sheet_file = folder / "rows.csv", folder / "unit.json"
    # what must be the same for a result to be used again
    sheet = {
        "task": task.to_dict(),
        "algorithm": plan.algorithm,
        "hyperparameters": dict(plan.hyperparameters),
        "without": list(plan.without),
        "seed": plan.seed,
        "sam_sha256": bank.sam_sha256,
        "training_frames": len(bank),
        "test_frames": judge.n_frames,
    }
    done = rows_file.is_file() and sheet_file.is_file()
    if done and atomic.read_json(sheet_file) == json.loads(json.dumps(sheet)):
        return pd.read_csv(rows_file)
    trained = train_policy(task, bank, plan, folder, resume=True)
    policy = PolicyTuner(trained.network, judge.frames.builder, frames=judge.frames)
    tuner = ChooseFilters(policy, task.space)
    rows = judge.judge(tuner, seed=plan.seed)
    atomic.write_csv(rows_file, rows)
    atomic.write_json(sheet_file, sheet)
    return rows
