"""What a policy learns from: tasks, and banks of simulated streams or of the user's frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from samstar_rl.errors import SamstarError
from samstar_rl.tasks.task import Task, load_task, task_names

if TYPE_CHECKING:
    from samstar_rl.bank.bank import Bank
    from samstar_rl.frames.frame import Frame
    from samstar_rl.sam.engine import ProposalEngine

ALL = "all"
"""Stands for every task that ships and is not experimental."""

N_STREAMS, N_FRAMES, EVERY, SIZE_PX = 60, 2, 30, 512
"""Simulated streams to learn on: two frames of each experiment, thirty apart.

Many streams of few frames: what a policy learns is limited by how many samples it meets, and SAM's
proposals are what a training spends its time on.
"""

TEST_SEED = 100_000
"""Seeds of simulated streams to be judged on begin here: none of them is ever trained on."""

Announce = Callable[[str, float], None]


def read_tasks(names: Sequence[str]) -> list[Task]:
    """Tasks by name or file, several in one text parted by commas, ``all`` for all that ship.

    Raises
    ------
    SamstarError
        If one is unknown, or two have the same name.
    """
    parts = [part.strip() for name in names for part in name.split(",")]
    expanded = [name for part in parts for name in (_all_names() if part == ALL else [part])]
    tasks = [load_task(name) for name in dict.fromkeys(expanded)]
    known = [task.name for task in tasks]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise SamstarError(f"two tasks are called {twice[0]!r}: give each a name of its own")
    return tasks


def _all_names() -> list[str]:
    return [name for name in task_names() if not load_task(name).experimental]


class Lessons:
    """Makes or opens banks, loading the SAM only when one must be made.

    Parameters
    ----------
    sam : str
        As ``--sam`` takes it.
    announce : callable
        Called with a stage's name and how much of it is done, in [0, 1].
    """

    def __init__(self, sam: str, announce: Announce) -> None:
        self.sam = sam
        self.announce = announce

    @cached_property
    def engine(self) -> ProposalEngine:
        """The one owner of the model."""
        from samstar_rl.sam.engine import ProposalEngine
        from samstar_rl.sam.load import load_sam

        return ProposalEngine(load_sam(self.sam))

    def simulated(
        self,
        task: Task,
        *,
        n_streams: int = N_STREAMS,
        n_frames: int = N_FRAMES,
        size_px: int = SIZE_PX,
        first_seed: int = 0,
    ) -> Bank:
        """A bank of simulated streams, from the user's cache folder if it is there."""
        from samstar_rl.bank.simulated import simulated_bank

        part = "to be judged on" if first_seed >= TEST_SEED else "to learn from"
        stage, total = f"{task.name}: SAM's proposals {part}", n_streams * n_frames
        bank = simulated_bank(
            task,
            n_streams=n_streams,
            n_frames=n_frames,
            size_px=size_px,
            first_seed=first_seed,
            every=EVERY,
            engine=self.engine,
            on_frame=lambda count: self.announce(stage, count / total),
        )
        self.announce(stage, 1.0)
        return bank

    def of_frames(
        self,
        task: Task,
        frames: Path,
        folder: Path,
        *,
        names: str | None = None,
        pixel_size_nm: float | None = None,
    ) -> Bank:
        """A bank of the user's frames; each is a stream of its own, for single images are none.

        Raises
        ------
        SamstarError
            If there are fewer than two frames: some must validate.
        """
        from samstar_rl.bank.bank import build_bank
        from samstar_rl.bank.simulated import open_whole
        from samstar_rl.segmentation.proposals import Floor

        streams = [[frame] for frame in read_frames(frames, names, pixel_size_nm)]
        if len(streams) < 2:
            raise SamstarError(
                f"{frames} holds {len(streams)} frame to learn from: give at least two, since the "
                "policy is chosen on frames that it did not learn from"
            )
        build_bank(
            streams,
            folder,
            self.engine,
            task.space.prompts(),
            floor=Floor.under(task.space),
            on_progress=lambda progress: self.announce(
                "SAM's proposals", progress.n_frames / len(streams)
            ),
        )
        return open_whole(folder)


def read_frames(folder: Path, names: str | None, pixel_size_nm: float | None) -> list[Frame]:
    """The frames of a folder's images.

    Parameters
    ----------
    folder : path
    names : str, optional
        Only these images: ``emps:PART``, or a text file of names.
    pixel_size_nm : float, optional

    Raises
    ------
    SamstarError
        If no image is asked for.
    """
    from samstar_rl.scripts._shared.inputs import find_images
    from samstar_rl.scripts.validate import read_names
    from samstar_rl.sources.readers.files import iterate_file

    paths = find_images([folder])
    if names is not None:
        wanted = set(read_names(names))
        paths = [path for path in paths if path.stem in wanted or path.name in wanted]
        if not paths:
            raise SamstarError(f"no image in {folder} is among the names of {names}")
    return [frame for path in paths for frame in iterate_file(path, pixel_size_nm=pixel_size_nm)]
