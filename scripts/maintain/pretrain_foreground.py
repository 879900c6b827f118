"""Train the network that estimates foregrounds: one command, resumable at any time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from samstar_rl._io.cache import cache_folder
from samstar_rl.fitting.emps import Labelled, load_labelled, split_names
from samstar_rl.fitting.foreground.evaluation import (
    LARGEST_RELATIVE_ERROR,
    ForegroundResult,
    judge,
    judge_bodies,
    judging_frames,
    touching_frames,
)
from samstar_rl.fitting.foreground.samples import PARTICLE_PRESETS
from samstar_rl.fitting.foreground.training import ForegroundTrainer, ForegroundTraining, pack
from samstar_rl.foreground.network import (
    MAPS,
    ForegroundNetwork,
    load_network,
    packaged_weights_path,
)
from samstar_rl.scripts._shared.command import make_progress, run_command

CACHE = cache_folder("foreground")
JUDGED_SEEDS = 31
JUDGED_SIZE_PX = 512


def pretrain_foreground(
    emps: Annotated[
        Path, typer.Option(help="Folder of EMPS' train split: images/*.png and labels/*.png.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder.")] = CACHE / "run",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps in all.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="In place of --steps: minutes of training in all.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows a step.")] = 8,
    begin_from: Annotated[
        Path | None,
        typer.Option(help="Packed weights to begin from. By default random ones."),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Highest learning rate; by default 3e-3, or 1e-3 with --begin-from."),
    ] = None,
    simulated: Annotated[int, typer.Option(min=1, help="Simulated frames to learn from.")] = 800,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16 (a CPU that has it).")
    ] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, data and order.")] = 0,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights to write (or evaluate); by default the packaged ones."),
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Train nothing: judge the weights and end.")
    ] = False,
) -> None:
    """Train the network that estimates which pixels belong to particles.

    Learns from EMPS' `sam` frames and simulated ones, which are cached. Run it again to resume. The
    run folder holds checkpoint.pt and losses.jsonl. --evaluate judges on EMPS' `tune` frames and
    on simulated ones of seeds that no training sees.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.set_flush_denormal(True)  # subnormal gradients are slow
    weights = weights or packaged_weights_path()
    if not evaluate:
        config = ForegroundTraining(
            steps=steps,
            minutes=minutes,
            batch_size=batch_size,
            learning_rate=learning_rate or (3e-3 if begin_from is None else 1e-3),
            simulated_frames=simulated,
            precision=precision,
            seed=seed,
        )
        real = load_labelled(emps, split_names("sam"))
        trainer = ForegroundTrainer(
            config,
            out,
            pool_folder=CACHE / "pool",
            real=real,
            workers=workers,
            begin_from=begin_from,
        )
        with make_progress() as bar:
            frames = range(config.simulated_frames)
            for index in bar.track(frames, description="simulated frames"):
                _ = trainer.batches.simulated[index]  # drawn and kept
        pack(trainer.run(), weights)
        typer.echo(f"trained {trainer.step} steps; weights: {weights}")
        return
    network = load_network(weights)
    Console().print(evaluation_table(network, emps))
    if network.maps == MAPS:
        Console().print(body_table(network, emps))


def body_table(network: ForegroundNetwork, emps: Path) -> Table:
    """Judge the diameters of bodies on frames that the network was not trained on."""
    table = Table(
        title="Diameters of particles",
        caption="Share of particles whose diameter is right within 25 %, and of those that touch "
        "another; median relative error of a frame's median diameter, and the share of frames in "
        "which it is below 25 %; median |ln(found + 1) - ln(true + 1)| of counts.",
    )
    table.add_column("frames", no_wrap=True)
    for column in ("n", "right", "right, touching", "typical error", "below 25 %", "count error"):
        table.add_column(column, justify="right")
    touching = touching_frames(seeds=range(JUDGED_SEEDS), size=JUDGED_SIZE_PX)
    for name, frames in (
        ("EMPS tune", load_labelled(emps, split_names("tune"))),
        ("EMPS check", load_labelled(emps, split_names("check"))),
        ("simulated, touching", touching),
        ("simulated, touching, 1024 px", touching_frames(seeds=range(12), size=1024)),
    ):
        results = [judge_bodies(network, image, labels) for image, labels in frames]
        typical = np.array([result.typical_error for result in results])
        cells = [
            np.nanmean([result.within_quarter for result in results]),
            np.nanmean([result.touching_within_quarter for result in results]),
            np.median(typical),
            np.mean(typical <= LARGEST_RELATIVE_ERROR),
            np.median([result.count_error for result in results]),
        ]
        table.add_row(name, str(len(results)), *(f"{cell:.3f}" for cell in cells))
    return table


def evaluation_table(network: ForegroundNetwork, emps: Path) -> Table:
    """Judge a network and `estimate_foreground` beside it on frames that it was not trained on."""
    table = Table(
        title="Foregrounds against ground truth",
        caption="Each cell: the network by itself / estimate_foreground. Dice, its mean over the "
        "worst tenth of the frames, and the median |ln(found + 1) - ln(true + 1)| of counts.",
    )
    table.add_column("frames", no_wrap=True)
    for column in ("n", "Dice", "worst tenth", "count error"):
        table.add_column(column, justify="right", no_wrap=True)
    with make_progress() as bar:
        task = bar.add_task("judging", total=70 + JUDGED_SEEDS * len(PARTICLE_PRESETS))

        def judged(frames: Iterable[Labelled]) -> list[ForegroundResult]:
            results = []
            for image, labels in frames:
                results.append(judge(network, image, labels))
                bar.advance(task)
            return results

        table.add_row("EMPS tune", *_cells(judged(load_labelled(emps, split_names("tune")))))
        for preset in PARTICLE_PRESETS:
            frames = judging_frames(preset, seeds=range(JUDGED_SEEDS), size=JUDGED_SIZE_PX)
            table.add_row(f"simulated, {preset}", *_cells(judged(frames)))
    return table


def _cells(results: list[ForegroundResult]) -> list[str]:
    dices = [[r.network_dice for r in results], [r.estimate_dice for r in results]]
    errors = [[r.network_count_error for r in results], [r.estimate_count_error for r in results]]
    measures = ((np.mean, dices), (_worst_tenth, dices), (np.median, errors))
    cells = [" / ".join(f"{measure(v):.3f}" for v in values) for measure, values in measures]
    return [str(len(results)), *cells]


def _worst_tenth(values: list[float]) -> float:
    return float(np.sort(values)[: max(1, len(values) // 10)].mean())


if __name__ == "__main__":
    run_command(pretrain_foreground)
