"""Search one static choice of settings over frames."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from samstar_rl.errors import SamstarError
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import run_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl.agents.search.pareto import ParetoFront
    from samstar_rl.agents.search.static import PerFrameFound, StaticFound
    from samstar_rl.frames.frame import Frame
    from samstar_rl.tasks.task import Task

SETTINGS_FILE = "settings.toml"


def tune(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE|FOLDER...", help="Frames that are typical of the sample."),
    ],
    task: options.Task = "particles",
    algo: Annotated[
        Literal["genetic", "refined"], typer.Option("--algo", help="How to search.")
    ] = "genetic",
    evaluations: Annotated[
        int,
        typer.Option(
            "--evaluations", min=1, help="One evaluation is one choice of settings on one frame."
        ),
    ] = 3000,
    pareto: Annotated[
        bool,
        typer.Option("--pareto", help="Search a front between terms of the score (NSGA-II)."),
    ] = False,
    terms: Annotated[
        str | None,
        typer.Option(
            "--terms", metavar="A,B,...", help="Of the front; by default the three weightiest."
        ),
    ] = None,
    pick: Annotated[
        str,
        typer.Option(
            "--pick",
            metavar="weights|knee|floor:TERM=0.8,...",
            help="Which point of the front becomes the settings.",
        ),
    ] = "weights",
    per_frame: Annotated[
        bool,
        typer.Option(
            "--per-frame",
            help="Also choose for each frame, its scores drawn towards the mean over the others.",
        ),
    ] = False,
    budget_ms: options.BudgetMs = None,
    out: options.Out = Path("out"),
    pixel_size: options.PixelSize = None,
    max_frames: Annotated[
        int, typer.Option("--max-frames", min=1, help="Take no more frames than this.")
    ] = 32,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    seed: options.Seed = 0,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Search the one choice of settings that serves frames best.

    No ground truth is needed: the task's score of physics and learned plausibility judges.
    OUT/settings.toml is what --tuner static:OUT/settings.toml of segment and deploy reads. With
    --pareto the file holds a whole front besides, of which static:OUT/settings.toml#7 is the
    seventh point; OUT/front.csv and OUT/front.png show it. With --per-frame it holds settings for
    each of the frames. With --budget-ms SAM stops on each frame when the time is up, so that zoom
    and number of prompts are those that serve best in that time on this machine.
    """
    # what is wrong is said before the heavy libraries are loaded
    if pareto and per_frame:
        raise SamstarError("give either --pareto or --per-frame, not both")
    if pareto and budget_ms is not None:
        raise SamstarError("--budget-ms is about one choice for frames: leave out --pareto")
    if pareto and algo != "genetic":
        raise SamstarError(f"--pareto searches by NSGA-II: leave out --algo, got {algo!r}")
    if not pareto and (terms is not None or pick != "weights"):
        raise SamstarError("--terms and --pick are about a front: give --pareto with them")

    from samstar_rl._io.run_folder import RunFolder
    from samstar_rl._io.workers import open_client
    from samstar_rl.agents.search.decode import Decoding, cost_of_deadline, decode_frames
    from samstar_rl.agents.search.over_frames import evaluate_over
    from samstar_rl.agents.search.pareto import check_pick, checked_terms, search_pareto
    from samstar_rl.agents.search.static import (
        SEARCH_FRAMES,
        count_choices,
        search_per_frame,
        search_static,
    )
    from samstar_rl.scripts._shared.display import StageDisplay
    from samstar_rl.segmenter import Segmenter

    segmenter = Segmenter.load(task, sam=sam, device=device)
    loaded, objective = segmenter.task, segmenter.objective
    names: tuple[str, ...] = ()
    if budget_ms is not None and loaded.static.n_prompts is None:
        raise SamstarError(
            f"task {loaded.name!r} looks at a grid, which no budget stops: give it n_prompts among "
            "its settings and static settings, or leave out --budget-ms"
        )
    if pareto:
        check_pick(pick, loaded)
        names = checked_terms(loaded, [name.strip() for name in terms.split(",")] if terms else [])
    frames = list(islice(_read_frames(inputs, pixel_size), max_frames))
    every_frame = pareto or per_frame
    count_choices(evaluations, len(frames), n_searched=None if every_frame else SEARCH_FRAMES)
    run = RunFolder(out)
    run.record(
        {"inputs": inputs, "task": loaded.to_dict(), "algo": algo, "pareto": pareto,
         "per_frame": per_frame, "terms": names, "pick": pick, "evaluations": evaluations,
         "budget_ms": budget_ms, "frames": [frame.id for frame in frames],
         "sam": {"name": sam, "sha256": segmenter.engine.sha256}, "device": device, "seed": seed}
    )  # fmt: skip
    facts: dict[str, Any] = {
        "task": loaded.name, "algorithm": algo, "frames": len(frames), "seed": seed,
    }  # fmt: skip
    limit = math.inf
    if budget_ms is not None:
        limit = cost_of_deadline(segmenter, frames, budget_ms)
        facts |= {"budget_ms": budget_ms, "budget": limit}
        typer.echo(f"on this machine {budget_ms:g} ms pay for a cost of {limit:.0f}")
    with StageDisplay() as display:
        with open_client(workers, scheduler) as client:
            sources = decode_frames(
                segmenter, frames, client=client,
                decoding=Decoding(sam, device, loaded.space.prompts()),
                on_progress=display.stage("SAM's proposals"),
            )  # fmt: skip

        def on_round(done: int, *_: object) -> None:
            display.announce("evaluations", done / evaluations)

        spend: dict[str, Any] = {
            "n_evaluations": evaluations, "seed": seed, "on_round": on_round,
        }  # fmt: skip
        if pareto:
            front = search_pareto(sources, objective, terms=names, **spend)
            said = _write_front(run, loaded, front, pick, facts)
        elif per_frame:
            each = search_per_frame(sources, objective, algorithm=algo, budget=limit, **spend)
            said = _write_each(run, each, facts)
        else:
            found = search_static(sources, objective, algorithm=algo, budget=limit, **spend)
            after = evaluate_over(sources, objective, found.settings, budget=limit).score
            before = evaluate_over(sources, objective, loaded.static, budget=limit).score
            said = _write_static(run, found, facts, after, before)
    file = run.path / SETTINGS_FILE
    in_time = "" if budget_ms is None else f" --budget-ms {budget_ms:g}"
    typer.echo(
        f"{said}\nuse it: samstar segment IMAGES --task {task} --tuner static:{file}{in_time}"
    )
    if pareto:
        typer.echo(
            f"or another point of the front: --tuner static:{file}#1 (numbers as in front.csv)"
        )


def _read_frames(inputs: Sequence[Path], pixel_size_nm: float | None) -> Iterator[Frame]:
    from samstar_rl.scripts._shared.inputs import find_images
    from samstar_rl.sources.readers.registry import FrameReadError, iterate_file

    for path in find_images(inputs):
        try:
            yield from iterate_file(path, pixel_size_nm=pixel_size_nm)
        except FrameReadError as error:
            typer.echo(f"left out: {error}", err=True)


def _write_static(
    run: RunFolder, found: StaticFound, facts: dict[str, Any], after: float, before: float
) -> str:
    from samstar_rl._io import atomic
    from samstar_rl.agents.search.settings_file import settings_toml

    facts |= {"evaluations": found.n_evaluations, "mean_score": after,
              "mean_score_of_task_static": before}  # fmt: skip
    atomic.write_text(run.path / SETTINGS_FILE, settings_toml(found.settings, facts))
    curve = [
        {"evaluations": done, "reward": reward, "settings": settings.to_dict()}
        for done, settings, reward in found.curve
    ]
    run.write_results({**facts, "settings": found.settings.to_dict(), "curve": curve})
    run.write_scalars({"tune/reward": "reward"}, curve, step="evaluations")
    return (
        f"mean score {after:.3f} over {facts['frames']} frames (the task's static settings: "
        f"{before:.3f}) after {found.n_evaluations} evaluations"
    )


def _write_each(run: RunFolder, found: PerFrameFound, facts: dict[str, Any]) -> str:
    from samstar_rl._io import atomic
    from samstar_rl.agents.search.settings_file import settings_toml

    facts |= {"evaluations": found.n_evaluations, "mean_reward": found.reward}
    text = settings_toml(found.settings, facts, found.by_frame)
    atomic.write_text(run.path / SETTINGS_FILE, text)
    run.write_results(facts)
    return (
        f"{len(set(found.by_frame.values()))} different choices for {facts['frames']} frames, mean "
        f"reward {found.reward:.3f} after {found.n_evaluations} evaluations"
    )


def _write_front(
    run: RunFolder, task: Task, front: ParetoFront, how: str, facts: dict[str, Any]
) -> str:
    """Write the front and pick a point; where none reaches the floors, the front is left."""
    from samstar_rl.agents.search.pareto import PickError, pick
    from samstar_rl.agents.search.pareto_report import write_front

    facts |= {"algorithm": "NSGA-II", "terms": list(front.terms), "picked_by": how,
              "evaluations": front.n_evaluations}  # fmt: skip
    file = run.path / SETTINGS_FILE
    try:
        picked = pick(front, how)
    except PickError as error:
        run.write_results(write_front(file, task, front, None, facts))
        raise PickError(f"{error}; all points are in {file}: use one as static:{file}#1") from error
    run.write_results(write_front(file, task, front, picked, facts))
    point = front.points[picked]
    values = ", ".join(f"{name} {point.terms[name]:.3f}" for name in front.terms)
    return (
        f"{len(front.points)} points after {front.n_evaluations} evaluations; picked by {how}: "
        f"point {picked + 1}, {values}, score {point.score:.3f}"
    )


if __name__ == "__main__":
    run_command(tune)
