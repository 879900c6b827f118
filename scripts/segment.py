"""Segment images: labels, particle tables, pictures and records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from samstar_rl._io.run_folder import RESULTS_FILE, RunFolder
from samstar_rl._io.workers import WorkersError, open_client, spread
from samstar_rl.agents import make_tuner
from samstar_rl.agents.registry import default_task
from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame
from samstar_rl.frames.quality import inspect_frame
from samstar_rl.results.registry import DEFAULT_FORMATS, Write, load_formats, write_formats
from samstar_rl.results.result import FrameResult
from samstar_rl.sam.engine import PointPlaces
from samstar_rl.sam.load import weights_sha256
from samstar_rl.sam.point_decoder import Precision
from samstar_rl.scripts._shared import options
from samstar_rl.scripts._shared.command import make_progress, run_command
from samstar_rl.scripts._shared.preparation import Bench, located_sam, located_tuner, prepare
from samstar_rl.sources.readers.files import (
    FrameReadError,
    is_image_file,
    iterate_file,
    list_image_files,
)
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.tuner import Evaluation, LiveFrame, Tuner, UnusableFrame, tune_frame

SOME_FAILED = 1


def segment(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE|FOLDER...", help="TIFF, PNG, dm4, emd, Zarr, ...; stacks as well."
        ),
    ],
    task: options.TaskOfTuner = None,
    tuner: options.Tuner = "static",
    out: options.Out = Path("out"),
    formats: options.Formats = None,
    pixel_size: options.PixelSize = None,
    evaluations: options.Evaluations = 300,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    precision: options.Precision = "float32",
    points: options.Points = "grid",
    seed: options.Seed = 0,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Segment images and write labels, tables and pictures.

    For each image NAME the folder OUT gets NAME.labels.tif (0 is background; where particles
    overlap the smaller one is on top), NAME.particles.csv (in px and, where the pixel size is
    known, nm), or what --format asks for, NAME.overlay.png to look at, and NAME.json (settings,
    score, terms, cost). Images are treated one by one; only the planes of a stack are treated as a
    stream. OUT/run holds the configuration, TensorBoard events and a summary. The exit code is 1 if
    an image failed.
    """
    chosen = tuple(formats or DEFAULT_FORMATS)
    loaded = load_task(task) if task else default_task(tuner)
    # what is wrong fails here, and what must be downloaded is there before workers ask for it;
    # the model itself is loaded by those who work with it
    load_formats(chosen)
    sha256 = weights_sha256(sam)
    make_tuner(tuner, loaded, sam_sha256=sha256, n_evaluations=evaluations, seed=seed)
    images = name_images(find_images(inputs))
    run = RunFolder(out / "run")
    run.record(
        {
            "inputs": inputs,
            "task": loaded.to_dict(),
            "tuner": tuner,
            "formats": chosen,
            "pixel_size_nm": pixel_size,
            "evaluations": evaluations,
            "sam": {"name": sam, "sha256": sha256},
            "device": device,
            "precision": precision,
            "points": points,
            "seed": seed,
            "workers": workers,
            "scheduler": scheduler,
        }
    )
    plan = Plan(
        task=json.dumps(loaded.to_dict()),
        tuner=located_tuner(tuner),
        tuner_name=tuner,
        out=out.absolute(),
        formats=chosen,
        pixel_size_nm=pixel_size,
        n_evaluations=evaluations,
        sam=located_sam(sam),
        device=device,
        precision=precision,
        points=points,
        seed=seed,
    )
    account = Account(out)
    with make_progress() as progress, open_client(workers, scheduler) as client:
        done = spread(client, plan.segment_file, images, on_loss=_lost)
        for outcome in progress.track(done, total=len(images), description="images"):
            for line in account.take(outcome):
                progress.console.print(line, markup=False, highlight=False)
    _finish(account, run)


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """The image files among files and in folders.

    Raises
    ------
    FrameReadError
        If one does not exist, or a folder holds no image.
    """
    paths: list[Path] = []
    for given in inputs:
        if not given.exists():
            raise FrameReadError(f"there is no file or folder {given}: check the path")
        found = [given] if given.is_file() or is_image_file(given) else list_image_files(given)
        if not found:
            raise FrameReadError(f"the folder {given} holds no image that can be read here")
        paths += found
    return paths


@dataclass(frozen=True)
class NamedImage:
    """A file to segment: its place among all, and the name that its frames go by."""

    index: int
    path: Path
    name: str


@dataclass(frozen=True)
class Outcome:
    """What became of a file: a record a frame, and what went wrong, if anything did."""

    path: Path
    records: tuple[dict[str, Any], ...]
    failure: str | None


def _lost(image: NamedImage, error: WorkersError) -> Outcome:
    return Outcome(image.path, (), str(error))


def name_images(paths: Sequence[Path]) -> list[NamedImage]:
    """Name each file by its stem, or in full where that was another file's already."""
    owners: dict[str, Path] = {}
    return [
        NamedImage(
            index,
            path.absolute(),
            path.stem if owners.setdefault(path.stem, path) == path else path.name,
        )
        for index, path in enumerate(paths)
    ]


@dataclass(frozen=True)
class Plan:
    """All that a worker must know to segment any of the files, whatever the others do.

    Parameters
    ----------
    task : str
        In JSON, as `Task.to_dict` has it: a worker elsewhere may not have the file.
    tuner, tuner_name : str
        Where it is found from any folder, and as asked for.
    out : Path
        Exists, also for the workers.
    formats : tuple of str
    pixel_size_nm : float or None
        Takes precedence over what the files state.
    n_evaluations, seed : int
        Of a search; each file gets random numbers of its own.
    sam, device, precision, points : str
    """

    task: str
    tuner: str
    tuner_name: str
    out: Path
    formats: tuple[str, ...]
    pixel_size_nm: float | None
    n_evaluations: int
    sam: str
    device: str
    precision: Precision
    points: PointPlaces
    seed: int

    def segment_file(self, image: NamedImage) -> Outcome:
        """Segment the image or the planes of the stack, and write their files."""
        bench = _bench(self.task, self.sam, self.device, self.precision, self.points)
        tuner = self._make_tuner(bench, image)
        writers = load_formats(self.formats)
        records: list[dict[str, Any]] = []
        last: Evaluation | None = None
        try:
            for frame in iterate_file(image.path, pixel_size_nm=self.pixel_size_nm):
                named = replace(frame, id=image.name + frame.id.removeprefix(image.path.stem))
                last, record = self._segment_frame(bench, tuner, writers, named, last)
                records.append(record)
        except SamstarError as error:  # damaged, or without the pixel size that the task needs
            return Outcome(image.path, tuple(records), str(error))
        return Outcome(image.path, tuple(records), None)

    def _make_tuner(self, bench: Bench, image: NamedImage) -> Tuner:
        seed = int(np.random.SeedSequence([self.seed, image.index]).generate_state(1)[0])
        return bench.make_tuner(self.tuner, n_evaluations=self.n_evaluations, seed=seed)

    def _segment_frame(
        self,
        bench: Bench,
        tuner: Tuner,
        writers: dict[str, Write],
        frame: Frame,
        last: Evaluation | None,
    ) -> tuple[Evaluation, dict[str, Any]]:
        quality = inspect_frame(frame)
        kind = LiveFrame if quality.usable else UnusableFrame
        source = kind(bench.engine, frame, searches=tuner.searches)
        tuned = tune_frame(tuner, source, bench.objective, last)
        result = FrameResult.of(
            tuned, task=bench.task.name, tuner=self.tuner_name, notes=quality.findings
        )
        write_formats(self.out, result, writers)
        return tuned.evaluation, result.to_record()


@lru_cache(maxsize=1)
def _bench(task: str, sam: str, device: str, precision: Precision, points: PointPlaces) -> Bench:
    """The one model of this process."""
    loaded = Task.from_dict(json.loads(task))
    return prepare(loaded, sam=sam, device=device, precision=precision, points=points)


class Account:
    """What came out over all images.

    Parameters
    ----------
    out : Path
        For people: where the results are.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.records: list[dict[str, Any]] = []
        self.failures: dict[str, str] = {}

    def take(self, outcome: Outcome) -> list[str]:
        """Enter a file; returns a line for people on each frame and on what failed."""
        self.records += outcome.records
        lines = [_describe(record) for record in outcome.records]
        if outcome.failure is not None:
            self.failures[str(outcome.path)] = outcome.failure
            lines.append(f"{outcome.path.name}: failed: {outcome.failure}")
        return lines

    def summary(self) -> dict[str, Any]:
        """What came out over all images."""
        scores = [record["score"] for record in self.records]
        return {
            "frames": len(self.records),
            "failed": self.failures,
            "mean_score": float(np.mean(scores)) if scores else None,
            "particles": sum(record["n_particles"] for record in self.records),
            "evaluations": sum(record["evaluations"] for record in self.records),
            "prompts_decoded": sum(record["prompts_decoded"] for record in self.records),
            "seconds": sum(record["milliseconds"]["total"] for record in self.records) / 1e3,
        }


def _finish(account: Account, run: RunFolder) -> None:
    """Write the summary and say where everything is."""
    summary = account.summary()
    run.write_results(summary)
    run.write_scalars(
        {"segment/score": "score", "segment/n_particles": "n_particles"}, account.records
    )
    n_failed = len(account.failures)
    if account.records:
        typer.echo(
            f"{summary['frames']} frames, {summary['particles']} particles, "
            f"mean score {summary['mean_score']:.3f}; results in {account.out}"
        )
    if n_failed and not account.records:
        first = next(iter(account.failures.values()))
        others = f" (and {n_failed - 1} more failed)" if n_failed > 1 else ""
        hint = "; --pixel-size says it" if "pixel size" in first else ""
        raise FrameReadError(f"{first}{hint}{others}")
    if n_failed:
        typer.echo(f"{n_failed} files failed, see above and {run.path / RESULTS_FILE}", err=True)
        raise typer.Exit(SOME_FAILED)


def _describe(record: dict[str, Any]) -> str:
    notes = "".join(f"  ({note})" for note in record["notes"])
    return (
        f"{record['frame']}: {record['n_particles']} particles, score {record['score']:.3f}, "
        f"{record['milliseconds']['total'] / 1e3:.1f} s{notes}"
    )


if __name__ == "__main__":
    run_command(segment)
