"""Banks computed by workers: each frame first as a bank of its own, then all joined.

A part is complete or absent, as every bank is, so that a worker or a whole run that is killed loses
nothing but what it had in hand.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samstar_rl._io.atomic import read_json
from samstar_rl._io.workers import spread
from samstar_rl.bank.bank import MANIFEST, BankError, frame_path
from samstar_rl.bank.build import build_bank, iterate_stream
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.proposals import Floor

if TYPE_CHECKING:
    from distributed import Client

    from samstar_rl.bank.build import Streams
    from samstar_rl.frames.frame import Frame
    from samstar_rl.sam.point_decoder import Precision
    from samstar_rl.settings import PromptSettings
    from samstar_rl.tasks.task import Task

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

    @classmethod
    def of_task(cls, task: Task, bank: Path) -> PartPlan:
        """All that a task's settings can ask for, by the embedded SAM."""
        prompts, floor = tuple(task.space.prompts()), Floor.under(task.space)
        return cls(bank, "tiny", "cpu", "float32", prompts, floor)

    @property
    def folder(self) -> Path:
        """Where the parts lie until they are joined."""
        return self.bank.with_name(f"{self.bank.name}.parts")

    def compute(self, item: tuple[int, Frame]) -> int:
        """Compute one frame's part, or see that it is there; returns its index."""
        index, frame = item
        engine = _engine(self.sam, self.device, self.precision)
        build_bank([[frame]], part_path(self.folder, index), engine, self.prompts, floor=self.floor)
        return index


def part_path(folder: Path, index: int) -> Path:
    """Where the part of a frame lies."""
    return folder / f"{index:05d}"


def compute_by_workers(
    client: Client,
    plan: PartPlan,
    streams: Streams,
    on_frame: Callable[[int], None] | None = None,
) -> None:
    """Let workers compute the frames that a bank lacks; what is built then finds all finished.

    Parameters
    ----------
    client : Client
        Of a dask cluster.
    plan : PartPlan
    streams : iterable of streams, each an iterable of Frame or LabelledFrame
    on_frame : callable, optional
        Called after each computed frame with how many there are.

    Raises
    ------
    BankError
        If the folder holds a bank that was made otherwise.
    """
    items = (item for stream in streams for item in iterate_stream(stream))
    frames = (item.frame if isinstance(item, LabelledFrame) else item for item in items)
    # numbered as a bank numbers them; what is there is checked when the bank is built
    missing = (
        (index, frame)
        for index, frame in enumerate(frames)
        if not frame_path(plan.bank, index).exists()
    )
    for count, _ in enumerate(spread(client, plan.compute, missing), start=1):
        if on_frame is not None:
            on_frame(count)
    join_parts(plan.folder, plan.bank)


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
            if (bank / MANIFEST).exists() and _made(part) != _made(bank):
                raise BankError(
                    f"{bank} holds another bank: choose another folder or delete it; the parts "
                    f"that were computed stay in {parts}"
                )
            home.parent.mkdir(parents=True, exist_ok=True)
            os.replace(computed, home)
    shutil.rmtree(parts)


def _made(bank: Path) -> dict[str, Any]:
    """How a bank was made, apart from the frames that it holds."""
    content = read_json(bank / MANIFEST)
    return {key: value for key, value in content.items() if key not in OWN_KEYS}


@lru_cache(maxsize=1)
def _engine(sam: str, device: str, precision: Precision) -> ProposalEngine:
    """The one model of this process."""
    return ProposalEngine(load_sam(sam), device=device, precision=precision)
