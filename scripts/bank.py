"""Build banks of frames with their proposals, and say what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from samstar_rl._io.workers import open_client, spread
from samstar_rl.bank.bank import Bank, Progress, build_bank, iterate_stream, summarise
from samstar_rl.bank.shards import PartPlan, join_parts, number_frames
from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.sam.engine import Floor, ProposalEngine
from samstar_rl.sam.load import load_sam, weights_sha256
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import make_progress, reporting_errors
from samstar_rl.scripts._shared.preparation import located_sam
from samstar_rl.settings import PromptSettings
from samstar_rl.sources.readers.files import is_image_file, iterate_file, list_image_files
from samstar_rl.sources.registry import open_source
from samstar_rl.sources.simulated import SimulatedSource
from samstar_rl.tasks.task import load_task

if TYPE_CHECKING:
    from distributed import Client

app = typer.Typer(
    help="Build banks of frames and proposals, and say what is in them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
@reporting_errors
def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="One stream each: a folder of images, a stack, or a simulated stream such as "
            "'sim:particles?seed=1&length=64'.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="BANK", help="The bank's folder.")],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|FILE.toml",
            help="Compute all prompt settings that the task's space can reach.",
        ),
    ] = None,
    points_per_side: Annotated[
        list[int] | None,
        typer.Option("--points-per-side", help="Without a task; may be given several times."),
    ] = None,
    crop_layers: Annotated[
        int, typer.Option("--crop-layers", min=0, help="Without a task: crop_n_layers.")
    ] = 0,
    min_iou: Annotated[
        float,
        typer.Option("--min-iou", min=0, max=1, help="Leave out masks of less predicted IoU."),
    ] = 0.0,
    min_stability: Annotated[
        float,
        typer.Option("--min-stability", min=0, max=1, help="Leave out masks of less stability."),
    ] = 0.0,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="FOLDER", help="Ground truth of a folder's images, by file name."
        ),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option("--max-frames", min=1, help="Of each source.")
    ] = None,
    pixel_size: options.PixelSize = None,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    precision: options.Precision = "float32",
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Compute the proposals of many frames once, so that agents train without SAM.

    Run it again after an interruption, even a kill: it goes on where it stopped.
    """
    weights_sha256(sam)  # what must be downloaded is there before workers ask for it
    prompts = _choose_prompts(task, points_per_side, crop_layers)
    floor = Floor(min_iou, min_stability)

    def open_streams() -> list[Iterable[Frame | LabelledFrame]]:
        return [_open(name, labels, pixel_size, max_frames) for name in sources]

    with open_client(workers, scheduler) as client:
        if client is not None:
            plan = PartPlan(
                bank=out.absolute(),
                sam=located_sam(sam),
                device=device,
                precision=precision,
                prompts=tuple(prompts),
                floor=floor,
            )
            _compute_parts(client, plan, open_streams(), _count(sources, max_frames))
            join_parts(plan.folder, out)
            device = "cpu"  # SAM has done its work
    engine = ProposalEngine(load_sam(sam), device=device, precision=precision)
    streams = open_streams()
    with make_progress() as progress:
        bar = progress.add_task("frames", total=_count(sources, max_frames))

        def advance(state: Progress) -> None:
            progress.update(bar, completed=state.n_frames)

        bank = build_bank(streams, out, engine, prompts, floor=floor, on_progress=advance)
    _print(bank)


@app.command()
@reporting_errors
def info(
    bank: Annotated[Path, typer.Argument(metavar="BANK", help="The bank's folder.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and compare its checksum.")
    ] = False,
) -> None:
    """Say what is in a bank."""
    opened = Bank(bank)
    if verify:
        for index in range(len(opened)):
            opened.frame(index)
            if opened.frame_truth_exists(index):
                opened.truth(index)
    _print(opened)
    if verify:
        typer.echo("All checksums fit.")


def _compute_parts(
    client: Client,
    plan: PartPlan,
    streams: Iterable[Iterable[Frame | LabelledFrame]],
    n_frames: int | None,
) -> None:
    """Let the workers compute; what is written below then finds every frame finished."""
    with make_progress() as progress:
        missing = (item for item in number_frames(streams) if plan.missing(item[0]))
        done = spread(client, plan.compute, missing)
        for _ in progress.track(done, total=n_frames, description="frames, by workers"):
            pass


def _choose_prompts(
    task: str | None, points_per_side: list[int] | None, crop_layers: int
) -> Sequence[PromptSettings]:
    if task is not None and not points_per_side and not crop_layers:
        return load_task(task).space.prompts()
    if task is not None:
        raise SamstarError("give either --task or --points-per-side and --crop-layers")
    return [PromptSettings(side, crop_layers) for side in points_per_side or [32]]


def _open(
    name: str, labels: Path | None, pixel_size_nm: float | None, max_frames: int | None
) -> Iterable[Frame | LabelledFrame]:
    """The frames of a source, with truth where there is some. Nothing is read before iterating."""
    if is_image_file(Path(name)):  # a Zarr store is a folder, too
        return islice(iterate_file(name, pixel_size_nm=pixel_size_nm), max_frames)
    if Path(name).is_dir():
        return islice(_iterate_folder(Path(name), labels, pixel_size_nm), max_frames)
    source = open_source(name, pixel_size_nm=pixel_size_nm)
    if isinstance(source, SimulatedSource):
        if source.stream.length is None and max_frames is None:
            raise SamstarError(
                f"{name} never ends: give a length ({name}?length=64) or --max-frames"
            )
        return islice(iterate_stream(source.stream), max_frames)
    return islice(iterate_stream(source), max_frames)


def _iterate_folder(
    folder: Path, labels: Path | None, pixel_size_nm: float | None
) -> Iterator[Frame | LabelledFrame]:
    for path in list_image_files(folder):
        for frame in iterate_file(path, pixel_size_nm=pixel_size_nm):
            yield frame if labels is None else LabelledFrame(frame, _read_labels(labels, path))


def _read_labels(labels: Path, image: Path) -> np.ndarray:
    """The label image with the same name as the image, whatever its suffix."""
    found = sorted(labels.glob(f"{image.stem}.*"))
    if len(found) != 1:
        raise SamstarError(
            f"expected one file {image.stem}.* in {labels} with the ground truth of {image.name}, "
            f"found {len(found)}"
        )
    return np.rint(next(iterate_file(found[0])).image).astype(np.int32)


def _count(sources: list[str], max_frames: int | None) -> int | None:
    """How many frames to expect, None where a source does not say."""
    counts: list[int | None] = []
    for name in sources:
        if is_image_file(Path(name)):
            counts.append(None)
        elif Path(name).is_dir():
            counts.append(len(list_image_files(name)))
        else:
            stream = getattr(open_source(name), "stream", None)
            counts.append(getattr(stream, "length", None))
    limit = float("inf") if max_frames is None else max_frames
    if any(count is None and max_frames is None for count in counts):
        return None
    return int(sum(limit if count is None else min(count, limit) for count in counts))


def _print(bank: Bank) -> None:
    table = Table(title=str(bank.path), show_header=False)
    for name, text in summarise(bank).items():
        table.add_row(name, text)
    Console().print(table)


if __name__ == "__main__":
    app()
