"""Banks of simulated streams: what the environments train on when no bank is given."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from samstar_rl.bank.bank import VERSION, Bank, BankError, build_bank
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.masks.particle_table import DESCRIPTOR_COLUMNS
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.proposals import Floor
from samstar_rl.simulator import PRESETS, SIMULATOR_VERSION, SimulatedStream
from samstar_rl.tasks.task import Task

CACHE_VARIABLE = "SAMSTAR_CACHE"
N_STREAMS, N_FRAMES, SIZE_PX, DRIFT = 8, 12, 256, 1.0
FALLBACK_PRESET = "particles"


def cache_folder() -> Path:
    """Where banks are cached: the user's cache folder, or what SAMSTAR_CACHE says."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else user_cache_path("samstar_rl", appauthor=False)


def simulated_bank(
    task: Task,
    *,
    n_streams: int = N_STREAMS,
    n_frames: int = N_FRAMES,
    size_px: int = SIZE_PX,
    drift: float = DRIFT,
    every: int = 1,
    first_seed: int = 0,
    engine: ProposalEngine | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Bank:
    """A small bank of simulated streams for a task, built once and then taken from the cache.

    It is built anew when what SAM does changes: the SAM, the prompt settings that the task can
    reach, the frames. Other weights, targets or static settings use the same bank: proposals do
    not depend on them.

    Parameters
    ----------
    task : Task
        Names the simulator's preset (``particles`` if there is none of its name) and the prompt
        settings.
    n_streams, n_frames : int
        Streams, each of another sample, and frames in each.
    size_px : int
        Side of a frame.
    drift : float
        Of dose, focus, magnification and density; 1 is an ordinary experiment.
    every : int
        Take every so many-th frame of an experiment: fewer frames then show more of its drift.
    first_seed : int
        The streams have this seed and those that follow.
    engine : ProposalEngine, optional
        By default one with the embedded SAM.
    on_frame : callable, optional
        Called after each frame with how many there are.

    Returns
    -------
    Bank
    """
    engine = engine or ProposalEngine(load_sam("tiny"))
    parameters = {
        "n_streams": n_streams,
        "n_frames": n_frames,
        "size_px": size_px,
        "drift": drift,
        "first_seed": first_seed,
    } | ({} if every == 1 else {"every": every})
    folder = cache_folder() / "banks" / f"{preset_of(task)}-{_key(task, engine, parameters)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        with contextlib.suppress(BankError):
            return open_whole(folder)
        build_simulated_bank(
            task,
            folder,
            seeds=range(first_seed, first_seed + n_streams),
            n_frames=n_frames,
            size_px=size_px,
            drift=drift,
            every=every,
            engine=engine,
            on_frame=on_frame,
        )
    return open_whole(folder)


def open_whole(folder: Path) -> Bank:
    """Open a bank with room for all its proposals: training meets each of them again and again."""
    bank = Bank(folder)
    return Bank(folder, cached_proposals=max(1, len(bank) * len(bank.prompts)))


def build_simulated_bank(
    task: Task,
    folder: Path,
    *,
    seeds: Sequence[int],
    n_frames: int,
    size_px: int = SIZE_PX,
    drift: float = DRIFT,
    every: int = 1,
    engine: ProposalEngine | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Bank:
    """Build a bank of one simulated stream for each seed, or finish one that was begun.

    Parameters are those of `simulated_bank`, but for ``folder``, the bank's, and ``seeds``.
    """
    engine = engine or ProposalEngine(load_sam("tiny"))
    preset = preset_of(task)
    length = n_frames * every
    streams = [
        _take(SimulatedStream(preset, seed=seed, size=size_px, length=length, drift=drift), every)
        for seed in seeds
    ]
    return build_bank(
        streams,
        folder,
        engine,
        task.space.prompts(),
        floor=Floor.under(task.space),
        on_progress=None if on_frame is None else lambda progress: on_frame(progress.n_frames),
    )


def _take(stream: SimulatedStream, every: int) -> Iterator[LabelledFrame]:
    """Every so many-th frame."""
    with stream:
        for index in range(0, stream.length or 0, every):
            yield stream.frame_at(index)


def preset_of(task: Task) -> str:
    """The simulator's preset for a task: the one of its name, or else ``particles``."""
    return task.name if task.name in PRESETS else FALLBACK_PRESET


def with_ladder(task: Task, points_per_side: Sequence[int]) -> Task:
    """The same task with another ladder of prompt densities, the static one snapped to it."""
    data: dict[str, Any] = task.to_dict()
    wanted = data["static"]["points_per_side"]
    nearest = min(points_per_side, key=lambda side: abs(side - wanted))
    data["settings"]["points_per_side"] = {"ladder": list(points_per_side)}
    data["static"] = data["static"] | {"points_per_side": nearest}
    return Task.from_dict(data)


def _key(task: Task, engine: ProposalEngine, parameters: dict[str, Any]) -> str:
    """What decides about the bank's content, as 16 hexadecimal digits."""
    floor = Floor.under(task.space)
    content = {
        "sam": engine.sha256 or engine.name,
        "simulator": SIMULATOR_VERSION,
        "preset": preset_of(task),
        "prompts": [prompt.to_dict() for prompt in task.space.prompts()],
        "floor": [floor.iou_pred, floor.stability],
        "bank": [VERSION, *DESCRIPTOR_COLUMNS],
        "arithmetic": [engine.arithmetic, engine.precision],
        **parameters,
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
