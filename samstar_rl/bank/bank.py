"""Banks: frames with their proposals, computed once, from which agents train.

A bank is a folder::

    bank.json            what it is: format, SAM, prompt settings, floor, streams, frames, checksums
    frames/00000.bin     a frame, its features, and its proposals for each choice of prompt settings
    truth/00000.bin      its ground truth, where there is one: apart, and never needed for training

Each file is complete or absent, so that a build that was killed goes on where it stopped. Files are
memory-mapped: processes that read the same bank share its pages.
"""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from samstar_rl._io import atomic
from samstar_rl._io.array_file import ArrayFile, ArrayFileError, write_arrays
from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.masks.particle_table import DESCRIPTOR_COLUMNS, Scene
from samstar_rl.masks.store import MaskStore
from samstar_rl.sam.engine import FrameFeatures, ProposalEngine
from samstar_rl.segmentation.proposals import Effort, Floor, Proposals
from samstar_rl.settings import STABILITY_OFFSETS, PromptSettings

FORMAT = "samstar-bank"
VERSION = 2
MANIFEST = "bank.json"
CACHED_PROPOSALS = 256
"""Proposals that a bank keeps open, with all that was computed from them."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class BankError(SamstarError):
    """A bank is missing, unfinished, damaged, foreign, or does not hold what was asked for."""


@dataclass(frozen=True)
class Progress:
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


def build_bank(
    streams: Iterable[Iterable[Frame | LabelledFrame]],
    path: str | Path,
    engine: ProposalEngine,
    prompts: Sequence[PromptSettings],
    *,
    floor: Floor | None = None,
    offsets: Sequence[float] = STABILITY_OFFSETS,
    on_progress: Callable[[Progress], None] | None = None,
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
    description = _describe(engine, prompts, floor or Floor(), offsets)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            _begin(folder, description)
            _Builder(folder, engine, description, on_progress).build(streams)
    except Timeout as error:
        raise BankError(f"another process is building the bank {folder}: wait for it") from error
    return Bank(folder)


class Bank:
    """A finished bank, open for reading.

    Parameters
    ----------
    path : path
        The bank's folder.
    cached_proposals : int
        Proposals kept open. The same object is returned as long as it is, so that what was computed
        from it (descriptors, overlaps) is there the next time.
    verify : bool
        Compare each file with its checksum when it is first opened.

    Raises
    ------
    BankError
        If there is no bank, it is not finished, or of another version.
    """

    def __init__(
        self, path: str | Path, *, cached_proposals: int = CACHED_PROPOSALS, verify: bool = True
    ) -> None:
        self.path = Path(path)
        manifest = _read_manifest(self.path)
        if not manifest["complete"]:
            raise BankError(
                f"the bank {self.path} is not finished: run the same `samstar bank build` again, "
                "it goes on where it stopped"
            )
        self.prompts = tuple(PromptSettings.from_dict(prompt) for prompt in manifest["prompts"])
        self.offsets: tuple[float, ...] = tuple(manifest["offsets"])
        self.floor = Floor(**manifest["floor"])
        self.sam_name: str | None = manifest["sam_name"]
        self.sam_sha256: str | None = manifest["sam_sha256"]
        self.precision: str = manifest["precision"]
        self.arithmetic: str = manifest["arithmetic"]
        self.view_cost: float = manifest["view_cost"]
        self.streams = tuple(range(*ends) for ends in manifest["streams"])
        self._frames: list[dict[str, Any]] = manifest["frames"]
        self._verify = verify
        self._verified: set[Path] = set()
        self._files = _LeastRecent[int, ArrayFile](cached_proposals)
        self._opened = _LeastRecent[int, Frame](cached_proposals)
        self._proposals = _LeastRecent[tuple[int, PromptSettings], Proposals](cached_proposals)

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def frame_ids(self) -> tuple[str, ...]:
        """Ids of all frames."""
        return tuple(frame["id"] for frame in self._frames)

    @property
    def has_truth(self) -> bool:
        """Whether every frame comes with its ground truth."""
        return all(frame["truth_sha256"] for frame in self._frames)

    def frame_truth_exists(self, index: int) -> bool:
        """Whether a frame comes with its ground truth."""
        return self._entry(index)["truth_sha256"] is not None

    @property
    def n_bytes(self) -> int:
        """Size on disk."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def frame(self, index: int) -> Frame:
        """One frame, without its truth; the same object as long as it is kept open."""
        frame = self._opened.get(index)
        if frame is None:
            file = self._file(index)
            header = file.header
            frame = Frame(file["image"], header["pixel_size_nm"], header["id"], header["time"])
            self._opened.put(index, frame)
        return frame

    def truth(self, index: int) -> NDArray[np.int32]:
        """The ground truth of a frame, (H, W) labels: for judging only.

        Raises
        ------
        BankError
            If there is none.
        """
        sha256 = self._entry(index)["truth_sha256"]
        if sha256 is None:
            raise BankError(f"frame {index} of the bank {self.path} has no ground truth")
        return np.asarray(self._open(_truth_path(self.path, index), sha256)["labels"])

    def features(self, index: int) -> FrameFeatures:
        """Pooled embedding and coarse probe, as `ProposalEngine.features` gives them."""
        file = self._file(index)
        return FrameFeatures(
            pooled=file["pooled"],
            probe_iou_pred=file["probe_iou_pred"],
            probe_stability=file["probe_stability"],
            n_prompts_decoded=file.header["probe_n_prompts"],
            seconds=file.header["probe_seconds"],
        )

    def proposals(self, index: int, prompt: PromptSettings) -> Proposals:
        """The proposals of a frame for one choice of prompt settings.

        Raises
        ------
        BankError
            If the bank does not hold that choice.
        """
        key = index, prompt
        known = self._proposals.get(key)
        if known is not None:
            return known
        record = next((held for held in self.prompts if held.holds(prompt)), None)
        if record is None:
            held = "; ".join(str(held) for held in self.prompts)
            raise BankError(f"the bank {self.path} does not hold {prompt}; it holds {held}")
        if record == prompt:
            proposals = _load_proposals(self._file(index), self.prompts.index(prompt), self)
        else:
            proposals = self.proposals(index, record).first(prompt)
        self._proposals.put(key, proposals)
        return proposals

    def _entry(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise BankError(f"the bank {self.path} has frames 0 to {len(self) - 1}, not {index}")
        return self._frames[index]

    def _file(self, index: int) -> ArrayFile:
        file = self._files.get(index)
        if file is None:
            file = self._open(frame_path(self.path, index), self._entry(index)["sha256"])
            self._files.put(index, file)
        return file

    def _open(self, path: Path, sha256: str) -> ArrayFile:
        verify = self._verify and path not in self._verified
        try:
            file = ArrayFile(path, version=VERSION, sha256=sha256, verify=verify)
        except ArrayFileError as error:
            raise BankError(f"the bank cannot be used: {error}") from error
        self._verified.add(path)
        return file


class _LeastRecent(Generic[Key, Value]):
    """A dictionary that forgets what was not used for longest."""

    def __init__(self, capacity: int) -> None:
        self._capacity = max(1, capacity)
        self._items: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        self._items[key] = value
        if len(self._items) > self._capacity:
            self._items.popitem(last=False)


class _Builder:
    """Computes what is missing of a bank."""

    def __init__(
        self,
        folder: Path,
        engine: ProposalEngine,
        description: dict[str, Any],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._description = description
        self._on_progress = on_progress
        self._prompts = [PromptSettings.from_dict(p) for p in description["prompts"]]

    def build(self, streams: Iterable[Iterable[Frame | LabelledFrame]]) -> None:
        frames: list[dict[str, Any]] = []
        ends: list[tuple[int, int]] = []
        for stream in streams:
            first = len(frames)
            for item in iterate_stream(stream):
                frames.append(self._add(len(frames), item))
            ends.append((first, len(frames)))
        finished = {"frames": frames, "streams": ends, "complete": True}
        atomic.write_json(self._folder / MANIFEST, self._description | finished)

    def _add(self, index: int, item: Frame | LabelledFrame) -> dict[str, Any]:
        frame = item.frame if isinstance(item, LabelledFrame) else item
        path = frame_path(self._folder, index)
        sha256 = self._finished(path, frame)
        reused = sha256 is not None
        if sha256 is None:
            sha256 = self._compute(path, frame)
        truth_sha256 = self._add_truth(index, item)
        if self._on_progress is not None:
            self._on_progress(Progress(index + 1, reused))
        return {"id": frame.id, "sha256": sha256, "truth_sha256": truth_sha256}

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
        embedding = self._engine.embed(frame)
        features = self._engine.features(frame, embedding=embedding)
        floor = Floor(**self._description["floor"])
        arrays: dict[str, NDArray[Any]] = {
            "image": frame.image,
            "pooled": features.pooled,
            "probe_iou_pred": features.probe_iou_pred,
            "probe_stability": features.probe_stability,
        }
        counts = []
        for position, prompt in enumerate(self._prompts):
            proposals = self._engine.propose(
                frame,
                prompt,
                embedding=embedding,
                floor=floor,
                offsets=self._description["offsets"],
            )
            stopped_by = None if proposals.effort is None else proposals.effort.stopped_by
            counts.append([proposals.n_prompts_decoded, proposals.seconds, stopped_by])
            arrays |= {f"{position}/{k}": v for k, v in _arrays_of(proposals).items()}
        header = {
            "id": frame.id,
            "pixel_size_nm": frame.pixel_size_nm,
            "time": frame.time,
            "probe_n_prompts": features.n_prompts_decoded,
            "probe_seconds": features.seconds,
            "proposals": counts,
        }
        return write_arrays(path, arrays, header, version=VERSION)

    def _add_truth(self, index: int, item: Frame | LabelledFrame) -> str | None:
        if not isinstance(item, LabelledFrame):
            return None
        arrays = {"labels": item.truth}
        path = _truth_path(self._folder, index)
        return write_arrays(path, arrays, {"id": item.frame.id}, version=VERSION)


class _PackedMasks(Sequence[memoryview]):
    """Packed masks one after the other in a mapped file."""

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._data = data.data
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> memoryview: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[memoryview]: ...
    def __getitem__(self, index: int | slice) -> memoryview | Sequence[memoryview]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self._data[int(self._offsets[index]) : int(self._offsets[index + 1])]


def _arrays_of(proposals: Proposals) -> dict[str, NDArray[Any]]:
    packed = [bytes(proposals.masks.packed(index)) for index in range(len(proposals))]
    return {
        "iou_pred": proposals.iou_pred,
        "stability": proposals.stability,
        "boxes": proposals.masks.boxes[: len(proposals)],
        "areas": proposals.area_px,
        "point_xy": proposals.point_xy,
        "crop_index": proposals.crop_index,
        "crop_boxes": proposals.crop_boxes,
        **_effort_arrays(proposals),
        "descriptors": proposals.descriptors.all(np.arange(len(proposals))),
        "mask_offsets": np.cumsum([0, *map(len, packed)], dtype=np.int64),
        "masks": np.frombuffer(b"".join(packed), dtype=np.uint8),
    }


def _effort_arrays(proposals: Proposals) -> dict[str, NDArray[Any]]:
    effort, prompt_index = proposals.effort, proposals.prompt_index
    if effort is None or prompt_index is None:
        return {}
    return {
        "prompt_index": prompt_index,
        "prompt_costs": effort.costs,
        "prompt_views": effort.views,
    }


def _load_proposals(file: ArrayFile, position: int, bank: Bank) -> Proposals:
    def array(name: str) -> NDArray[Any]:
        return file[f"{position}/{name}"]

    n_prompts, seconds, stopped_by = file.header["proposals"][position]
    effort = None
    if stopped_by is not None:
        costs, views = array("prompt_costs"), array("prompt_views")
        effort = Effort(costs, views, bank.view_cost, len(array("crop_boxes")) - 1, stopped_by)
    image = file["image"]
    masks = MaskStore(
        image.shape,
        array("boxes"),
        array("areas"),
        _PackedMasks(array("masks"), array("mask_offsets")),
    )
    return Proposals(
        frame_id=file.header["id"],
        prompt=bank.prompts[position],
        offsets=bank.offsets,
        floor=bank.floor,
        scene=Scene(image),
        masks=masks,
        iou_pred=array("iou_pred"),
        stability=array("stability"),
        point_xy=array("point_xy"),
        crop_index=array("crop_index"),
        crop_boxes=array("crop_boxes"),
        n_prompts_decoded=n_prompts,
        prompt_index=None if effort is None else array("prompt_index"),
        effort=effort,
        seconds=seconds,
        pixel_size_nm=file.header["pixel_size_nm"],
        known_descriptors=array("descriptors"),
    )


def _describe(
    engine: ProposalEngine,
    prompts: Sequence[PromptSettings],
    floor: Floor,
    offsets: Sequence[float],
) -> dict[str, Any]:
    """What must be the same for a build to go on."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "sam_name": engine.name,
        "sam_sha256": engine.sha256,
        "arithmetic": engine.arithmetic,
        "precision": engine.precision,
        "view_cost": engine.view_cost,
        "prompts": [prompt.to_dict() for prompt in dict.fromkeys(prompts)],
        "offsets": [float(offset) for offset in offsets],
        "floor": asdict(floor),
        "descriptors": list(DESCRIPTOR_COLUMNS),
    }


def _begin(folder: Path, description: dict[str, Any]) -> None:
    """Write the manifest of a new build, or see that the one there belongs to the same build."""
    atomic.remove_leftovers(folder)
    if not (folder / MANIFEST).exists():
        unfinished = {"frames": [], "streams": [], "complete": False}
        atomic.write_json(folder / MANIFEST, description | unfinished)
        return
    present = _read_manifest(folder)
    different = [key for key, value in description.items() if present.get(key) != value]
    if different:
        changes = "; ".join(
            f"{key} is {present.get(key)!r}, asked for was {description[key]!r}"
            for key in different
        )
        raise BankError(
            f"{folder} holds another bank ({changes}): choose another folder or delete it"
        )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise BankError(
            f"no bank at {folder}: there is no {MANIFEST}; samstar bank build makes one"
        )
    try:
        manifest = json.loads(path.read_text("utf-8"))
        known = manifest["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise BankError(f"{path} is damaged or not a bank's: {error}") from error
    if not known or manifest.get("version") != VERSION:
        raise BankError(
            f"{path} is of the format {manifest['format']!r} version {manifest.get('version')}, "
            f"this program reads {FORMAT!r} version {VERSION}: build the bank anew"
        )
    missing = _MANIFEST_KEYS - manifest.keys()
    if missing:
        raise BankError(f"{path} is damaged: it lacks {', '.join(sorted(missing))}")
    return dict(manifest)


_MANIFEST_KEYS: set[str] = {
    "arithmetic", "complete", "floor", "frames", "offsets", "precision", "prompts", "sam_name",
    "sam_sha256", "streams",
}  # fmt: skip


def frame_path(folder: Path, index: int) -> Path:
    """Where a bank keeps a frame and its proposals."""
    return folder / "frames" / f"{index:05d}.bin"


def _truth_path(folder: Path, index: int) -> Path:
    return folder / "truth" / f"{index:05d}.bin"


def summarise(bank: Bank) -> Mapping[str, str]:
    """What is in a bank, for people: a name and a text each."""
    n_megabytes = bank.n_bytes / 1e6
    per_frame = n_megabytes / max(1, len(bank) * len(bank.prompts))
    return {
        "frames": f"{len(bank)} in {len(bank.streams)} streams",
        "ground truth": "yes" if bank.has_truth else "no",
        "SAM": f"{bank.sam_name or 'unknown'} (sha256 {(bank.sam_sha256 or 'unknown')[:12]})",
        "arithmetic": f"{bank.arithmetic}, {bank.precision}",
        "prompt settings": "\n".join(_describe_prompt(prompt) for prompt in bank.prompts),
        "stability offsets": ", ".join(f"{offset:g}" for offset in bank.offsets),
        "floor": f"predicted IoU {bank.floor.iou_pred:g}, stability {bank.floor.stability:g}",
        "size": f"{n_megabytes:.1f} MB, {per_frame:.2f} MB a frame and prompt setting",
    }


def _describe_prompt(prompt: PromptSettings) -> str:
    if prompt.n_prompts is not None:
        return f"zoom {prompt.zoom:g}, the first {prompt.n_prompts} prompts and any fewer"
    text = f"{prompt.points_per_side} points a side, {prompt.most_prompts} prompts"
    if prompt.crop_n_layers:
        text += (
            f", {prompt.crop_n_layers} crop layers (overlap {prompt.crop_overlap_ratio:.3g}, "
            f"downscale factor {prompt.crop_n_points_downscale_factor})"
        )
    return text


def iterate_stream(stream: Iterable[Frame | LabelledFrame]) -> Iterator[Frame | LabelledFrame]:
    """Return the items of a stream, opened if it is a source that must be."""
    with contextlib.ExitStack() as stack:
        if isinstance(stream, contextlib.AbstractContextManager):
            stack.enter_context(stream)
        yield from stream
