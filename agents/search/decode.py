"""Letting SAM compute all proposals of frames that a search can ask for, here or by workers.

`cost_of_deadline` says what frames may cost on this machine to be done in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from samstar_rl._io.workers import spread
from samstar_rl.segmenter import Segmenter, load_engine
from samstar_rl.tuning.budget import GazeOptions
from samstar_rl.tuning.evaluable_frames import DecodedFrame

if TYPE_CHECKING:
    from distributed import Client

    from samstar_rl.frames.frame import Frame
    from samstar_rl.settings import PromptSettings


@dataclass(frozen=True)
class Decoding:
    """All that a worker must know to decode a frame.

    Parameters
    ----------
    sam, device : str
    prompts : tuple of PromptSettings
        All that the task's settings can ask for.
    """

    sam: str
    device: str
    prompts: tuple[PromptSettings, ...]

    def decode(self, frame: Frame) -> DecodedFrame:
        """Compute a frame's proposals with the one model of this process."""
        return DecodedFrame.decode(load_engine(self.sam, self.device), frame, self.prompts)


def decode_frames(
    segmenter: Segmenter,
    frames: Sequence[Frame],
    *,
    client: Client | None = None,
    decoding: Decoding | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[DecodedFrame]:
    """Let SAM compute all proposals that the task's settings can ask for, once.

    Parameters
    ----------
    segmenter : Segmenter
    frames : sequence of Frame
    client : Client, optional
        Of workers; without them the segmenter's own SAM does the work.
    decoding : Decoding, optional
        What the workers must know; needed with them.
    on_progress : callable
        Called with the share that is done, in [0, 1].

    Returns
    -------
    list of DecodedFrame

    Raises
    ------
    SamstarError
        If the task needs a pixel size that a frame does not have.
    """
    for frame in frames:
        segmenter.task.length_unit_px(frame)  # known before the work, not after it
    prompts = segmenter.task.space.prompts()
    done: Iterator[DecodedFrame] = map(
        partial(DecodedFrame.decode, segmenter.engine, prompts=prompts), frames
    )
    if client is not None and decoding is not None:
        done = spread(client, decoding.decode, frames)
    decoded = []
    for one in done:
        decoded.append(one)
        on_progress(len(decoded) / len(frames))
    return decoded


TIMED_FRAMES = 8


def cost_of_deadline(segmenter: Segmenter, frames: Sequence[Frame], deadline_ms: float) -> float:
    """The cost that a frame may have to be done in time on this machine, from a few live frames.

    Parameters
    ----------
    segmenter : Segmenter
    frames : sequence of Frame
        At least one.
    deadline_ms : float
        From a frame's preparation to its score.

    Returns
    -------
    float
        As the live loop would allow it with ``--budget-ms``.
    """
    gaze = GazeOptions(budget_ms=deadline_ms)
    live = Segmenter(segmenter.objective, segmenter.engine, gaze=gaze)
    for frame in frames[:TIMED_FRAMES]:
        live(frame)
    assert live.budget is not None
    return live.budget.cost_limit()
