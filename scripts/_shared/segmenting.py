"""What `samstar segment` does: each image on its own, here or by workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from samstar_rl._io.run_folder import RESULTS_FILE, RunFolder
from samstar_rl._io.workers import open_client, spread
from samstar_rl.agents.registry import NamedTuner
from samstar_rl.errors import SamstarError
from samstar_rl.results.registry import (
    DEFAULT_FORMATS,
    FORMATS,
    load_formats,
    refuse_foreign,
    replacing_own,
    result_suffixes,
    write_formats,
)
from samstar_rl.results.result import RECORD_SUFFIX, result_path
from samstar_rl.sam.load import weights_sha256
from samstar_rl.scripts._shared.command import make_progress
from samstar_rl.scripts._shared.inputs import find_images, located_sam, located_tuner
from samstar_rl.scripts._shared.result_names import NamedImage, name_images, names_on_disk
from samstar_rl.segmenter import Segmenter
from samstar_rl.sources.readers.registry import FrameReadError, iterate_file
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.budget import GazeOptions

if TYPE_CHECKING:
    from samstar_rl.sam.point_decoder import Precision

SOME_FAILED = 1
#: the name of COCO's file of all frames
MERGED_COCO = f"annotations{FORMATS['coco'].suffix}"


def segment_images(
    inputs: Sequence[Path],
    *,
    task: str | None,
    tuner: str,
    out: Path,
    formats: Sequence[str] | None,
    pixel_size: float | None,
    exclude_border: bool,
    evaluations: int,
    sam: str,
    device: str,
    precision: Precision,
    n_prompts: int | None,
    zoom: float | None,
    budget_ms: float | None,
    seed: int,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Do what `samstar segment` does.

    Parameters
    ----------
    inputs, task, tuner, out, formats, pixel_size, exclude_border, evaluations, sam, device
        The command's options.
    precision, n_prompts, zoom, budget_ms, seed, workers, scheduler
        And these; all stand in ``run.json``.

    Raises
    ------
    SamstarError
        If an input, the task, the tuner or the SAM does not exist or does not fit.
    typer.Exit
        With the exit code 1, if an image failed and others did not.
    """
    given = dict(locals())
    # what is wrong fails here, before any work
    chosen = tuple(formats or DEFAULT_FORMATS)
    load_formats(chosen)
    named = NamedTuner(tuner)
    loaded = load_task(task) if task else named.task
    paths = find_images(inputs)
    images = name_images(paths, out, result_suffixes(chosen))
    if "coco" in chosen:
        refuse_foreign(out / MERGED_COCO)
    sha256 = weights_sha256(sam)
    named.make(loaded, sam_sha256=sha256, n_evaluations=evaluations, seed=seed)
    run = RunFolder(out / "run")
    run.record(
        given
        | {
            "task": loaded.to_dict(),
            "formats": chosen,
            "sam": {"name": sam, "sha256": sha256},
        }
    )
    plan = Plan(
        task=json.dumps(loaded.to_dict()),
        tuner=located_tuner(tuner),
        out=out.absolute(),
        formats=chosen,
        pixel_size_nm=pixel_size,
        exclude_border=exclude_border,
        n_evaluations=evaluations,
        sam=located_sam(sam),
        device=device,
        precision=precision,
        gaze=GazeOptions(n_prompts, zoom, budget_ms),
        seed=seed,
    )
    # each image on its own, here or by workers
    account = Account(out)
    with make_progress() as progress, open_client(workers, scheduler) as client:
        here = plan.segment_file if client else partial(plan.segment_file, tuner=named)
        done = spread(
            client,
            here,
            images,
            on_loss=lambda image, error: Outcome((), {str(image.path): str(error)}),
        )
        for outcome in progress.track(done, total=len(images), description="images"):
            for line in account.take(outcome):
                progress.console.print(line, markup=False, highlight=False)
    # what came of them
    if "coco" in chosen:
        _merge_coco(account, dict(zip(map(str, paths), names_on_disk(paths), strict=True)))
    _finish(account, run)


@dataclass(frozen=True)
class Outcome:
    """What became of a file: a record of each frame, and what went wrong, by frame or file."""

    records: tuple[dict[str, Any], ...]
    failures: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """All that a worker must know to segment any of the files, whatever the others do.

    Parameters
    ----------
    task : str
        In JSON, as `Task.to_dict` has it: a worker elsewhere may not have the file.
    tuner : str
        Where it is found from any folder.
    out : Path
        Exists, also for the workers.
    formats : tuple of str
    pixel_size_nm : float or None
        Takes precedence over what the files state.
    exclude_border : bool
        Of tables and size statistics.
    n_evaluations, seed : int
        Of a search; each file gets random numbers of its own.
    sam, device, precision : str
    gaze : GazeOptions
        What is fixed of the gaze, whatever the tuner chooses.
    """

    task: str
    tuner: str
    out: Path
    formats: tuple[str, ...]
    pixel_size_nm: float | None
    exclude_border: bool
    n_evaluations: int
    sam: str
    device: str
    precision: Precision
    gaze: GazeOptions
    seed: int

    def segment_file(self, image: NamedImage, tuner: NamedTuner | None = None) -> Outcome:
        """Segment the image or the planes of the stack, and write their files.

        Parameters
        ----------
        image : NamedImage
        tuner : NamedTuner, optional
            Where it was read already; a worker reads it once.

        Returns
        -------
        Outcome
            A frame that cannot be segmented does not keep those after it from being treated.
        """
        # a fresh tuner for each file, with random numbers of its own
        loaded = _segmenter(
            self.task, self.sam, self.device, self.precision, self.gaze, self.exclude_border
        )
        named = _named_tuner(self.tuner) if tuner is None else tuner
        segmenter = loaded.with_tuner(
            named.make(
                loaded.task,
                sam_sha256=loaded.engine.sha256,
                n_evaluations=self.n_evaluations,
                seed=int(np.random.SeedSequence([self.seed, image.index]).generate_state(1)[0]),
            )
        )
        writers = load_formats(self.formats)
        records: list[dict[str, Any]] = []
        failures: dict[str, str] = {}
        try:
            for frame in iterate_file(image.path, pixel_size_nm=self.pixel_size_nm):
                plane = frame.id.removeprefix(image.path.stem)
                try:
                    result = replace(
                        segmenter(replace(frame, id=image.name + plane)),
                        source=str(image.path.resolve()),
                    )
                    write_formats(self.out, result, writers)
                except SamstarError as error:  # blank, without the pixel size that the task needs
                    failures[f"{image.path}{plane}"] = str(error)
                else:
                    records.append(result.to_record())
        except SamstarError as error:  # the file is damaged from here on
            failures[str(image.path)] = str(error)
        return Outcome(tuple(records), failures)


@lru_cache(maxsize=1)
def _segmenter(
    task: str,
    sam: str,
    device: str,
    precision: Precision,
    gaze: GazeOptions,
    exclude_border: bool,
) -> Segmenter:
    """The one model of this process."""
    loaded = Task.from_dict(json.loads(task))
    return Segmenter.load(
        loaded,
        sam=sam,
        device=device,
        precision=precision,
        gaze=gaze,
        exclude_border=exclude_border,
    )


_named_tuner = lru_cache(maxsize=1)(NamedTuner)


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
        self.failures |= outcome.failures
        lines = [_describe(record) for record in outcome.records]
        return lines + [
            f"{Path(place).name}: failed: {reason}" for place, reason in outcome.failures.items()
        ]

    def summary(self) -> dict[str, Any]:
        """What came out over all images."""
        records = self.records
        n_particles = sum(record["n_particles"] for record in records)
        sizes = [
            record["n_particles"] * record["equivalent_diameter"]["mean"]
            for record in records
            if record["n_particles"]
        ]
        units = {record["equivalent_diameter"]["unit"] for record in records}
        return {
            # what lies on the disk
            "frames": sum(
                result_path(self.out, record["frame"], RECORD_SUFFIX).is_file()
                for record in records
            ),
            "failed": self.failures,
            "mean_score": float(np.mean([one["score"] for one in records])) if records else None,
            "particles": n_particles,
            "left_out_at_border": sum(record["n_left_out_at_border"] for record in records),
            "mean_equivalent_diameter": {
                "unit": units.pop() if len(units) == 1 else None,  # some have no pixel size
                "mean": sum(sizes) / n_particles if sizes and not units else None,
            },
            "evaluations": sum(record["evaluations"] for record in records),
            "prompts_decoded": sum(record["prompts_decoded"] for record in records),
            "seconds": sum(record["milliseconds"]["total"] for record in records) / 1e3,
        }


def _merge_coco(account: Account, file_names: dict[str, str]) -> None:
    """One file of all frames, in place of one a frame."""
    from samstar_rl.results.coco import merge_coco

    suffix = FORMATS["coco"].suffix
    on_disk = {str(Path(path).resolve()): name for path, name in file_names.items()}
    parts = [result_path(account.out, record["frame"], suffix) for record in account.records]
    if not parts:
        return
    content = merge_coco(parts, [on_disk[record["source"]] for record in account.records])
    together = account.out / MERGED_COCO
    with replacing_own(together) as temporary:
        temporary.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
    for part in parts:
        if part != together:
            part.unlink()


def _finish(account: Account, run: RunFolder) -> None:
    """Write the summary and say where everything is."""
    summary = account.summary()
    run.write_results(summary)
    run.write_scalars(
        {"segment/score": "score", "segment/n_particles": "n_particles"}, account.records
    )
    n_failed = len(account.failures)
    if account.records:
        n_left_out = summary["left_out_at_border"]
        left_out = f" ({n_left_out} at the border left out)" if n_left_out else ""
        typer.echo(
            f"{summary['frames']} frames, {summary['particles']} particles{left_out}, "
            f"mean score {summary['mean_score']:.3f}; results in {account.out}"
        )
    if n_failed and not account.records:
        first = next(iter(account.failures.values()))
        others = f" (and {n_failed - 1} more failed)" if n_failed > 1 else ""
        hint = "; --pixel-size says it" if "pixel size" in first else ""
        raise FrameReadError(f"{first}{hint}{others}")
    if n_failed:
        typer.echo(f"{n_failed} images failed, see above and {run.path / RESULTS_FILE}", err=True)
        raise typer.Exit(SOME_FAILED)


def _describe(record: dict[str, Any]) -> str:
    notes = "".join(f"  ({note})" for note in record["notes"])
    n_left_out = record["n_left_out_at_border"]
    left_out = f" ({n_left_out} at the border left out)" if n_left_out else ""
    return (
        f"{record['frame']}: {record['n_particles']} particles{left_out}, "
        f"score {record['score']:.3f}, "
        f"{record['milliseconds']['total'] / 1e3:.1f} s{notes}"
    )
