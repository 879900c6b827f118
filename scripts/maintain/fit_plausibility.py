"""Fit the network of the score's term `plausibility`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from safetensors.numpy import save_file

from samstar_rl._io import atomic
from samstar_rl.bank.bank import Bank
from samstar_rl.errors import SamstarError
from samstar_rl.evidence.likeness import WEIGHTS
from samstar_rl.fitting.plausibility import EPOCHS, MaskSamples, fit, sample_masks
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import make_progress, run_command
from samstar_rl.tasks.task import load_task


def fit_plausibility(
    banks: Annotated[
        list[str],
        typer.Argument(
            metavar="BANK:TASK...",
            help="Labelled banks, as `samstar validate` leaves them, and their tasks.",
        ),
    ],
    n_settings: Annotated[
        int, typer.Option("--settings", min=1, help="Settings drawn for each frame.")
    ] = 200,
    every: Annotated[
        int, typer.Option("--every", min=1, help="Takes every so many-th frame of a bank.")
    ] = 1,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The network's file.")
    ] = Path(WEIGHTS),
    seed: options.Seed = 0,
) -> None:
    """Fit the network of the score's term `plausibility`.

    Writes OUT; the package holds it as samstar_rl/evidence/plausibility.safetensors. All scores
    change with it.
    """
    samples: list[MaskSamples] = []
    with make_progress() as progress:
        for spec in banks:
            path, _, task = spec.rpartition(":")
            if not path:
                raise SamstarError(f"expected BANK:TASK, got {spec!r}")
            bank = Bank(Path(path))
            found = sample_masks(
                bank, load_task(task), n_settings=n_settings, seed=seed, every=every
            )
            samples += progress.track(found, total=-(-len(bank) // every), description=spec)
        *_, fitted = progress.track(fit(samples, seed=seed), total=EPOCHS, description="epochs")
    arrays = {name: np.ascontiguousarray(a, np.float32) for name, a in vars(fitted).items()}
    with atomic.replacing(out) as temporary:
        save_file(arrays, temporary)
    n_masks = sum(len(sample.iou) for sample in samples)
    typer.echo(f"wrote {out}: fitted to {n_masks} masks of {len(samples)} frames")


if __name__ == "__main__":
    run_command(fit_plausibility)
