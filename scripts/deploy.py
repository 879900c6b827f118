"""Run beside a microscope."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from samstar_rl.agents.registry import NamedTuner
from samstar_rl.results.registry import DEFAULT_FORMATS
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import report_error, run_command
from samstar_rl.scripts._shared.supervision import choose_among
from samstar_rl.segmenter import Segmenter
from samstar_rl.sources.registry import open_source
from samstar_rl.streaming.access import is_loopback, new_token
from samstar_rl.streaming.counters import Counters, Counts
from samstar_rl.streaming.dashboard import LiveState, open_dashboard
from samstar_rl.streaming.feed import Feed
from samstar_rl.streaming.output_folder import OutputFolder
from samstar_rl.streaming.runner import RunError, Runner, WriteError
from samstar_rl.streaming.sinks import PICTURE_EVERY, FolderSink, JournalSink, Sink, TensorBoardSink
from samstar_rl.streaming.supervision.guard import GuardRules
from samstar_rl.streaming.supervision.switches import PauseSwitch
from samstar_rl.tuning.budget import GazeOptions

RUN_BROKE = 3
CANNOT_WRITE = 4
QUIT = 130
# of the drive, or of what this user may store on it
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
TOKEN_VARIABLE = "SAMSTAR_TOKEN"
DASHBOARD_PORT = 5006
# what the dashboard offers besides the tuner that the run began with
OFFERED = ("static", "default")


def deploy(
    source: Annotated[
        str,
        typer.Option(
            "--source",
            "-s",
            metavar="SOURCE",
            help="sim:PRESET?drift=1&seed=0, folder:PATH (watched), file:STACK, a path, or an "
            "instrument: asyncroscopy://HOST:PORT, dtmicroscope://HOST:PORT, pva://CHANNEL.",
        ),
    ] = "sim:particles",
    task: options.TaskOfTuner = None,
    tuner: Annotated[
        str, typer.Option("--tuner", "--policy", metavar="TUNER", help=options.TUNER_HELP)
    ] = "static",
    out: options.Out = Path("out"),
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Stop after so many frames.")
    ] = None,
    queue: Annotated[
        Literal["latest", "all"] | None,
        typer.Option(
            "--queue",
            help="When frames come too fast: the newest wins, or all wait. By default latest at "
            "an instrument, all for files.",
        ),
    ] = None,
    n_prompts: options.NPrompts = None,
    zoom: options.Zoom = None,
    budget_ms: options.BudgetMs = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run that OUT holds.")
    ] = False,
    guard: Annotated[
        bool,
        typer.Option(
            "--guard/--no-guard",
            help="Compare a policy with the static settings now and then, and fall back to them.",
        ),
    ] = True,
    check_every: Annotated[
        int, typer.Option("--check-every", min=1, help="Frames from one comparison to the next.")
    ] = 10,
    retune: Annotated[
        bool,
        typer.Option("--retune", help="After a fallback search new static settings meanwhile."),
    ] = False,
    feed: Annotated[
        int | None,
        typer.Option("--feed", metavar="PORT", min=0, max=65535, help="Offer results over HTTP."),
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Offer a page for the operator's browser.")
    ] = False,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Where dashboard and feed listen; beyond this machine a token is demanded "
            f"({TOKEN_VARIABLE} in the environment, or a new one is shown).",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, help="Of the dashboard; 0 takes a free one."),
    ] = DASHBOARD_PORT,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also", metavar="TUNER", help="Offer this one on the dashboard, too; repeatable."
        ),
    ] = None,
    formats: options.Formats = None,
    picture_every: Annotated[
        int, typer.Option("--picture-every", min=0, help="Draw each such frame; 0 draws none.")
    ] = PICTURE_EVERY,
    pixel_size: options.PixelSize = None,
    evaluations: options.Evaluations = 300,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    precision: options.Precision = "float32",
    points: options.Points = None,
    seed: options.Seed = 0,
) -> None:
    """Run beside a microscope: segment frames as they come.

    OUT gets NAME.labels.tif, NAME.particles.csv (or what --format asks for) and NAME.json for each
    frame, NAME.overlay.png for some, each complete or absent at any moment, and
    OUT/run/frames.jsonl a line a frame. The first Ctrl-C finishes the frame in work and ends, the
    second quits at once.

    Exit codes: 0 ended or stopped; 2 bad input; 3 the source broke or frame after frame failed;
    4 results cannot be written; 130 quit.
    """
    opened = open_source(source, pixel_size_nm=pixel_size)
    named = NamedTuner(tuner)
    segmenter = Segmenter.load(
        task or named.task,
        sam=sam,
        device=device,
        precision=precision,
        gaze=GazeOptions(n_prompts, zoom, budget_ms),
    )
    others = [NamedTuner(one) for one in (*(also or []), *OFFERED)] if dashboard else []
    tuners = choose_among(
        segmenter,
        [named, *others],
        rules=GuardRules(check_every=check_every) if guard else None,
        retune=retune,
        n_evaluations=evaluations,
        seed=seed,
    )
    mode = queue or ("latest" if opened.live else "all")
    counters, pause = Counters(), PauseSwitch()
    with _full_disk_noticed(), ExitStack() as stack:
        folder = stack.enter_context(OutputFolder(out, resume=resume))
        folder.run.record(
            {
                "source": source,
                "task": segmenter.task.to_dict(),
                "tuner": tuner,
                "also": also,
                "frames": frames,
                "queue": mode,
                "n_prompts": n_prompts,
                "zoom": zoom,
                "budget_ms": budget_ms,
                "resume": resume,
                "guard": guard,
                "check_every": check_every,
                "retune": retune,
                "formats": formats or DEFAULT_FORMATS,
                "dashboard": dashboard,
                "pixel_size_nm": pixel_size,
                "evaluations": evaluations,
                "sam": {"name": sam, "sha256": segmenter.engine.sha256},
                "device": device,
                "precision": precision,
                "seed": seed,
            }
        )
        opened.skip = folder.is_done
        sinks = _make_sinks(folder, picture_every, formats or DEFAULT_FORMATS)
        token = _make_token(host) if dashboard or feed is not None else None
        if feed is not None:
            served = stack.enter_context(Feed(counters, host=host, port=feed, token=token))
            typer.echo(f"feed: {served.address}/frames", err=True)
            sinks.append(served)
        if dashboard:
            state = LiveState(segmenter.task, counters, pause=pause, tuners=tuners)
            page = stack.enter_context(open_dashboard(state, host=host, port=port, token=token))
            typer.echo(f"dashboard: {page.address}", err=True)
            sinks.append(state)
        runner = Runner(
            opened,
            segmenter.with_tuner(tuners),
            sinks,
            queue=mode,
            max_frames=frames,
            counters=counters,
            pause=pause,
        )
        if folder.n_done:
            typer.echo(f"{folder.n_done} frames are done already", err=True)
        _run(runner, folder)
    typer.echo(describe(counters.counts) + f"; results in {out}")


def summary(counters: Counters) -> dict[str, Any]:
    """What became of the frames, and how fast."""
    counts = counters.counts
    return {
        "received": counts.received,
        "done": counts.done,
        "dropped": counts.dropped,
        "failed": counts.failed,
        "latency_ms": {f"p{p}": counters.latency_ms(p) for p in (50, 90, 99)},
    }


def describe(counts: Counts) -> str:
    """The counts in words."""
    return (
        f"{counts.received} frames received, {counts.done} done, {counts.dropped} dropped, "
        f"{counts.failed} failed"
    )


def _run(runner: Runner[Any], folder: OutputFolder) -> None:
    """Run, showing the counts, until the end or a signal; write down what came of it."""
    try:
        with _counts_shown(runner), _stopping_on_signals(runner):
            runner.run()
    except RunError as error:
        report_error(error)
        with suppress(OSError):  # the disk may be what ended the run
            folder.run.write_results(summary(runner.counters))
        raise typer.Exit(CANNOT_WRITE if isinstance(error, WriteError) else RUN_BROKE) from error
    folder.run.write_results(summary(runner.counters))


@contextmanager
def _full_disk_noticed() -> Iterator[None]:
    """Outside of the loop, too, a full disk has its own exit code: it is no bad input."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        report_error(error)
        raise typer.Exit(CANNOT_WRITE) from error


@contextmanager
def _counts_shown(runner: Runner[Any]) -> Iterator[None]:
    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
    with progress:
        line = progress.add_task("waiting for the first frame", total=None)
        runner.on_progress = lambda counts: progress.update(line, description=describe(counts))
        yield


@contextmanager
def _stopping_on_signals(runner: Runner[Any]) -> Iterator[None]:
    """The first signal asks the runner to stop, the second ends the process."""

    def handle(number: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(QUIT)  # results are complete or absent at any moment
        asked.append(number)
        runner.request_stop()
        with suppress(OSError):  # not print: the signal may have come in the middle of one
            os.write(2, b"\nfinishing the frame in work; Ctrl-C again quits at once\n")

    asked: list[int] = []
    names = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), handle) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _make_sinks(folder: OutputFolder, picture_every: int, formats: Sequence[str]) -> list[Sink]:
    """Files first, so that whoever reads the journal finds them."""
    return [
        FolderSink(folder.path, picture_every=picture_every, formats=formats),
        JournalSink(folder.journal),
        TensorBoardSink(folder.run.tensorboard, first_step=folder.n_done),
    ]


def _make_token(host: str) -> str | None:
    """What is demanded of browsers and readers, shown once if nobody has set it."""
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is None and not is_loopback(host):
        token = new_token()
        typer.echo(f"token: {token}", err=True)
    return token


if __name__ == "__main__":
    run_command(deploy)
