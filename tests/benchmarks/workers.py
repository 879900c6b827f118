"""`samstar segment` over a folder by one and by two workers: the same files, how much sooner."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from samstar_rl._io.workers import open_client, spread
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.results.registry import DEFAULT_FORMATS
from samstar_rl.scripts._shared.segmenting import NamedImage, Outcome, Plan, name_images
from samstar_rl.tasks.task import load_task
from samstar_rl.tuning.budget import GazeOptions
from tests.benchmarks.report import Row


def measure(items: Sequence[LabelledFrame], *, n_rounds: int) -> list[Row]:
    """Both clusters in turn on the same files, once each is warm; and once with neither."""
    with (
        tempfile.TemporaryDirectory() as name,
        open_client(1, None) as one,
        open_client(2, None) as two,
    ):
        images = write_images(items, Path(name) / "images")
        alone, *others = (plan_into(Path(name) / part) for part in ("alone", "one", "two"))
        serial_rate = run_serially(alone, images)
        clients = list(zip((one, two), others, strict=True))
        for client, plan in clients:  # every worker loads its model
            run(client, plan, images)
        rates = [[run(client, plan, images) for client, plan in clients] for _ in range(n_rounds)]
        for plan in others:
            compare(alone.out, plan.out)
    ratios = [two_rate / one_rate for one_rate, two_rate in rates]
    one_rate, two_rate = np.median(rates, axis=0)
    spread_text = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return [
        Row(
            f"segment a folder, 2 workers / 1 worker, {len(images)} frames",
            f"{two_rate:.2f} frames/s",
            f"{one_rate:.2f} frames/s",
            float(np.median(ratios)),
            note=f"median of {n_rounds} rounds: {spread_text}; one thread a worker; labels, tables "
            f"and records are those of the serial run ({serial_rate:.2f} frames/s with one thread)",
        )
    ]


def write_images(items: Sequence[LabelledFrame], folder: Path) -> list[NamedImage]:
    """The frames as files."""
    folder.mkdir()
    paths = [folder / f"{number:03d}.tif" for number in range(len(items))]
    for path, item in zip(paths, items, strict=True):
        tifffile.imwrite(path, item.frame.image)
    return name_images(paths, folder.parent / "results")


def plan_into(out: Path) -> Plan:
    """What `samstar segment` does without options."""
    out.mkdir()
    return Plan(
        task=json.dumps(load_task("particles").to_dict()),
        tuner="static",
        out=out,
        formats=DEFAULT_FORMATS,
        pixel_size_nm=None,
        exclude_border=False,
        n_evaluations=1,
        sam="tiny",
        device="cpu",
        precision="float32",
        gaze=GazeOptions(),
        seed=0,
    )


def run_serially(plan: Plan, images: Sequence[NamedImage]) -> float:
    """Frames a second without workers, with one thread, as each of them has."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plan.segment_file(images[0])  # the first call loads the model
        return run(None, plan, images)
    finally:
        torch.set_num_threads(n_threads)


def run(client: Any, plan: Plan, images: Sequence[NamedImage]) -> float:
    """Frames a second of one pass over the files."""
    started = time.perf_counter()
    outcomes: list[Outcome] = list(spread(client, plan.segment_file, images))
    seconds = time.perf_counter() - started
    failed = [failure for outcome in outcomes for failure in outcome.failures.values()]
    if failed:
        raise RuntimeError(f"{len(failed)} files failed, the first with: {failed[0]}")
    return len(outcomes) / seconds


def compare(serial: Path, spread_out: Path) -> None:
    """See that both folders hold the same, down to the byte; but for the milliseconds.

    Raises
    ------
    RuntimeError
        If they do not.
    """
    names = sorted(path.name for path in serial.iterdir())
    others = sorted(path.name for path in spread_out.iterdir())
    different = [name for name in names if content(serial / name) != content(spread_out / name)]
    if names != others or different:
        raise RuntimeError(f"workers gave other results than one process: {different or others}")


def content(path: Path) -> Any:
    """The bytes of a file; of a record all but how long it took."""
    if path.suffix != ".json":
        return path.read_bytes()
    record = json.loads(path.read_text("utf-8"))
    return {key: value for key, value in record.items() if key != "milliseconds"}
