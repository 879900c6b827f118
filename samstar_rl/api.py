"""One call from an image to its particles, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from segment_anything.modeling import Sam

from samstar_rl.errors import SamstarError
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.sources.readers.arrays import as_frame, iterate_frames
from samstar_rl.tasks.task import Task, load_task
from samstar_rl.tuning.tuner import FrameContext, LiveFrame, Objective, Tuner, run_tuner


def segment(
    image: Any,
    *,
    task: Task | str | Path = "particles",
    tuner: Tuner | Settings | None = None,
    pixel_size_nm: float | None = None,
    sam: Sam | str | Path = "tiny",
    device: str = "cpu",
) -> Segmentation:
    """Segment one image.

    Parameters
    ----------
    image : array, HyperSpy signal, Frame or path
        Of the shape (height, width) or (height, width, 3): NumPy, dask, Zarr or whatever
        `numpy.asarray` takes; or the path of an image file.
    task : Task, str or path
        What the sample should look like: the name of a task that ships, or a TOML file.
    tuner : Tuner or Settings, optional
        What chooses the generator's settings, by default the task's static settings.
        `samstar_rl.agents.make_tuner` makes one by its name.
    pixel_size_nm : float, optional
        Edge of a pixel; takes precedence over what the image states.
    sam : Sam, str or path
        The model, or what `load_sam` takes. A model that was loaded by name is kept.
    device : str
        "cpu" or "cuda".

    Returns
    -------
    Segmentation
        With `to_labels`, `to_dataframe`, `to_napari`, `plot`, and a summary in notebooks.

    Raises
    ------
    SamstarError
        If the image cannot be read, is a stack, or has no pixel size where the task needs one; if
        the tuner is none.

    Examples
    --------
    >>> from samstar_rl import segment
    >>> found = segment("micrograph.dm4", task="particles")  # doctest: +SKIP
    >>> found.to_dataframe().to_csv("particles.csv")  # doctest: +SKIP
    """
    frame = as_frame(image, pixel_size_nm=pixel_size_nm)
    (found,) = segment_stack(frame, task=task, tuner=tuner, sam=sam, device=device)
    return found


def segment_stack(
    images: Any,
    *,
    task: Task | str | Path = "particles",
    tuner: Tuner | Settings | None = None,
    pixel_size_nm: float | None = None,
    sam: Sam | str | Path = "tiny",
    device: str = "cpu",
) -> Iterator[Segmentation]:
    """Segment the images of a stack one after the other, reading each when its turn comes.

    Parameters
    ----------
    images : array, HyperSpy signal or path
        As for `segment`, with further axes in front. A tuner sees them as one stream.
    task : Task, str or path
        As for `segment`.
    tuner : Tuner or Settings, optional
        As for `segment`.
    pixel_size_nm : float, optional
        As for `segment`.
    sam : Sam, str or path
        As for `segment`.
    device : str
        As for `segment`.

    Yields
    ------
    Segmentation
        One an image, in their order.
    """
    loaded = task if isinstance(task, Task) else load_task(task)
    if tuner is None or isinstance(tuner, Settings):
        tuner = _Unmoved(tuner or loaded.static)
    elif not hasattr(tuner, "propose"):
        raise SamstarError(
            f"tuner must be a Tuner or Settings, got {tuner!r}: "
            "samstar_rl.agents.make_tuner('genetic', task) makes one by its name"
        )
    searches = tuner.searches
    engine = _engine(sam, device)
    frames = iterate_frames(images, pixel_size_nm=pixel_size_nm)
    sources = (LiveFrame(engine, frame, searches=searches) for frame in frames)
    for tuned in run_tuner(tuner, sources, Objective(loaded)):
        yield tuned.evaluation.segmentation


class _Unmoved:
    """Settings as a tuner."""

    name = "static"
    searches = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: FrameContext) -> Settings:
        """The settings, whatever the frame."""
        return self._settings


def _engine(sam: Sam | str | Path, device: str) -> ProposalEngine:
    if isinstance(sam, Sam):
        return ProposalEngine(sam, device=device)
    return _named_engine(str(sam), device)


@lru_cache(maxsize=1)
def _named_engine(sam: str, device: str) -> ProposalEngine:
    return ProposalEngine(load_sam(sam, device=device), device=device)
