"""Fit the network of the score's term `plausibility`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import Progress
from safetensors.torch import save_file

from samstar_rl._io import atomic
from samstar_rl.evidence.plausibility import WEIGHTS, load_likeness
from samstar_rl.fitting.emps import load_labelled, split_names
from samstar_rl.fitting.plausibility.fit import EPOCHS, Fitted, fit, logits_of
from samstar_rl.fitting.plausibility.mask_samples import (
    MaskSamples,
    fingerprint,
    sample_empty,
    sample_looks,
    sample_made,
    samples_on_disk,
    simulated_frames,
    wide_frames,
)
from samstar_rl.fitting.plausibility.reliability import draw_reliability, measure_reliability
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import make_progress, run_command

CACHE = Path.home() / ".cache" / "samstar_rl" / "plausibility"
SIMULATED_PX = 448
WIDE_PX = 768
SIMULATED_SEED = 31
CHECK_EVERY = 3
EMPTY_FRAMES = 60


def fit_plausibility(
    emps: Annotated[Path, typer.Option(help="Folder of the EMPS frames, images/ beside labels/.")],
    sam: Annotated[
        list[str] | None,
        typer.Option(
            help="tiny (the default) or a checkpoint; of several each sees a frame in turn."
        ),
    ] = None,
    per_family: Annotated[int, typer.Option(min=0, help="Simulated frames of each family.")] = 2,
    wide: Annotated[
        int, typer.Option(min=0, help="Simulated frames of many small particles that touch.")
    ] = 24,
    every: Annotated[int, typer.Option(min=1, help="Takes every so many-th frame.")] = 1,
    epochs: Annotated[int, typer.Option(min=1)] = EPOCHS,
    begin_from: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights to go on from.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Reliability on frames that nothing was fitted to."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="That torch may use.")] = 1,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The network's file.")
    ] = Path(WEIGHTS),
    seed: options.Seed = 0,
) -> None:
    """Fit the network of the score's term `plausibility`.

    The masks are of EMPS' parts `tune` and `sam` and of all families of the simulator: what random
    settings keep of SAM's proposals at zooms 1 to 4; and true masks, wrong ones and level sets of
    empty frames. They are kept in the user's cache. Of all epochs that one is written to OUT
    which is best on frames kept out; the package holds it as
    samstar_rl/evidence/plausibility.safetensors. All scores change with it.
    """
    torch.set_num_threads(threads)
    engines = [ProposalEngine(load_sam(model)) for model in sam or ["tiny"]]
    begun = None if begin_from is None else load_likeness(begin_from).network
    simulated = simulated_frames(per_family, size_px=SIMULATED_PX, seed=SIMULATED_SEED)
    with make_progress() as progress:
        tune = list(_emps(emps, "tune"))[::every]
        samples = _looks_and_made(engines, tune, progress, "tune")
        drawn = [*simulated, *wide_frames(wide, size_px=WIDE_PX, seed=SIMULATED_SEED)][::every]
        samples += _looks_and_made(engines, drawn, progress, "simulated")
        # SAM's masks are better on the frames that trained it, but they are real ones
        samples += _looks_and_made(engines, list(_emps(emps, "sam"))[::every], progress, "sam")
        numbers = progress.track(range(0, EMPTY_FRAMES, every), description="empty frames")
        samples += [sample_empty(number) for number in numbers]
        samples = [samples[k] for k in np.random.default_rng(seed).permutation(len(samples))]
        fits = fit(samples, seed=seed, begin_from=begun, epochs=epochs)
        goes: list[Fitted] = []
        for fitted in progress.track(fits, total=epochs, description="epochs"):
            progress.console.print(f"cross-entropy on frames kept out: {fitted.loss:.4f}")
            goes.append(fitted)
        fitted = min(goes, key=lambda one: one.loss)
    with atomic.replacing(out) as temporary:
        save_file(fitted.likeness.network.state_dict(), temporary)
    n_masks = sum(len(sample.iou) for sample in samples)
    typer.echo(f"wrote {out}: fitted to {n_masks} masks")
    if picture is not None:
        with make_progress() as progress:
            check = list(_emps(emps, "check", CHECK_EVERY))[::every]
            judged = MaskSamples.joined(_looks(engines[:1], check, progress, "check"))
        groups = measure_reliability(logits_of(fitted.likeness.network, judged), judged)
        atomic.write_figure(picture, draw_reliability(groups), dpi=90)
        for name, group in groups.items():
            typer.echo(f"{name}: plausibility is off by {group.error:.3f} in the mean")


def _looks_and_made(
    engines: Sequence[ProposalEngine],
    frames: Sequence[LabelledFrame],
    progress: Progress,
    description: str,
) -> list[MaskSamples]:
    """All masks of each frame, so that a frame is kept out as a whole."""
    looks = _looks(engines, frames, progress, description)
    made = _made(frames, progress, f"made masks of {description}")
    return [MaskSamples.joined(both) for both in zip(looks, made, strict=True)]


def _looks(
    engines: Sequence[ProposalEngine],
    frames: Sequence[LabelledFrame],
    progress: Progress,
    description: str,
) -> list[MaskSamples]:
    """What the SAMs see, each frame being looked at by one of them in turn."""
    found = []
    for number, labelled in enumerate(progress.track(frames, description=description)):
        engine = engines[number % len(engines)]
        path = CACHE / str(engine.sha256)[:16] / f"{fingerprint(labelled)}.npz"
        found.append(samples_on_disk(path, partial(sample_looks, engine, labelled, number)))
    return found


def _made(
    frames: Sequence[LabelledFrame], progress: Progress, description: str
) -> list[MaskSamples]:
    found = []
    for number, labelled in enumerate(progress.track(frames, description=description)):
        path = CACHE / "made" / f"{fingerprint(labelled)}.npz"
        found.append(samples_on_disk(path, partial(sample_made, labelled, number)))
    return found


def _emps(folder: Path, part: str, every: int = 1) -> Iterator[LabelledFrame]:
    for name in split_names(part)[::every]:
        ((image, labels),) = load_labelled(folder, [name])
        yield LabelledFrame(Frame(image=image.astype(np.float32), id=name), labels)


if __name__ == "__main__":
    run_command(fit_plausibility)
