"""Train the embedded SAM: the whole training in one command, resumable at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from samstar_rl._io.cache import cache_folder
from samstar_rl.fitting.emps import load_labelled, split_names
from samstar_rl.fitting.sam_trainer import Trainer, TrainingConfig
from samstar_rl.sam.load import packaged_weights_path
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command

CACHE = cache_folder("pretrain")


def pretrain_sam(
    emps: Annotated[
        Path, typer.Option(help="Folder of EMPS' train split: images/*.png and labels/*.png.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder.")] = CACHE / "run",
    begin_from: Annotated[
        str | None,
        typer.Option(
            help="Weights to begin from: tiny (the embedded ones), a packed .safetensors file, or "
            "the checkpoint.pt of another training. By default random ones."
        ),
    ] = None,
    images: Annotated[int, typer.Option(help="Training images to see in all.")] = 48_000,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 4,
    parts: Annotated[
        int,
        typer.Option(
            min=1,
            help="Parts of a batch that are computed side by side, a thread each: on CPUs as fast, "
            "and far steadier beside other work.",
        ),
    ] = 1,
    prompts: Annotated[int, typer.Option(help="Prompts an image.")] = 8,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the plateau; by default 1e-3, or 4e-4 with --begin-from."
        ),
    ] = None,
    decay_share: Annotated[
        float, typer.Option(help="Last part of the training, in which the rate falls to zero.")
    ] = 0.35,
    simulated: Annotated[int, typer.Option(min=1, help="Simulated images to draw from.")] = 8_000,
    wide: Annotated[
        int, typer.Option(min=1, help="Wide simulated images to cut tiles from.")
    ] = 800,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16 (CUDA, or a CPU that has it).")
    ] = "float32",
    device: options.Device = "cpu",
    workers: Annotated[int, typer.Option(help="Processes that prepare batches.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    seed: Annotated[int, typer.Option(help="Of weights, data and order.")] = 0,
) -> None:
    """Train the embedded SAM on simulated micrographs and EMPS.

    Run it again to resume; --images and --decay-share may change as long as the rate has not begun
    to fall, so that the end can be chosen by the clock. With --begin-from the network starts from
    weights that were trained before, without the state of their optimiser. The run folder holds
    checkpoint.pt, TensorBoard events and validation.jsonl; simulated images are cached beside it.
    `samstar dev calibrate-sam` calibrates the result and packs it.
    """
    torch.set_num_threads(threads)
    # subnormal gradients are slow; threads inherit this if it comes before the first of them
    torch.set_flush_denormal(True)
    if learning_rate is None:
        learning_rate = 1e-3 if begin_from is None else 4e-4
    first = packaged_weights_path() if begin_from == "tiny" else begin_from
    config = TrainingConfig(
        images=images,
        batch_size=batch_size,
        parts=parts,
        prompts=prompts,
        learning_rate=learning_rate,
        decay_share=decay_share,
        simulated_images=simulated,
        wide_images=wide,
        precision=precision,
        seed=seed,
    )
    trainer = Trainer(
        config,
        out,
        pool_folder=CACHE / "pool",
        real=load_labelled(emps, split_names("sam")),
        validation=load_labelled(emps, split_names("tune")[::2]),
        device=device,
        workers=workers,
        begin_from=None if first is None else Path(first),
    )
    trainer.run()
    typer.echo(f"trained on {images} images: {trainer.checkpoint}")


if __name__ == "__main__":
    run_command(pretrain_sam)
