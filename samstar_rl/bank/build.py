"""Building banks: whoever needs one calls `build_for_task`, or `build_bank` for other prompts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from samstar_rl._io import atomic
from samstar_rl._io.array_file import ArrayFile, ArrayFileError, write_arrays
from samstar_rl.bank.bank import (
    FORMAT,
    MANIFEST,
    VERSION,
    Bank,
    BankError,
    frame_path,
    read_manifest,
    truth_path,
)
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.evidence.plausibility import packaged_likeness
from samstar_rl.foreground.sample import Sample
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.masks.particle_table import DESCRIPTOR_COLUMNS
from samstar_rl.segmentation.proposals import Floor
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import STABILITY_OFFSETS, Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from samstar_rl.sam.engine import ProposalEngine
    from samstar_rl.segmentation.proposals import Proposals
    from samstar_rl.settings import PromptSettings
    from samstar_rl.tasks.task import Task

MOST_PROMPTS_A_ZOOM, MOST_PROMPTS = 384, 1500
"""Prompts of a frame that a task's bank holds, for each zoom and in all."""

Streams = Iterable[Iterable[Frame | LabelledFrame]]
"""Streams of frames; a stream may be a source that must be opened."""


@dataclass(frozen=True)
class BankProgress:
    """How far a build is.

    Attributes
    ----------
    n_frames : int
        Frames in the bank by now.
    reused : bool
        Whether the last of them was there before.
    """

    n_frames: int
    reused: bool


def build_for_task(
    task: Task,
    streams: Streams,
    path: str | Path,
    engine: ProposalEngine,
    *,
    n_frames: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> Bank:
    """Build the bank of a task, or finish one that was begun: all that its settings can ask for.

    Parameters
    ----------
    task : Task
        The bank holds every choice of prompt settings that its space reaches, and no masks that no
        setting of it could keep.
    streams : iterable of streams, each an iterable of Frame or LabelledFrame
    path : path
        The bank's folder.
    engine : ProposalEngine
    n_frames : int
        In all, for the progress.
    on_progress : callable, optional
        Called with the share that is done, in [0, 1], at the beginning and after each frame.

    Returns
    -------
    Bank
        Open, with room for all its proposals.

    Raises
    ------
    BankError
        If another process builds this bank, the folder holds another bank, or the task asks for
        more prompts than a bank holds.
    """
    announce = on_progress or (lambda share: None)
    announce(0.0)
    build_bank(
        streams,
        path,
        engine,
        _within_limits(task.space.prompts()),
        floor=Floor.under(task.space),
        on_progress=lambda progress: announce(progress.n_frames / max(n_frames, progress.n_frames)),
    )
    return open_whole(path)


def _within_limits(prompts: tuple[PromptSettings, ...]) -> tuple[PromptSettings, ...]:
    """Refuse numbers of prompts that would make a frame's record too large and slow to build."""
    numbers = [prompt.n_prompts for prompt in prompts if prompt.n_prompts is not None]
    most = min(MOST_PROMPTS_A_ZOOM, MOST_PROMPTS // max(len(numbers), 1))
    if max(numbers, default=0) > MOST_PROMPTS_A_ZOOM or sum(numbers) > MOST_PROMPTS:
        raise BankError(
            f"a bank holds at most {MOST_PROMPTS_A_ZOOM} prompts a zoom and {MOST_PROMPTS} in all, "
            f"the task asks for up to {max(numbers)} at each of {len(numbers)} zooms: set "
            f"high = {most} under [settings.n_prompts], or fewer zooms"
        )
    return prompts


def open_whole(path: str | Path) -> Bank:
    """Open a bank with room for all its proposals: training meets each of them again and again."""
    bank = Bank(path)
    return Bank(path, cached_proposals=len(bank) * len(bank.prompts))


def build_bank(
    streams: Streams,
    path: str | Path,
    engine: ProposalEngine,
    prompts: Sequence[PromptSettings],
    *,
    floor: Floor | None = None,
    offsets: Sequence[float] = STABILITY_OFFSETS,
    on_progress: Callable[[BankProgress], None] | None = None,
) -> Bank:
    """Compute the proposals of many frames and keep them on disk.

    Called again after a kill at any moment, with the same arguments, it goes on: frames that are
    there, and whose image is still the same, are not computed anew.

    Parameters
    ----------
    streams : iterable of streams, each an iterable of Frame or LabelledFrame
        A stream's frames belong together in their order; windows of frames never cross its ends.
    path : path
        The bank's folder.
    engine : ProposalEngine
        The one owner of the model.
    prompts : sequence of PromptSettings
        The choices that will be in the bank.
    floor : Floor, optional
        Masks below it are left out: no setting of the task may go under it.
    offsets : sequence of float
        Stability offsets that will be in the bank.
    on_progress : callable, optional
        Called after each frame.

    Returns
    -------
    Bank

    Raises
    ------
    BankError
        If another process builds this bank, or the folder holds another bank.
    """
    if not prompts:
        raise BankError("a bank needs at least one choice of prompt settings")
    folder = Path(path)
    for name in ("frames", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    build = _Build(folder, engine, tuple(dict.fromkeys(prompts)), floor or Floor(), tuple(offsets))
    try:
        with FileLock(folder / ".lock", timeout=0):
            build.begin()
            frames: list[dict[str, Any]] = []
            ends: list[tuple[int, int]] = []
            for stream in streams:
                first = len(frames)
                for item in iterate_stream(stream):
                    entry, reused = build.add(len(frames), item)
                    frames.append(entry)
                    if on_progress is not None:
                        on_progress(BankProgress(len(frames), reused))
                ends.append((first, len(frames)))
            # the manifest is written last: with it the bank is complete
            finished = {"frames": frames, "streams": ends, "complete": True}
            atomic.write_json(folder / MANIFEST, build.description | finished)
    except Timeout as error:
        raise BankError(f"another process is building the bank {folder}: wait for it") from error
    return Bank(folder)


@dataclass(frozen=True)
class _Build:
    """What a build computes, and how one frame of it is added."""

    folder: Path
    engine: ProposalEngine
    prompts: tuple[PromptSettings, ...]
    floor: Floor
    offsets: tuple[float, ...]

    @property
    def description(self) -> dict[str, Any]:
        """What must be the same for a build to go on."""
        engine = self.engine
        return {
            "format": FORMAT,
            "version": VERSION,
            "sam_name": engine.name,
            "sam_sha256": engine.sha256,
            "arithmetic": engine.arithmetic,
            "precision": engine.precision,
            "view_cost": engine.view_cost,
            "prompts": [prompt.to_dict() for prompt in self.prompts],
            "offsets": [float(offset) for offset in self.offsets],
            "floor": asdict(self.floor),
            "descriptors": list(DESCRIPTOR_COLUMNS),
        }

    def begin(self) -> None:
        """Write the manifest of a new build, or see that the one there is of the same build."""
        folder, wanted = self.folder, self.description
        atomic.remove_leftovers(folder)
        if not (folder / MANIFEST).exists():
            unfinished = {"frames": [], "streams": [], "complete": False}
            atomic.write_json(folder / MANIFEST, wanted | unfinished)
            return
        present = read_manifest(folder)
        changes = "; ".join(
            f"{key} is {present.get(key)!r}, asked for was {value!r}"
            for key, value in wanted.items()
            if present.get(key) != value
        )
        if changes:
            raise BankError(
                f"{folder} holds another bank ({changes}): choose another folder or delete it"
            )

    def add(self, index: int, item: Frame | LabelledFrame) -> tuple[dict[str, Any], bool]:
        """Add a frame; returns its entry in the manifest, and whether it was there before."""
        frame = item.frame if isinstance(item, LabelledFrame) else item
        path = frame_path(self.folder, index)
        known = self._finished(path, frame)
        sha256 = known or self._compute(path, frame)
        truth_sha256 = None
        if isinstance(item, LabelledFrame):
            truth_sha256 = write_arrays(
                truth_path(self.folder, index), {"labels": item.truth}, {"id": frame.id},
                version=VERSION,
            )  # fmt: skip
        entry = {"id": frame.id, "sha256": sha256, "truth_sha256": truth_sha256}
        return entry, known is not None

    def _finished(self, path: Path, frame: Frame) -> str | None:
        """The checksum of the frame's file if it is there and holds this very frame."""
        try:
            file = ArrayFile(path, version=VERSION)
        except ArrayFileError:
            return None
        known = (file.header["id"], file.header["pixel_size_nm"], file.header["time"])
        same = known == (frame.id, frame.pixel_size_nm, frame.time)
        if same and np.array_equal(file["image"], frame.image, equal_nan=True):
            return file.sha256
        return None

    def _compute(self, path: Path, frame: Frame) -> str:
        engine = self.engine
        embedding = engine.embed(frame)
        evidence, usual = FrameEvidence(frame, Sample()), Settings()
        judges = usual.stability_score_offset in self.offsets
        arrays: dict[str, NDArray[Any]] = {"image": frame.image, "pooled": embedding.pooled}
        counts = []
        for position, prompt in enumerate(self.prompts):
            proposals = engine.propose(
                frame, prompt, embedding=embedding, floor=self.floor, offsets=self.offsets
            )
            stopped_by = None if proposals.effort is None else proposals.effort.stopped_by
            counts.append([proposals.n_prompts_decoded, proposals.seconds, stopped_by])
            arrays |= {f"{position}/{k}": v for k, v in _arrays_of(proposals).items()}
            if judges:  # training then never runs the network of plausibility
                everything = np.arange(len(proposals))
                found = Segmentation(frame.id, usual, proposals, everything, everything)
                likeness = evidence.likeness(found.table).astype(np.float32)
                arrays[f"{position}/likeness"] = likeness
        header: dict[str, Any] = {
            "id": frame.id,
            "pixel_size_nm": frame.pixel_size_nm,
            "time": frame.time,
            "encoding_seconds": embedding.seconds,
            "proposals": counts,
        }
        if judges:
            header["likeness"] = {
                "sha256": packaged_likeness().sha256,
                "stability_offset": usual.stability_score_offset,
            }
        return write_arrays(path, arrays, header, version=VERSION)


def _arrays_of(proposals: Proposals) -> dict[str, NDArray[Any]]:
    effort: dict[str, NDArray[Any]] = {}
    if proposals.effort is not None and proposals.prompt_index is not None:
        effort = {
            "prompt_index": proposals.prompt_index,
            "prompt_costs": proposals.effort.costs,
            "prompt_views": proposals.effort.views,
        }
    packed = [bytes(proposals.masks.packed(index)) for index in range(len(proposals))]
    return {
        "iou_pred": proposals.iou_pred,
        "stability": proposals.stability,
        "boxes": proposals.masks.boxes[: len(proposals)],
        "areas": proposals.area_px,
        "point_xy": proposals.point_xy,
        "crop_index": proposals.crop_index,
        "crop_boxes": proposals.crop_boxes,
        **effort,
        "descriptors": proposals.descriptors.all(np.arange(len(proposals))),
        "mask_offsets": np.cumsum([0, *map(len, packed)], dtype=np.int64),
        "masks": np.frombuffer(b"".join(packed), dtype=np.uint8),
    }


def iterate_stream(stream: Iterable[Frame | LabelledFrame]) -> Iterator[Frame | LabelledFrame]:
    """Return the items of a stream, opened if it is a source that must be."""
    with contextlib.ExitStack() as stack:
        if isinstance(stream, contextlib.AbstractContextManager):
            stack.enter_context(stream)
        yield from stream
