"""Fit the weights of the score's term `plausibility`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samstar_rl.bank import Bank
from samstar_rl.scripts import options
from samstar_rl.scripts.command import make_progress, run_command
from samstar_rl.task import load_task
from samstar_rl.training.plausibility import MaskSamples, fit, sample_masks


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
    seed: options.Seed = 0,
) -> None:
    """Fit the weights of the score's term `plausibility`.

    Prints them as samstar_rl/rewards/plausibility.py holds them. For developers: scores change
    with them.
    """
    samples: list[MaskSamples] = []
    with make_progress() as progress:
        for spec in banks:
            path, _, task = spec.rpartition(":")
            if not path:
                raise ValueError(f"expected BANK:TASK, got {spec!r}")
            bank = Bank(Path(path))
            found = sample_masks(bank, load_task(task), n_settings=n_settings, seed=seed)
            samples += progress.track(found, total=len(bank), description=spec)
    fitted = fit(samples)
    lines = [f'    "{name}": ({m:.4g}, {s:.4g}, {w:.4g}),' for name, (m, s, w) in
             fitted.weights.items()]  # fmt: skip
    typer.echo("\n".join(["WEIGHTS = {", *lines, "}", f"BIAS = {fitted.bias:.4g}"]))


if __name__ == "__main__":
    run_command(fit_plausibility)
