"""Measure where adapting pays, before any training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command

if TYPE_CHECKING:
    from samstar_rl.agents.studies.headroom import Headroom, HeadroomPlan
    from samstar_rl.bank.bank import Bank
    from samstar_rl.frames.frame import LabelledFrame
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.tasks.task import Task

FIRST_SEED = 300_000
"""Seeds of the simulated streams begin here: no policy is trained or judged on them."""
DRIFTS = (0.0, 0.5, 1.0, 2.0)
FRAME_STEP = 20
"""Every twentieth frame of an experiment, as in the benchmark: a few frames show its drift."""


def headroom(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name or TOML file of the task.")],
    frames: options.Frames = None,
    labels: options.Labels = None,
    names: options.Names = None,
    out: options.Out = Path("runs/headroom"),
    drift: Annotated[
        list[float] | None,
        typer.Option("--drift", min=0, help="Repeatable; 0, 0.5, 1 and 2 by default."),
    ] = None,
    streams: Annotated[
        int, typer.Option("--streams", min=2, help="Simulated streams, each another sample.")
    ] = 4,
    n_frames: Annotated[int, typer.Option("--n-frames", min=2, help="Frames of each stream.")] = 24,
    n_settings: Annotated[
        int, typer.Option("--settings", min=2, help="Settings tried on each frame.")
    ] = 300,
    size: Annotated[
        int, typer.Option("--size", min=64, help="Side of simulated frames in px.")
    ] = 256,
    points_per_side: options.PointsPerSide = None,
    pixel_size: options.PixelSize = None,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    seed: options.Seed = 0,
) -> None:
    """Measure where adapting pays, before any training.

    Compares settings frozen after a stream's first frames, the best static choice in hindsight,
    and settings chosen for each frame by the score and by ground truth; says which settings carry
    the gain and how it grows with drift. Real images are one set without drift. OUT gets
    headroom.json, headroom.png and the banks of proposals, from which the command starts again.
    """
    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.studies.headroom import HeadroomPlan
    from samstar_rl.bank.simulated import with_ladder
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.tasks.task import load_task

    loaded = load_task(task)
    if points_per_side:
        loaded = with_ladder(loaded, sorted(set(points_per_side)))
    images = _find_images(frames, labels, names)
    RunFolder(out).record(
        {"task": loaded.to_dict(), "frames": frames, "labels": labels, "names": names,
         "drift": drift, "streams": streams, "n_frames": n_frames, "n_settings": n_settings,
         "size": size, "points_per_side": points_per_side, "pixel_size": pixel_size, "sam": sam,
         "seed": seed}
    )  # fmt: skip
    plan = HeadroomPlan(n_settings=n_settings, n_refined=n_settings, seed=seed)
    engine = ProposalEngine(load_sam(sam, device=device), device=device)
    by_drift: dict[float, Headroom] = {}
    with StageDisplay() as display:
        if images is not None and labels is not None:
            bank = _bank_of_images(loaded, images, labels, pixel_size, out, engine, display)
            measured = _measure(loaded, bank, plan, "images", display, alone=True)
        else:
            drifts = sorted(set(drift or DRIFTS))
            main = min(drifts, key=lambda value: abs(value - 1.0))
            for value in drifts:
                bank = _bank_of_streams(
                    loaded, streams, n_frames, size, value, seed, out, engine, display
                )
                name = f"drift {value:g}"
                by_drift[value] = _measure(loaded, bank, plan, name, display, alone=value == main)
            measured = by_drift[main]
    _write(out, loaded, bank.sam_sha256, measured, by_drift)


def _find_images(
    frames: Path | None, labels: Path | None, names: str | None
) -> Sequence[Path] | None:
    from samstar_rl.scripts.benchmark import find_named

    if frames is None:
        if labels is not None or names is not None:
            raise SamstarError("--labels and --names go with --frames")
        return None
    if labels is None:
        raise SamstarError("give --labels FOLDER with the ground truth of the frames")
    return find_named(frames, names)


def _bank_of_images(
    task: Task,
    images: Sequence[Path],
    labels: Path,
    pixel_size_nm: float | None,
    out: Path,
    engine: ProposalEngine,
    display: StageDisplay,
) -> Bank:
    from samstar_rl.bank.labelled import read_labelled

    streams = read_labelled(images, labels, pixel_size_nm=pixel_size_nm)
    return _build(task, streams, len(images), out / "banks" / "images", "images", engine, display)


def _bank_of_streams(
    task: Task,
    n_streams: int,
    n_frames: int,
    size_px: int,
    drift: float,
    seed: int,
    out: Path,
    engine: ProposalEngine,
    display: StageDisplay,
) -> Bank:
    from samstar_rl.bank.labelled import simulated_stream
    from samstar_rl.bank.simulated import preset_of

    first = FIRST_SEED + 1000 * seed
    streams = (
        simulated_stream(
            preset_of(task), seed=first + number, n_frames=n_frames, every=FRAME_STEP,
            size_px=size_px, drift=drift,
        )
        for number in range(n_streams)
    )  # fmt: skip
    folder = out / "banks" / f"drift-{drift:g}"
    return _build(task, streams, n_streams * n_frames, folder, f"drift {drift:g}", engine, display)


def _build(
    task: Task,
    streams: Iterable[Iterable[LabelledFrame]],
    n_frames: int,
    folder: Path,
    name: str,
    engine: ProposalEngine,
    display: StageDisplay,
) -> Bank:
    """Let SAM compute the proposals, or finish what was begun."""
    from samstar_rl.bank.bank import build_bank
    from samstar_rl.bank.simulated import open_whole
    from samstar_rl.segmentation.proposals import Floor

    stage = f"{name}: SAM proposes masks"
    display.announce(stage, 0.0)
    build_bank(
        streams,
        folder,
        engine,
        task.space.prompts(),
        floor=Floor.under(task.space),
        on_progress=lambda progress: display.announce(stage, progress.n_frames / n_frames),
    )
    return open_whole(folder)


def _measure(
    task: Task,
    bank: Bank,
    plan: HeadroomPlan,
    name: str,
    display: StageDisplay,
    *,
    alone: bool,
) -> Headroom:
    from samstar_rl.agents.studies.headroom import measure_headroom
    from samstar_rl.tuning.tuner import Objective

    return measure_headroom(
        bank,
        Objective(task),
        plan,
        is_stream=any(len(stream) > 1 for stream in bank.streams),
        each_setting=alone,
        on_progress=lambda share: display.announce(f"{name}: choices compared", share),
    )


def _write(
    folder: Path, task: Task, sam_sha256: str | None, measured: Headroom,
    by_drift: dict[float, Headroom],
) -> None:  # fmt: skip
    """Write figures and numbers, print the table and the verdict."""
    from samstar_rl._io import atomic
    from samstar_rl.agents.studies.headroom_report import draw_headroom, verdict

    sentences = verdict(measured)
    content: dict[str, Any] = {"task": task.name, "sam_sha256": sam_sha256, "verdict": sentences}
    content |= measured.to_dict()
    content["by_drift"] = {f"{drift:g}": one.to_dict() for drift, one in by_drift.items()}
    atomic.write_json(folder / "headroom.json", content)
    with atomic.replacing(folder / "headroom.png") as temporary:
        draw_headroom(measured, by_drift).savefig(temporary, dpi=110)
    _print(task, measured, by_drift)
    for sentence in sentences:
        typer.echo(sentence)
    typer.echo(f"wrote {folder / 'headroom.json'} and {folder / 'headroom.png'}")


def _print(task: Task, measured: Headroom, by_drift: dict[float, Headroom]) -> None:
    from rich.table import Table

    from samstar_rl.scripts._shared.display import console

    levels = Table("choice", "F1 at IoU 0.5 [95 %]", "score [95 %]", title=f"Task '{task.name}'")
    for name, f1 in measured.levels.items():
        levels.add_row(name, str(f1), str(measured.scores[name]))
    console.print(levels)
    columns = {f"drift {drift:g}": one for drift, one in by_drift.items()} or {"[95 %]": measured}
    gains = Table("gain in F1", *columns)
    for name in measured.gains:
        gains.add_row(name, *(str(column.gains[name]) for column in columns.values()))
    console.print(gains)
    alone = Table("setting that adapts alone", "gain by score [95 %]", "gain by truth [95 %]")
    for name, (by_score, by_truth) in measured.settings.items():
        alone.add_row(name, str(by_score), str(by_truth))
    console.print(alone)


if __name__ == "__main__":
    run_command(headroom)
