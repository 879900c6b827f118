"""Run beside a microscope."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.sources.registry import open_source
from samstar_rl.streaming.access import TOKEN_VARIABLE

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
            "instrument: tango://HOST:PORT (asyncroscopy today), asyncroscopy://HOST:PORT (until "
            "January 2026), dtmicroscope://HOST:PORT, pva://CHANNEL.",
        ),
    ] = "sim:particles",
    task: options.TaskOfTuner = None,
    tuner: Annotated[
        str | None,
        typer.Option(
            "--tuner",
            "--policy",
            metavar="TUNER",
            help=options.TUNER_HELP,
            callback=options.check_tuner,
        ),
    ] = None,
    out: options.Out = Path("out"),
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Stop when so many frames are done.")
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            min=0,
            metavar="SECONDS",
            help="End when an instrument has given nothing but faults for so long; 0 never does.",
        ),
    ] = 30.0,
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
            "--also",
            metavar="TUNER",
            help="Offer this one on the dashboard, too; repeatable.",
            callback=options.check_tuners,
        ),
    ] = None,
    formats: options.Formats = None,
    picture_every: Annotated[
        int, typer.Option("--picture-every", min=0, help="Draw each such frame; 0 draws none.")
    ] = 10,
    pixel_size: options.PixelSize = None,
    exclude_border: options.ExcludeBorder = False,
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

    Exit codes: 0 ended or stopped; 2 bad input; 3 the source broke or gave nothing but faults, or
    frame after frame failed; 4 results cannot be written; 130 quit.
    """
    given = {name: value for name, value in locals().items() if name != "points"}
    # what is wrong is said before anything that takes seconds is imported
    opened = open_source(source, pixel_size_nm=pixel_size)
    from samstar_rl.agents.registry import NamedTuner
    from samstar_rl.results.registry import DEFAULT_FORMATS, is_own_result, load_formats
    from samstar_rl.scripts._shared import live_run
    from samstar_rl.scripts._shared.supervision import choose_among
    from samstar_rl.segmenter import Segmenter
    from samstar_rl.streaming.counters import Counters
    from samstar_rl.streaming.dashboard import LiveState, open_dashboard
    from samstar_rl.streaming.feed import Feed
    from samstar_rl.streaming.output_folder import OutputFolder
    from samstar_rl.streaming.runner import Runner
    from samstar_rl.streaming.sinks import FolderSink, JournalSink, Sink, TensorBoardSink
    from samstar_rl.streaming.supervision.guard import GuardRules
    from samstar_rl.streaming.supervision.switches import PauseSwitch
    from samstar_rl.tuning.budget import GazeOptions

    # task, SAM and tuners
    load_formats(formats or DEFAULT_FORMATS)
    named = NamedTuner(options.tuner_or_usual(tuner, task, sam))
    segmenter = Segmenter.load(
        task or named.task,
        sam=sam,
        device=device,
        precision=precision,
        gaze=GazeOptions(n_prompts, zoom, budget_ms),
        exclude_border=exclude_border,
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
    # the run's folder, and whoever looks on
    mode = queue or ("latest" if opened.live else "all")
    counters, pause = Counters(), PauseSwitch()
    with live_run.full_disk_noticed(), ExitStack() as stack:
        folder = stack.enter_context(OutputFolder(out, resume=resume))
        folder.run.record(
            given
            | {
                "task": segmenter.task.to_dict(),
                "queue": mode,
                "formats": formats or DEFAULT_FORMATS,
                "sam": {"name": sam, "sha256": segmenter.engine.sha256},
            }
        )
        opened.skip, opened.owners = folder.is_done, folder.owners()
        opened.is_result = is_own_result
        # files first, so that whoever reads the journal finds them
        sinks: list[Sink] = [
            FolderSink(
                folder.path, picture_every=picture_every, formats=formats or DEFAULT_FORMATS
            ),
            JournalSink(folder.journal),
            TensorBoardSink(folder.run.tensorboard, first_step=folder.n_done),
        ]
        token = live_run.make_token(host) if dashboard or feed is not None else None
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
            patience_s=patience,
        )
        if folder.n_done:
            typer.echo(f"{folder.n_done} frames are done already", err=True)
        live_run.run(runner, folder)
    typer.echo(live_run.describe(counters.counts) + f"; results in {out}")


if __name__ == "__main__":
    run_command(deploy)
