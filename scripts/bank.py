"""Build banks of frames with their proposals, and say what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import make_progress, reporting_errors

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.frames.frame import Frame, LabelledFrame

app = typer.Typer(
    help=__doc__,
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
    if task is not None and (points_per_side or crop_layers):
        raise SamstarError("give either --task or --points-per-side and --crop-layers")

    from samstar_rl._io.workers import open_client
    from samstar_rl.bank.build import build_bank
    from samstar_rl.bank.from_sources import count_frames, open_frames
    from samstar_rl.bank.shards import PartPlan, compute_by_workers
    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.sam.load import load_sam, weights_sha256
    from samstar_rl.scripts._shared.inputs import located_sam
    from samstar_rl.segmentation.proposals import Floor
    from samstar_rl.settings import PromptSettings
    from samstar_rl.tasks.task import load_task

    weights_sha256(sam)  # what must be downloaded is there before workers ask for it
    if task is not None:
        prompts = list(load_task(task).space.prompts())
    else:
        prompts = [PromptSettings(side, crop_layers) for side in points_per_side or [32]]
    floor = Floor(min_iou, min_stability)

    def open_streams() -> list[Iterable[Frame | LabelledFrame]]:
        opened = partial(open_frames, labels=labels, pixel_size_nm=pixel_size, at_most=max_frames)
        return [opened(name) for name in sources]

    total = count_frames(sources, max_frames)
    with make_progress() as progress, open_client(workers, scheduler) as client:
        if client is not None:
            plan = PartPlan(
                bank=out.absolute(),
                sam=located_sam(sam),
                device=device,
                precision=precision,
                prompts=tuple(prompts),
                floor=floor,
            )
            by_workers = progress.add_task("frames, by workers", total=total)
            compute_by_workers(
                client, plan, open_streams(),
                lambda count: progress.update(by_workers, completed=count),
            )  # fmt: skip
            device = "cpu"  # SAM has done its work
        engine = ProposalEngine(load_sam(sam, device=device), device=device, precision=precision)
        bar = progress.add_task("frames", total=total)
        bank = build_bank(
            open_streams(), out, engine, prompts, floor=floor,
            on_progress=lambda state: progress.update(bar, completed=state.n_frames),
        )  # fmt: skip
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
    from samstar_rl.bank.bank import Bank

    opened = Bank(bank)
    if verify:
        for index in range(len(opened)):
            opened.frame(index)
            if opened.frame_truth_exists(index):
                opened.truth(index)
    _print(opened)
    if verify:
        typer.echo("All checksums fit.")


def _print(bank: Bank) -> None:
    from rich.console import Console
    from rich.table import Table

    from samstar_rl.bank.bank import summarise

    table = Table(title=str(bank.path), show_header=False)
    for name, text in summarise(bank).items():
        table.add_row(name, text)
    Console().print(table)


if __name__ == "__main__":
    app()
