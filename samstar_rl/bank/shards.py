"""Banks computed by workers: each frame first as a bank of its own, then all joined.

A part is complete or absent, as every bank is, so that a worker or a whole run that is killed loses
nothing but what it had in hand.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from samstar_rl._io.atomic import read_json
from samstar_rl.bank.bank import MANIFEST, BankError, build_bank, frame_path, iterate_stream
from samstar_rl.frames.frame import Frame, LabelledFrame
from samstar_rl.sam.engine import Floor, ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.sam.point_decoder import Precision
from samstar_rl.settings import PromptSettings

#: what differs between a bank and its parts
OWN_KEYS = ("frames", "streams", "complete")


@dataclass(frozen=True)
class PartPlan:
    """All that a worker must know to compute the proposals of any frame.

    Parameters
    ----------
    bank : Path
        The bank's folder; workers see it, and that of the parts beside it, under the same path.
    sam, device : str
    precision : {"float32", "bfloat16", "float16"}
    prompts : tuple of PromptSettings
    floor : Floor
    """

    bank: Path
    sam: str
    device: str
    precision: Precision
    prompts: tuple[PromptSettings, ...]
    floor: Floor

    @property
    def folder(self) -> Path:
        """Where the parts lie until they are joined."""
        return self.bank.with_name(f"{self.bank.name}.parts")

    def missing(self, index: int) -> bool:
        """Whether a frame's proposals are not in the bank yet; what is there is checked later."""
        return not frame_path(self.bank, index).exists()

    def compute(self, item: tuple[int, Frame]) -> int:
        """Compute one frame's part, or see that it is there; returns its index."""
        index, frame = item
        engine = _engine(self.sam, self.device, self.precision)
        build_bank([[frame]], part_path(self.folder, index), engine, self.prompts, floor=self.floor)
        return index


def part_path(folder: Path, index: int) -> Path:
    """Where the part of a frame lies."""
    return folder / f"{index:05d}"


def number_frames(
    streams: Iterable[Iterable[Frame | LabelledFrame]],
) -> Iterator[tuple[int, Frame]]:
    """All frames, without their truth, numbered as a bank numbers them."""
    index = 0
    for stream in streams:
        for item in iterate_stream(stream):
            yield index, item.frame if isinstance(item, LabelledFrame) else item
            index += 1


def join_parts(parts: Path, bank: Path) -> None:
    """Move the frames of all parts to where `build_bank` finds them finished.

    Raises
    ------
    BankError
        If the folder holds a bank that was made otherwise.
    """
    if not parts.exists():
        return  # all was in the bank before
    for part in sorted(parts.iterdir()):
        computed, home = frame_path(part, 0), frame_path(bank, int(part.name))
        if computed.exists():  # else an earlier run was stopped between this and the end
            _check_same(part / MANIFEST, bank / MANIFEST)
            home.parent.mkdir(parents=True, exist_ok=True)
            os.replace(computed, home)
    shutil.rmtree(parts)


def _check_same(part: Path, bank: Path) -> None:
    if bank.exists() and _made(part) != _made(bank):
        raise BankError(
            f"{bank.parent} holds another bank: choose another folder or delete it; the parts that "
            f"were computed stay in {part.parent.parent}"
        )


def _made(manifest: Path) -> dict[str, Any]:
    """How a bank was made."""
    content = read_json(manifest)
    return {key: value for key, value in content.items() if key not in OWN_KEYS}


@lru_cache(maxsize=1)
def _engine(sam: str, device: str, precision: Precision) -> ProposalEngine:
    """The one model of this process."""
    return ProposalEngine(load_sam(sam), device=device, precision=precision)
