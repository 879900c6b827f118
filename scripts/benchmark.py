"""Compare tuners on the same unseen frames."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samstar_rl.agents.benchmark.contenders import CONTENDERS
from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command
from samstar_rl.scripts._shared.comparison import report_benchmark
from samstar_rl.tasks.shipped import task_path

if TYPE_CHECKING:
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan, RealFrames
    from samstar_rl.agents.benchmark.run import BenchmarkResults

SIZES = "How much (what is left out stays as the plan has it)"


def benchmark(
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", "-t", metavar="NAME", help="Repeatable; by default the four that ship."
        ),
    ] = None,
    contender: Annotated[
        list[str] | None,
        typer.Option("--tuner", metavar="NAME", help="Repeatable; by default all contenders."),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            metavar="drift|survey|real",
            help="Repeatable; by default drifting streams, surveys, and with --frames real images.",
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="COST|none",
            help="That each frame may have; repeatable, by default 75 to 1200 and none.",
        ),
    ] = None,
    out: options.Out = Path("runs/benchmark"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One task, the main contenders, few frames: minutes.")
    ] = False,
    frames: Annotated[
        Path | None,
        typer.Option("--frames", metavar="FOLDER", help="Real images to fit and judge on."),
    ] = None,
    labels: options.Labels = None,
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            metavar="emps:PART|FILE",
            help="Images to judge on: a part of the EMPS split, or a text file of names. By "
            "default every second one.",
        ),
    ] = None,
    fit_names: Annotated[
        str | None,
        typer.Option(
            "--fit-names", metavar="emps:PART|FILE", help="Images to fit on; by default the others."
        ),
    ] = None,
    pixel_size: options.PixelSize = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; by default one a core.")
    ] = None,
    scheduler: options.Scheduler = None,
    report_only: Annotated[
        bool,
        typer.Option("--report-only", help="Write report and table of what OUT holds, no more."),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Of the learners; 5.", rich_help_panel=SIZES),
    ] = None,
    static_seeds: Annotated[
        int | None,
        typer.Option(
            "--static-seeds",
            min=1,
            help="Of searches for a static choice; 3.",
            rich_help_panel=SIZES,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", min=512, help="Evaluations of a learner; 40,000.", rich_help_panel=SIZES
        ),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(
            "--evaluations", min=2, help="Of a search on a frame; 300.", rich_help_panel=SIZES
        ),
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option("--streams", min=2, help="Streams to learn from.", rich_help_panel=SIZES),
    ] = None,
    stream_frames: Annotated[
        int | None, typer.Option("--stream-frames", min=1, help="In each.", rich_help_panel=SIZES)
    ] = None,
    test_streams: Annotated[
        int | None,
        typer.Option("--test-streams", min=1, help="Streams to judge on.", rich_help_panel=SIZES),
    ] = None,
    test_frames: Annotated[
        int | None, typer.Option("--test-frames", min=1, help="In each.", rich_help_panel=SIZES)
    ] = None,
    survey_frames: Annotated[
        int | None,
        typer.Option(
            "--survey-frames", min=1, help="In each survey to judge on.", rich_help_panel=SIZES
        ),
    ] = None,
    slow_every: Annotated[
        int | None,
        typer.Option(
            "--slow-every",
            min=1,
            help="Judge NSGA-II on one in so many test frames; 6.",
            rich_help_panel=SIZES,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=64, help="Side of simulated frames.", rich_help_panel=SIZES),
    ] = None,
    zoom: Annotated[
        list[float] | None,
        typer.Option("--zoom", min=1, help="That SAM computes; repeatable.", rich_help_panel=SIZES),
    ] = None,
    prompts: Annotated[
        int | None,
        typer.Option("--prompts", min=9, help="At each zoom; 375.", rich_help_panel=SIZES),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(
            "--grid", min=1, help="Points a side of SAM's defaults; 32.", rich_help_panel=SIZES
        ),
    ] = None,
) -> None:
    """Compare tuners on the same unseen frames.

    Every contender gets the same frames to learn from, the same number of evaluations and the same
    objective, and is judged at each budget on frames that none has seen: simulated streams that
    drift, simulated surveys, and with --frames real images. Run again, it goes on where it was
    stopped. OUT/report.html tells all, OUT/budgets.png is F1 over the budget, OUT/table.md the
    headline, OUT/results.parquet every frame; OUT/tensorboard overlays RL and genetic search.
    """
    # what is mistyped fails before the heavy libraries are loaded
    unknown = [name for name in contender or () if name not in CONTENDERS]
    if unknown:
        raise SamstarError(f"no contender {unknown[0]!r}: expected some of {', '.join(CONTENDERS)}")
    for name in task or ():
        task_path(name)

    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.benchmark.plan import BenchmarkPlan, read_plan
    from samstar_rl.agents.benchmark.run import read_results

    if report_only:
        plan = read_plan(out)
        report_benchmark(plan, read_results(plan, out), out)
        typer.echo((out / "table.md").read_text(encoding="utf-8"))
        return
    real = None
    if frames is not None:
        real = choose_images(frames, labels, names, fit_names, pixel_size)
    elif labels is not None or names is not None or fit_names is not None:
        raise SamstarError("--labels, --names and --fit-names go with --frames")
    plan = BenchmarkPlan.quick() if quick else BenchmarkPlan()
    if real is not None:
        plan = plan.on(real)
    changes: dict[str, Any] = {
        "tasks": tuple(task or ()),
        "contenders": tuple(contender or ()),
        "conditions": tuple(condition or ()),
        "budgets": tuple(map(_budget, budget or ())),
        "n_seeds": seeds,
        "n_static_seeds": static_seeds,
        "steps": steps,
        "n_evaluations": evaluations,
        "n_streams": streams,
        "n_frames": stream_frames,
        "n_test_streams": test_streams,
        "n_test_frames": test_frames,
        "n_survey_frames": survey_frames,
        "slow_every": slow_every,
        "size_px": size,
        "zooms": tuple(zoom or ()),
        "most_prompts": prompts,
        "grid": grid,
    }
    plan = replace(plan, **{name: value for name, value in changes.items() if value})
    RunFolder(out).record({"plan": asdict(plan), "workers": workers, "scheduler": scheduler})
    report_benchmark(plan, _run(plan, out, workers, scheduler), out)


def _budget(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise SamstarError(f"--budget must be a cost or none, got {text!r}") from error


def choose_images(
    frames: Path,
    labels: Path | None,
    names: str | None,
    fit_names: str | None,
    pixel_size_nm: float | None,
) -> RealFrames:
    """Which images of a folder to fit on, and which to judge on.

    Parameters
    ----------
    frames, labels : path
        Folders.
    names, fit_names : str, optional
        Those to judge on, and to fit on, as for `find_named`; by default every other one.
    pixel_size_nm : float, optional
        Takes precedence over what the files state.

    Returns
    -------
    RealFrames

    Raises
    ------
    SamstarError
        If there are no labels, a name is not that of an image, or a choice is empty.
    """
    from samstar_rl.agents.benchmark.plan import RealFrames
    from samstar_rl.scripts._shared.inputs import find_named

    if labels is None:
        raise SamstarError("give --labels FOLDER with the ground truth of the frames, for judging")
    paths = {path.stem: path for path in find_named(frames, None)}
    judged = [path.stem for path in find_named(frames, names)]
    if names is None and fit_names is None:
        judged = judged[1::2]
    if fit_names is None:
        fitted = [name for name in paths if name not in set(judged)]
    else:
        fitted = [path.stem for path in find_named(frames, fit_names)]
        judged = [name for name in judged if names is not None or name not in set(fitted)]
    return RealFrames(
        fit=tuple(str(paths[name]) for name in fitted),
        judge=tuple(str(paths[name]) for name in judged),
        labels=str(labels),
        pixel_size_nm=pixel_size_nm,
    )


def _run(
    plan: BenchmarkPlan, out: Path, workers: int | None, scheduler: str | None
) -> BenchmarkResults:
    from samstar_rl._io.workers import open_client
    from samstar_rl.agents.benchmark.run import run_benchmark
    from samstar_rl.scripts._shared.display import StageDisplay

    with ExitStack() as stack:
        display = stack.enter_context(StageDisplay())
        if scheduler is None:
            return run_benchmark(plan, out, n_workers=workers, announce=display.announce)
        if workers is not None:
            raise SamstarError("give either --workers or --scheduler, not both")
        client = stack.enter_context(open_client(None, scheduler))
        assert client is not None
        return run_benchmark(plan, out, client=client, announce=display.announce)


if __name__ == "__main__":
    run_command(benchmark)
