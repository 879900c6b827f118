"""What the shipped policies are worth on fresh frames: ``python -m tests.benchmarks.policies``.

Each is judged beside the static settings of the task at hand, on simulated streams that no policy
learned from, and on real frames where there are any. ``all`` meets two presets that it never saw.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from samstar_rl.agents.judging.judge import Judge
from samstar_rl.agents.registry import make_tuner
from samstar_rl.bank.bank import Bank
from samstar_rl.bank.build import build_for_task
from samstar_rl.bank.simulated import SimulatedStreams, simulated_bank
from samstar_rl.fitting.emps import load_labelled, split_names
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared.inputs import ALL
from samstar_rl.simulator.seeds import FIRST_SEEDS
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.objective import Objective
from samstar_rl.tuning.tuner import StaticTuner
from tests.benchmarks.samples import EMPS

LEARNED = ("particles", "overlap", "morphology", "size")
NEVER_SEEN = ("core_shell", "cells")
STREAMS = SimulatedStreams(8, 2, 256, every=30, first_seed=FIRST_SEEDS["test"])
N_REAL = 40

Line = tuple[str, str, float, float]
"""Frames, tuner, mean score, mean F1 at IoU 0.5."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, default=EMPS, help="EMPS' train split")
    asked = parser.parse_args()
    table = Table("frames", "tuner", "score", "F1 at IoU 0.5")
    for where, tuner, score, f1 in _lines(asked.frames):
        print(f"{where}: {tuner} {score:.3f} / {f1:.3f}", flush=True)
        table.add_row(where, tuner, f"{score:.3f}", f"{f1:.3f}")
    Console().print(table)


def _lines(emps: Path) -> Iterator[Line]:
    for name in (*LEARNED, *NEVER_SEEN):
        task = load_task(name)
        bank = simulated_bank(task, STREAMS)
        yield from _judged(name, task, bank, (name, ALL) if name in LEARNED else (ALL,))
    if (emps / "images").is_dir():
        task = load_task("particles")
        with tempfile.TemporaryDirectory() as folder:
            bank = _real_bank(task, emps, Path(folder))
            yield from _judged(f"first {N_REAL} of check", task, bank, ("particles", ALL))


def _judged(where: str, task: Task, bank: Bank, policies: tuple[str, ...]) -> Iterator[Line]:
    judge = Judge(bank, Objective(task))
    for tuner in (StaticTuner(task.static), *(make_tuner(name, task) for name in policies)):
        rows = judge.judge(tuner)
        yield where, tuner.name, float(rows["score"].mean()), float(rows["f1"].mean())


def _real_bank(task: Task, emps: Path, folder: Path) -> Bank:
    names = split_names("check")[:N_REAL]
    streams = [
        [LabelledFrame(Frame(image.astype(np.float32), id=name), labels)]
        for name, (image, labels) in zip(names, load_labelled(emps, names), strict=True)
    ]
    return build_for_task(task, streams, folder, ProposalEngine(load_sam("tiny")))


if __name__ == "__main__":
    main()
