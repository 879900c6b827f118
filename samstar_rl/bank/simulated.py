"""Banks of simulated streams: what the environments train on when no bank is given."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from samstar_rl._io.cache import cache_folder
from samstar_rl._io.onnx_export import weights_sha256
from samstar_rl.bank.bank import VERSION, BankError
from samstar_rl.bank.build import build_for_task, open_whole
from samstar_rl.foreground.network import ORIENTATIONS, packaged_network
from samstar_rl.masks.particle_table import DESCRIPTOR_COLUMNS
from samstar_rl.segmentation.proposals import Floor
from samstar_rl.simulator import PRESETS, SIMULATOR_VERSION, SimulatedStream
from samstar_rl.tasks.task import Task

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.frames.frame import LabelledFrame
    from samstar_rl.sam.engine import ProposalEngine

FALLBACK_PRESET = "particles"


@dataclass(frozen=True)
class SimulatedStreams:
    """Which frames of which simulated experiments.

    The simulator drifts over tens to hundreds of frames, as experiments do. Taking every eighth
    frame lets a few frames, whose proposals cost a SAM much, span a whole experiment.

    Attributes
    ----------
    n_streams, n_frames : int
        Streams, each of another sample, and frames in each.
    size_px : int
        Side of a frame.
    drift : float
        Of dose, focus, magnification and density; 1 is an ordinary experiment.
    every : int
        Distance of the frames in the experiment.
    first_seed : int
        The streams have this seed and those that follow; see `samstar_rl.simulator.seeds`.
    survey : int
        As in `SimulatedStream`: sample types of an automated survey, or 0 for experiments that
        drift.
    """

    n_streams: int = 8
    n_frames: int = 12
    size_px: int = 256
    drift: float = 1.0
    every: int = 1
    first_seed: int = 0
    survey: int = 0

    def __len__(self) -> int:
        return self.n_streams * self.n_frames

    def streams(self, task: Task) -> Iterator[Iterator[LabelledFrame]]:
        """The streams, with the truth that only a judge will see, of the task's preset."""
        for seed in range(self.first_seed, self.first_seed + self.n_streams):
            yield self._stream(preset_of(task), seed)

    def _stream(self, preset: str, seed: int) -> Iterator[LabelledFrame]:
        with SimulatedStream(
            preset, seed=seed, size=self.size_px, drift=self.drift, survey=self.survey
        ) as stream:
            for index in range(0, self.n_frames * self.every, self.every):
                yield stream.frame_at(index)


TO_LEARN_FROM = SimulatedStreams(n_streams=60, n_frames=2, size_px=512, every=30)
"""Two frames of each of many experiments: what a policy learns is limited by how many samples it
meets, and SAM's proposals are what a training spends its time on."""

SMALL = SimulatedStreams(n_streams=6, n_frames=3, size_px=256, every=30)
"""Few and small frames, which SAM treats in a minute: what the environments take by themselves."""


def simulated_bank(
    task: Task,
    frames: SimulatedStreams | None = None,
    *,
    engine: ProposalEngine | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Bank:
    """A bank of simulated streams for a task, built once and then taken from the user's cache.

    It is built anew when what SAM does changes: the SAM, the prompt settings that the task can
    reach, the frames. Other weights, targets or static settings use the same bank: proposals do
    not depend on them.

    Parameters
    ----------
    task : Task
        Names the simulator's preset (``particles`` if there is none of its name) and the prompt
        settings.
    frames : SimulatedStreams, optional
        By default a small number.
    engine : ProposalEngine, optional
        By default one with the embedded SAM.
    on_progress : callable, optional
        Called with the share that is done, in [0, 1].

    Returns
    -------
    Bank
    """
    if engine is None:
        from samstar_rl.sam.engine import ProposalEngine
        from samstar_rl.sam.load import load_sam

        engine = ProposalEngine(load_sam("tiny"))
    frames = frames or SimulatedStreams()
    folder = cache_folder("banks") / f"{preset_of(task)}-{_key(task, engine, frames)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        with contextlib.suppress(BankError):
            bank = open_whole(folder)
            if on_progress is not None:
                on_progress(1.0)
            return bank
        return build_for_task(
            task, frames.streams(task), folder, engine, n_frames=len(frames),
            on_progress=on_progress,
        )  # fmt: skip


def preset_of(task: Task) -> str:
    """The simulator's preset for a task: the one of its name, or else ``particles``."""
    return task.name if task.name in PRESETS else FALLBACK_PRESET


def with_ladder(task: Task, points_per_side: Sequence[int] | None) -> Task:
    """The same task with the stock generator's grid, of these densities, in place of its gaze.

    The static density is the nearest one. Without any densities the task itself.
    """
    if not points_per_side:
        return task
    ladder = sorted(set(points_per_side))
    data: dict[str, Any] = task.to_dict()
    for name in ("n_prompts", "zoom"):
        data["settings"].pop(name, None)
        data["static"].pop(name, None)
    wanted = data["static"]["points_per_side"]
    nearest = min(ladder, key=lambda side: abs(side - wanted))
    data["settings"]["points_per_side"] = {"ladder": ladder}
    data["static"] = data["static"] | {"points_per_side": nearest}
    return Task.from_dict(data)


def with_gaze(
    task: Task, *, most_prompts: int | None = None, zooms: Sequence[float] | None = None
) -> Task:
    """The same task with a gaze of fewer choices, whose bank costs SAM less.

    Parameters
    ----------
    task : Task
        One that leaves ``n_prompts`` and ``zoom`` free is narrowed; any other is returned as it is.
    most_prompts : int, optional
        At each zoom; by default the task's.
    zooms : sequence of float, optional
        By default the task's.

    Returns
    -------
    Task
        Its static settings keep to the same bounds.

    Raises
    ------
    SettingsError
        If there are fewer prompts than the least that the task takes.
    """
    if not {"n_prompts", "zoom"} <= set(task.space.names):
        return task
    data: dict[str, Any] = task.to_dict()
    low, high = task.space.limits("n_prompts")
    high = min(high, most_prompts or high)
    ladder = sorted({float(zoom) for zoom in zooms}) if zooms else None
    data["settings"]["n_prompts"] = {"low": low, "high": high, "scale": "log"}
    if ladder is not None:
        data["settings"]["zoom"] = {"ladder": ladder}
        wanted = data["static"].get("zoom", 1.0)
        data["static"]["zoom"] = min(ladder, key=lambda zoom: abs(zoom - wanted))
    data["static"]["n_prompts"] = min(data["static"].get("n_prompts", high), high)
    return Task.from_dict(data)


def _key(task: Task, engine: ProposalEngine, frames: SimulatedStreams) -> str:
    """What decides about the bank's content, as 16 hexadecimal digits."""
    floor = Floor.under(task.space)
    content = {
        "sam": engine.sha256 or engine.name,
        "view_cost": engine.view_cost,
        "foreground": [weights_sha256(packaged_network()), ORIENTATIONS],
        "simulator": SIMULATOR_VERSION,
        "preset": preset_of(task),
        "prompts": [prompt.to_dict() for prompt in task.space.prompts()],
        "floor": [floor.iou_pred, floor.stability],
        "bank": [VERSION, *DESCRIPTOR_COLUMNS],
        "arithmetic": [engine.arithmetic, engine.precision],
        "frames": asdict(frames),
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
