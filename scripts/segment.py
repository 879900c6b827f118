"""Segment images: labels, particle tables, pictures and records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from samstar_rl.frames.files import (
    FrameReadError,
    is_image_file,
    iterate_file,
    list_image_files,
)
from samstar_rl.frames.frame import Frame
from samstar_rl.frames.quality import inspect_frame
from samstar_rl.results import FrameResult, write_result
from samstar_rl.run_folder import RESULTS_FILE, RunFolder
from samstar_rl.scripts import options
from samstar_rl.scripts.command import make_progress, run_command
from samstar_rl.scripts.preparation import Bench, prepare
from samstar_rl.tuner import Evaluation, LiveFrame, Tuner, tune_frame

SOME_FAILED = 1


def segment(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE|FOLDER...", help="TIFF, PNG, dm4, emd, Zarr, ...; stacks as well."
        ),
    ],
    task: options.Task = "particles",
    tuner: options.Tuner = "static",
    out: options.Out = Path("out"),
    pixel_size: options.PixelSize = None,
    evaluations: options.Evaluations = 300,
    sam: options.Sam = "tiny",
    device: options.Device = "cpu",
    seed: options.Seed = 0,
) -> None:
    """Segment images and write labels, tables and pictures.

    For each image NAME the folder OUT gets NAME.labels.tif (0 is background; where particles
    overlap the smaller one is on top), NAME.particles.csv (in px and, where the pixel size is
    known, nm), NAME.overlay.png to look at, and NAME.json (settings, score, terms, cost). Images
    are treated one by one; only the planes of a stack are treated as a stream. OUT/run holds the
    configuration, TensorBoard events and a summary. The exit code is 1 if an image failed.
    """
    bench = prepare(task, sam=sam, device=device)
    chosen = bench.make_tuner(tuner, n_evaluations=evaluations, seed=seed)
    paths = find_images(inputs)
    run = RunFolder(out / "run")
    run.record(
        {
            "inputs": inputs,
            "task": bench.task.to_dict(),
            "tuner": tuner,
            "pixel_size_nm": pixel_size,
            "evaluations": evaluations,
            "sam": {"name": sam, "sha256": bench.sam_sha256},
            "device": device,
            "seed": seed,
        }
    )
    segmenter = Segmenter(bench, chosen, tuner, out, pixel_size_nm=pixel_size)
    with make_progress() as progress:
        for path in progress.track(paths, description="images"):
            for line in segmenter.segment_file(path):
                progress.console.print(line, markup=False, highlight=False)
    _finish(segmenter, run)


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


class Segmenter:
    """Segment files one after the other and keep account.

    Parameters
    ----------
    bench : Bench
    tuner : Tuner
    tuner_name : str
        As asked for.
    out : Path
        Made if it does not exist.
    pixel_size_nm : float, optional
        Takes precedence over what the files state.
    """

    def __init__(
        self,
        bench: Bench,
        tuner: Tuner,
        tuner_name: str,
        out: Path,
        *,
        pixel_size_nm: float | None = None,
    ) -> None:
        self.bench = bench
        self.tuner = tuner
        self.tuner_name = tuner_name
        self.out = out
        self.pixel_size_nm = pixel_size_nm
        self.records: list[dict[str, Any]] = []
        self.failures: dict[str, str] = {}
        self._owners: dict[str, Path] = {}
        out.mkdir(parents=True, exist_ok=True)

    def segment_file(self, path: Path) -> Iterator[str]:
        """Segment the image or the planes of the stack; yield a line for people on each."""
        self.tuner.reset()
        last: Evaluation | None = None
        try:
            for frame in iterate_file(path, pixel_size_nm=self.pixel_size_nm):
                last = self._segment_frame(self._named(frame, path), last)
                yield _describe(self.records[-1])
        except ValueError as error:  # damaged, or without the pixel size that the task needs
            self.failures[str(path)] = str(error)
            yield f"{path.name}: failed: {error}"

    def _segment_frame(self, frame: Frame, last: Evaluation | None) -> Evaluation:
        source = LiveFrame(self.bench.engine, frame, searches=self.tuner.searches)
        tuned = tune_frame(self.tuner, source, self.bench.objective, last)
        result = FrameResult.of(
            tuned,
            task=self.bench.task.name,
            tuner=self.tuner_name,
            notes=inspect_frame(frame).findings,
        )
        write_result(self.out, result)
        self.records.append(result.to_record())
        return tuned.evaluation

    def _named(self, frame: Frame, path: Path) -> Frame:
        """Take the whole name of the file where the stem was another file's already."""
        owner = self._owners.setdefault(path.stem, path)
        if owner == path:
            return frame
        return replace(frame, id=path.name + frame.id.removeprefix(path.stem))

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


def _finish(segmenter: Segmenter, run: RunFolder) -> None:
    """Write the summary and say where everything is."""
    summary = segmenter.summary()
    run.write_results(summary)
    run.write_scalars(
        {"segment/score": "score", "segment/n_particles": "n_particles"}, segmenter.records
    )
    n_failed = len(segmenter.failures)
    if segmenter.records:
        typer.echo(
            f"{summary['frames']} frames, {summary['particles']} particles, "
            f"mean score {summary['mean_score']:.3f}; results in {segmenter.out}"
        )
    if n_failed and not segmenter.records:
        first = next(iter(segmenter.failures.values()))
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
