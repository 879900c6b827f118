"""Banks: frames with their proposals, computed once, from which agents train.

A bank is a folder::

    bank.json            what it is: format, SAM, prompt settings, floor, streams, frames, checksums
    frames/00000.bin     a frame, its features, and its proposals for each choice of prompt settings
    truth/00000.bin      its ground truth, where there is one: apart, and never needed for training

Each file is complete or absent, so that a build that was killed goes on where it stopped. Files are
memory-mapped: processes that read the same bank share its pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from samstar_rl._io.array_file import ArrayFile, ArrayFileError
from samstar_rl.errors import SamstarError
from samstar_rl.evidence.plausibility import packaged_likeness
from samstar_rl.frames.frame import Frame
from samstar_rl.masks.particle_table import Scene
from samstar_rl.masks.store import MaskStore
from samstar_rl.sam.embedding import FrameFeatures
from samstar_rl.segmentation.proposals import Effort, Floor, Proposals
from samstar_rl.settings import PromptSettings

FORMAT = "samstar-bank"
VERSION = 2
MANIFEST = "bank.json"
CACHED_PROPOSALS = 256
"""Proposals that a bank keeps open, with all that was computed from them."""


class BankError(SamstarError):
    """A bank is missing, unfinished, damaged, foreign, or does not hold what was asked for."""


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
        manifest = read_manifest(self.path)
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
        kept = max(1, cached_proposals)
        self._file = lru_cache(kept)(self._open_frame_file)
        self._frame = lru_cache(kept)(self._read_frame)
        self._held: WeakValueDictionary[int, Frame] = WeakValueDictionary()
        self._proposals = lru_cache(kept)(self._read_proposals)

    def __len__(self) -> int:
        return len(self._frames)

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
        """One frame, without its truth; the same object as long as anybody holds it.

        All who look at the frame then share what is known of it.
        """
        return self._frame(index)

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
        return np.asarray(self._open(truth_path(self.path, index), sha256)["labels"])

    def features(self, index: int) -> FrameFeatures:
        """The whole frame's embedding, pooled."""
        file = self._file(index)
        return FrameFeatures(file["pooled"], file.header["encoding_seconds"])

    def proposals(
        self, index: int, prompt: PromptSettings, cost_limit: float | None = None
    ) -> Proposals:
        """The proposals of a frame for one choice of prompt settings.

        Parameters
        ----------
        index : int
        prompt : PromptSettings
            Held by those of the bank.
        cost_limit : float, optional
            The budget of the frame, see `ProposalEngine.propose`.

        Returns
        -------
        Proposals

        Raises
        ------
        BankError
            If the bank does not hold that choice.
        """
        position = next((k for k, held in enumerate(self.prompts) if held.holds(prompt)), None)
        if position is None:
            held = "; ".join(str(held) for held in self.prompts)
            raise BankError(f"the bank {self.path} does not hold {prompt}; it holds {held}")
        # only what was recorded is kept open: prefixes share its masks and what is known of them
        return self._proposals(index, position).first(prompt, cost_limit)

    def _read_frame(self, index: int) -> Frame:
        held = self._held.get(index)
        if held is not None:
            return held
        file = self._file(index)
        header = file.header
        frame = Frame(file["image"], header["pixel_size_nm"], header["id"], header["time"])
        self._held[index] = frame
        return frame

    def _read_proposals(self, index: int, position: int) -> Proposals:
        return _load_proposals(self._file(index), position, self)

    def _entry(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise BankError(f"the bank {self.path} has frames 0 to {len(self) - 1}, not {index}")
        return self._frames[index]

    def _open_frame_file(self, index: int) -> ArrayFile:
        return self._open(frame_path(self.path, index), self._entry(index)["sha256"])

    def _open(self, path: Path, sha256: str) -> ArrayFile:
        verify = self._verify and path not in self._verified
        try:
            file = ArrayFile(path, version=VERSION, sha256=sha256, verify=verify)
        except ArrayFileError as error:
            raise BankError(f"the bank cannot be used: {error}") from error
        self._verified.add(path)
        return file


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


def _load_proposals(file: ArrayFile, position: int, bank: Bank) -> Proposals:
    def array(name: str) -> NDArray[Any]:
        return file[f"{position}/{name}"]

    n_prompts, seconds, stopped_by = file.header["proposals"][position]
    effort = None
    if stopped_by is not None:
        costs, views = array("prompt_costs"), array("prompt_views")
        effort = Effort(costs, views, bank.view_cost, len(array("crop_boxes")) - 1, stopped_by)
    recorded, likeness = file.header.get("likeness"), None
    if recorded is not None and recorded["sha256"] == packaged_likeness().sha256:
        likeness = {recorded["stability_offset"]: array("likeness")}
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
        view_cost=bank.view_cost,
        prompt_index=None if effort is None else array("prompt_index"),
        effort=effort,
        seconds=seconds,
        pixel_size_nm=file.header["pixel_size_nm"],
        known_descriptors=array("descriptors"),
        known_likeness=likeness,
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """What ``bank.json`` of a bank says, finished or not.

    Raises
    ------
    BankError
        If there is none, or it is damaged, foreign or of another version.
    """
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
    "sam_sha256", "streams", "view_cost",
}  # fmt: skip


def frame_path(folder: Path, index: int) -> Path:
    """Where a bank keeps a frame and its proposals."""
    return folder / "frames" / f"{index:05d}.bin"


def truth_path(folder: Path, index: int) -> Path:
    """Where a bank keeps the ground truth of a frame."""
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
