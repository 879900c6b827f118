"""Search one static choice of settings over frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from samstar_rl._io import atomic
from samstar_rl._io.run_folder import RunFolder
from samstar_rl._io.workers import open_client, spread
from samstar_rl.agents import StaticFound, search_static
from samstar_rl.agents.search.per_frame import search_per_frame
from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import FrameFeatures, ProposalEngine, Proposals
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import make_progress, run_command
from samstar_rl.scripts.pareto import FrontRequest, tune_front
from samstar_rl.scripts.segment import find_images
from samstar_rl.segmentation.segmentation import Plausibility, Segmentation
from samstar_rl.segmentation.segmentation import segment as segment_proposals
from samstar_rl.segmenter import Segmenter, load_engine
from samstar_rl.settings import PromptSettings, Settings
from samstar_rl.sources.readers.files import FrameReadError, iterate_file
from samstar_rl.tasks.task import toml_value
from samstar_rl.tuning.tuner import FrameEvaluator

if TYPE_CHECKING:
    from distributed import Client

SETTINGS_FILE = "settings.toml"


def tune(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE|FOLDER...", help="Frames that are typical of the sample."),
    ],
    task: options.Task = "particles",
    algo: Annotated[
        Literal["genetic", "random"], typer.Option("--algo", help="How to search.")
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
    each of the frames.
    """
    segmenter = Segmenter.load(task, sam=sam, device=device)
    front = _front_request(segmenter, pareto, terms, pick, algo, evaluations, seed)
    if pareto and per_frame:
        raise SamstarError("give either --pareto or --per-frame, not both")
    frames = list(islice(_read_frames(inputs, pixel_size), max_frames))
    run = RunFolder(out)
    run.record(
        {
            "inputs": inputs,
            "task": segmenter.task.to_dict(),
            "algo": algo,
            "front": None if front is None else vars(front),
            "evaluations": evaluations,
            "frames": [frame.id for frame in frames],
            "sam": {"name": sam, "sha256": segmenter.engine.sha256},
            "device": device,
            "seed": seed,
        }
    )
    with open_client(workers, scheduler) as client:
        sources = decode_frames(segmenter, frames, Decoding.of(segmenter, sam, device), client)
    if front is not None:
        tune_front(segmenter, sources, front, run, SETTINGS_FILE)
        return
    if per_frame:
        _tune_per_frame(segmenter, sources, run, algo, evaluations, seed)
        return
    found = _search(segmenter, sources, algo, evaluations, seed)
    before = mean_score(segmenter, sources, segmenter.task.static)
    after = mean_score(segmenter, sources, found.settings)
    facts = {
        "task": segmenter.task.name,
        "algorithm": algo,
        "frames": len(frames),
        "evaluations": found.n_evaluations,
        "seed": seed,
        "mean_score": after,
        "mean_score_of_task_static": before,
    }
    write_settings(out / SETTINGS_FILE, found.settings, facts)
    _write_curve(run, found, facts)
    typer.echo(
        f"mean score {after:.3f} over {len(frames)} frames (the task's static settings: "
        f"{before:.3f}) after {found.n_evaluations} evaluations\n"
        f"use it: samstar segment IMAGES --task {task} --tuner static:{out / SETTINGS_FILE}"
    )


@dataclass(frozen=True)
class Decoding:
    """All that a worker must know to decode a frame.

    Parameters
    ----------
    sam, device : str
    prompts : tuple of PromptSettings
        All that the task's settings can ask for.
    """

    sam: str
    device: str
    prompts: tuple[PromptSettings, ...]

    @classmethod
    def of(cls, segmenter: Segmenter, sam: str, device: str) -> Decoding:
        """What the task of a segmenter asks for."""
        return cls(sam, device, segmenter.task.space.prompts())

    def decode(self, frame: Frame) -> DecodedFrame:
        """Compute a frame's proposals with the one model of this process."""
        return DecodedFrame.decode(load_engine(self.sam, self.device), frame, self.prompts)


class DecodedFrame:
    """A frame with all its proposals as a `FrameSource`: SAM has done its work.

    Parameters
    ----------
    frame : Frame
    features : FrameFeatures
    proposals : mapping of PromptSettings to Proposals
    """

    def __init__(
        self, frame: Frame, features: FrameFeatures, proposals: Mapping[PromptSettings, Proposals]
    ) -> None:
        self.frame = frame
        self.features = features
        self.proposals = proposals

    @classmethod
    def decode(
        cls, engine: ProposalEngine, frame: Frame, prompts: Sequence[PromptSettings]
    ) -> DecodedFrame:
        """Let SAM compute a frame's proposals."""
        embedding = engine.embed(frame)
        proposals = {
            prompt: engine.propose(frame, prompt, embedding=embedding) for prompt in prompts
        }
        return cls(frame, engine.features(frame, embedding=embedding), proposals)

    def segment(
        self,
        settings: Settings,
        length_unit_px: float,
        plausibility: Plausibility | None = None,
        cost_limit: float | None = None,
    ) -> Segmentation:
        """Choose among the proposals."""
        record = next(held for held in self.proposals if held.holds(settings.prompt))
        proposals = self.proposals[record].first(settings.prompt, cost_limit)
        return segment_proposals(
            proposals, settings, length_unit_px=length_unit_px, plausibility=plausibility
        )


def decode_frames(
    segmenter: Segmenter,
    frames: Sequence[Frame],
    decoding: Decoding | None = None,
    client: Client | None = None,
) -> list[DecodedFrame]:
    """Let SAM compute all proposals that the task's settings can ask for, once.

    Parameters
    ----------
    segmenter : Segmenter
    frames : sequence of Frame
    decoding : Decoding, optional
        For workers; without them the segmenter's own SAM does the work.
    client : Client, optional
        Of the workers.

    Raises
    ------
    SamstarError
        If the task needs a pixel size that a frame does not have.
    """
    for frame in frames:
        segmenter.task.length_unit_px(frame)  # known before the work, not after it
    if client is None or decoding is None:
        decode = partial(
            DecodedFrame.decode, segmenter.engine, prompts=segmenter.task.space.prompts()
        )
        done: Iterator[DecodedFrame] = map(decode, frames)
    else:
        done = spread(client, decoding.decode, frames)
    with make_progress() as progress:
        return list(progress.track(done, total=len(frames), description="SAM's proposals"))


def mean_score(segmenter: Segmenter, sources: Sequence[DecodedFrame], settings: Settings) -> float:
    """Mean score that settings give on frames."""
    scores = [
        FrameEvaluator(source, segmenter.objective)(settings).score.total for source in sources
    ]
    return sum(scores) / len(scores)


def write_settings(
    path: Path,
    settings: Settings,
    facts: dict[str, Any],
    by_frame: Mapping[str, Settings] | None = None,
) -> None:
    """Write settings as TOML: a table [settings], how they were found, and those of frames."""
    lines = ["# Written by samstar tune; read by --tuner static:FILE.", "[settings]"]
    lines += [f"{name} = {toml_value(value)}" for name, value in settings.to_dict().items()]
    lines += ["", "[found]"]
    lines += [f"{name} = {toml_value(value)}" for name, value in facts.items()]
    for frame_id, chosen in (by_frame or {}).items():
        lines += ["", f"[frames.{toml_value(frame_id)}]"]
        lines += [f"{name} = {toml_value(value)}" for name, value in chosen.to_dict().items()]
    atomic.write_text(path, "\n".join(lines) + "\n")


def _front_request(
    segmenter: Segmenter,
    pareto: bool,
    terms: str | None,
    pick: str,
    algo: str,
    evaluations: int,
    seed: int,
) -> FrontRequest | None:
    if pareto and algo == "genetic":
        return FrontRequest.read(segmenter.task, terms, pick, evaluations, seed)
    if pareto:
        raise SamstarError(f"--pareto searches by NSGA-II: leave out --algo, got {algo!r}")
    if terms is not None or pick != "weights":
        raise SamstarError("--terms and --pick are about a front: give --pareto with them")
    return None


def _read_frames(inputs: Sequence[Path], pixel_size_nm: float | None) -> Iterator[Frame]:
    for path in find_images(inputs):
        try:
            yield from iterate_file(path, pixel_size_nm=pixel_size_nm)
        except FrameReadError as error:
            typer.echo(f"left out: {error}", err=True)


def _search(
    segmenter: Segmenter,
    sources: Sequence[DecodedFrame],
    algorithm: str,
    n_evaluations: int,
    seed: int,
) -> StaticFound:
    with make_progress() as progress:
        bar = progress.add_task("evaluations", total=n_evaluations)
        return search_static(
            sources,
            segmenter.objective,
            algorithm=algorithm,
            n_evaluations=n_evaluations,
            seed=seed,
            on_round=lambda done, settings, reward: progress.update(bar, completed=done),
        )


def _tune_per_frame(
    segmenter: Segmenter,
    sources: Sequence[DecodedFrame],
    run: RunFolder,
    algorithm: str,
    n_evaluations: int,
    seed: int,
) -> None:
    with make_progress() as progress:
        bar = progress.add_task("evaluations", total=n_evaluations)
        found = search_per_frame(
            sources,
            segmenter.objective,
            algorithm=algorithm,
            n_evaluations=n_evaluations,
            seed=seed,
            on_round=lambda done: progress.update(bar, completed=done),
        )
    facts = {
        "task": segmenter.task.name,
        "algorithm": algorithm,
        "frames": len(sources),
        "evaluations": found.n_evaluations,
        "seed": seed,
        "mean_reward": found.reward,
    }
    path = run.path / SETTINGS_FILE
    write_settings(path, found.settings, facts, found.by_frame)
    run.write_results(facts)
    typer.echo(
        f"{len(set(found.by_frame.values()))} different choices for {len(sources)} frames, mean "
        f"reward {found.reward:.3f} after {found.n_evaluations} evaluations\n"
        f"use them: samstar segment IMAGES --task {segmenter.task.name} --tuner static:{path}"
    )


def _write_curve(run: RunFolder, found: StaticFound, facts: dict[str, Any]) -> None:
    curve = [
        {"evaluations": done, "reward": reward, "settings": settings.to_dict()}
        for done, settings, reward in found.curve
    ]
    run.write_results({**facts, "settings": found.settings.to_dict(), "curve": curve})
    run.write_scalars({"tune/reward": "reward"}, curve, step="evaluations")


if __name__ == "__main__":
    run_command(tune)
