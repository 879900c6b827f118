"""One call from an image to its particles, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segment_anything.modeling import Sam

from samstar_rl.segmenter import Segmenter
from samstar_rl.sources.readers.arrays import as_frame, iterate_frames

if TYPE_CHECKING:
    from samstar_rl.segmentation.segmentation import Segmentation
    from samstar_rl.settings import Settings
    from samstar_rl.tasks.task import Task
    from samstar_rl.tuning.tuner import Tuner


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
        If the image cannot be read, is a stack, is blank or saturated, or has no pixel size where
        the task needs one; if the tuner is none.

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

    Returns
    -------
    iterator of Segmentation
        One an image, in their order. Where an image cannot be segmented (it is blank or saturated,
        or lacks the pixel size that the task needs) ``next`` raises a `SamstarError`; the ``next``
        after that goes on with the image after it.

    Raises
    ------
    SamstarError
        If task, SAM or tuner is wrong.
    """
    segmenter = Segmenter.load(task, tuner, sam=sam, device=device)
    results = segmenter.run(iterate_frames(images, pixel_size_nm=pixel_size_nm))
    return map(attrgetter("segmentation"), results)
