"""Test whether a task's score stands in for ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from samstar_rl._io import atomic
from samstar_rl.bank.bank import Bank, Progress, build_bank
from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import make_progress, run_command
from samstar_rl.scripts.maintain.pictures.validity import draw_worst
from samstar_rl.settings import Settings
from samstar_rl.simulator import SimulatedStream
from samstar_rl.sources.readers.files import iterate_file, list_image_files
from samstar_rl.tasks.from_simulation import task_for_stream
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.truth.validity import FrameValidity, draw_settings, validate_frame, validity_figures

#: Frames of simulated streams: which ones, counted from the start, so that the drift shows.
STREAM_FRAMES = (0, 40, 120)
#: Seeds of the streams begin here: none of them is ever trained on.
FIRST_SEED = 700_000
EMPS_PREFIX = "emps:"


def validate(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name or TOML file of the task.")],
    frames: options.Frames = None,
    labels: options.Labels = None,
    names: options.Names = None,
    out: options.Out = Path("validity"),
    n_frames: Annotated[int, typer.Option("--n-frames", min=1, help="Frames at most.")] = 24,
    n_settings: Annotated[
        int, typer.Option("--settings", min=2, help="Settings drawn for each frame.")
    ] = 200,
    size: Annotated[
        int, typer.Option("--size", min=64, help="Side of simulated frames in px.")
    ] = 512,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    seed: options.Seed = 0,
) -> None:
    """Test whether a task's score stands in for ground truth.

    Draws settings for each frame and compares score and F1 at IoU 0.5: Spearman's rank agreement,
    and the F1 of the settings that the score likes best over the best F1 there is (regret). Then
    sees to it that the truth scores above segmentations that are wrong on purpose. Simulated
    samples are met with the targets that an operator would write for them, up to 20 % off. OUT gets
    validity.json, validity.png, worst.png (the frames of lowest agreement), and the bank of
    proposals, from which the command starts again.
    """
    loaded = load_task(task)
    streams = _streams(loaded, frames, labels, names, n_frames, size, seed)
    bank = _bank(loaded, streams, out / "bank", sam, device, n_frames)
    tasks = [loaded] * len(bank)
    if frames is None:
        tasks = [
            task_for_stream(loaded, stream) for stream, _ in _places(loaded, n_frames, size, seed)
        ]
    settings = draw_settings(loaded.space, n_settings, seed)
    validities = validate_bank(tasks, bank, settings, seed=seed)
    figures = {"task": loaded.name, "sam_sha256": bank.sam_sha256, **validity_figures(validities)}
    atomic.write_json(out / "validity.json", figures)
    with atomic.replacing(out / "validity.png") as temporary:
        draw_validity(validities).savefig(temporary, dpi=90)
    with atomic.replacing(out / "worst.png") as temporary:
        draw_worst(validities, tasks, bank, settings).savefig(
            temporary, dpi=90, bbox_inches="tight"
        )
    _print(validities, figures)
    typer.echo(f"wrote validity.json, validity.png and worst.png into {out}")


def validate_bank(
    tasks: Sequence[Task], bank: Bank, settings: Sequence[Settings], *, seed: int
) -> list[FrameValidity]:
    """Compare score and truth on all frames of a bank, each by its own task.

    The tasks differ in their targets alone: all frames see the same settings.
    """
    validities = []
    with make_progress() as progress:
        for index in progress.track(range(len(bank)), description="frames"):
            labelled = LabelledFrame(bank.frame(index), bank.truth(index))
            validities.append(
                validate_frame(
                    tasks[index],
                    labelled,
                    lambda prompt, index=index: bank.proposals(index, prompt),  # type: ignore[misc]
                    settings,
                    seed + index,
                )
            )
    return validities


def draw_validity(validities: Sequence[FrameValidity]) -> Figure:
    """Score against F1, a panel a frame, the worst first; crosses are adversaries' scores."""
    ordered = sorted(validities, key=lambda validity: validity.spearman)
    columns = min(6, len(ordered))
    rows = -(-len(ordered) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.6 * rows + 0.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for panel, validity in zip(panels, ordered, strict=False):
        panel.scatter(validity.f1s, validity.scores, s=6, alpha=0.5, linewidths=0)
        panel.axhline(validity.truth_score.total, color="tab:green", linewidth=1)
        for score in validity.adversary_scores.values():
            panel.axhline(score.total, color="tab:red", linewidth=0.4, alpha=0.6)
        title = f"{validity.frame_id}\nrho {validity.spearman:.2f}, regret {validity.regret:.2f}"
        panel.set_title(title, fontsize=8)
    for panel in panels[len(ordered) :]:
        panel.set_visible(False)
    figure.supxlabel("F1 at IoU 0.5")
    figure.supylabel("score (green: truth, red: adversaries)")
    return figure


def _streams(
    task: Task,
    frames: Path | None,
    labels: Path | None,
    names: str | None,
    n_frames: int,
    size: int,
    seed: int,
) -> list[Iterable[LabelledFrame]]:
    if frames is None:
        if labels is not None or names is not None:
            raise SamstarError("--labels and --names go with --frames")
        return [_simulated(task, n_frames, size, seed)]
    if labels is None:
        raise SamstarError("give --labels FOLDER with the ground truth of the frames")
    paths = list_image_files(frames)
    if names is not None:
        wanted = set(read_names(names))
        paths = [path for path in paths if path.stem in wanted]
    if not paths:
        raise SamstarError(f"no image in {frames} is asked for")
    return [_read(paths[:n_frames], labels)]


def read_names(names: str) -> list[str]:
    """Names of images: ``emps:PART`` is a part of the EMPS split, else a file, a name a line."""
    if names.startswith(EMPS_PREFIX):
        from samstar_rl.fitting.emps import split_names

        part = names.removeprefix(EMPS_PREFIX)
        if part not in ("sam", "tune", "check"):
            raise SamstarError(f"the EMPS split has the parts sam, tune and check, got {part!r}")
        return split_names(part)
    return Path(names).read_text("utf-8").split()


def _simulated(task: Task, n_frames: int, size: int, seed: int) -> Iterator[LabelledFrame]:
    for stream, place in _places(task, n_frames, size, seed):
        with stream:
            yield stream.frame_at(place)


def _places(
    task: Task, n_frames: int, size: int, seed: int
) -> Iterator[tuple[SimulatedStream, int]]:
    """The stream of each frame, and the frame's place in it."""
    for index in range(n_frames):
        number, place = divmod(index, len(STREAM_FRAMES))
        first = FIRST_SEED + 1000 * seed
        yield SimulatedStream(task.name, seed=first + number, size=size), STREAM_FRAMES[place]


def _read(paths: Sequence[Path], labels: Path) -> Iterator[LabelledFrame]:
    for path in paths:
        found = sorted(labels.glob(f"{path.stem}.*"))
        if len(found) != 1:
            raise SamstarError(f"expected one file {path.stem}.* in {labels}, found {len(found)}")
        truth = np.rint(next(iterate_file(found[0])).image).astype(np.int32)
        yield LabelledFrame(next(iterate_file(path)), truth)


def _bank(
    task: Task,
    streams: Iterable[Iterable[Frame | LabelledFrame]],
    path: Path,
    sam: str,
    device: str,
    n_frames: int,
) -> Bank:
    engine = ProposalEngine(load_sam(sam, device=device), device=device)
    with make_progress() as progress:
        bar = progress.add_task("proposals", total=n_frames)

        def advance(state: Progress) -> None:
            progress.update(bar, completed=state.n_frames)

        return build_bank(streams, path, engine, task.space.prompts(), on_progress=advance)


def _print(validities: Sequence[FrameValidity], figures: dict[str, Any]) -> None:
    table = Table("frame", "rho", "rho top", "F1 chosen", "F1 best", "regret", "above the truth")
    for validity in sorted(validities, key=lambda validity: validity.spearman):
        table.add_row(
            validity.frame_id,
            f"{validity.spearman:.3f}",
            f"{validity.spearman_top:.3f}",
            f"{validity.chosen_f1:.3f}",
            f"{validity.f1s.max():.3f}",
            f"{validity.regret:.3f}",
            ", ".join(validity.better_than_truth) or "-",
        )
    table.add_section()
    table.add_row(
        "mean",
        f"{figures['spearman']['mean']:.3f}",
        f"{figures['spearman_top']['mean']:.3f}",
        f"{figures['regret']['chosen_f1']:.3f}",
        f"{figures['regret']['best_f1']:.3f}",
        f"{figures['regret']['mean']:.3f}",
        f"none on {figures['adversaries']['share_below_truth']:.0%} of frames",
    )
    Console().print(table)


if __name__ == "__main__":
    run_command(validate)
