"""Frames that contenders learn from and meet: parts of simulated experiments, or real images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.simulator import SimulatedStream
from samstar_rl.sources.readers.files import iterate_file


def simulated_stream(
    preset: str, *, seed: int, n_frames: int, every: int, size_px: int, drift: float
) -> Iterator[LabelledFrame]:
    """Every so many-th frame of a simulated experiment, from its first one on.

    The simulator drifts over tens to hundreds of frames, as experiments do. Taking every eighth
    frame lets a few frames, whose proposals cost a SAM much, span a whole experiment.

    Parameters
    ----------
    preset : str
        Of the simulator.
    seed : int
    n_frames : int
        To take.
    every : int
        Distance of those frames in the experiment.
    size_px : int
        Side of a frame.
    drift : float
        1 is an ordinary experiment.

    Yields
    ------
    LabelledFrame
    """
    with SimulatedStream(preset, seed=seed, size=size_px, drift=drift) as stream:
        for index in range(0, n_frames * every, every):
            yield stream.frame_at(index)


def read_labelled(
    images: Sequence[str | Path], labels: str | Path, *, pixel_size_nm: float | None = None
) -> Iterator[Iterable[LabelledFrame]]:
    """Labelled images, each a stream of its own: single images do not follow one another.

    Parameters
    ----------
    images : sequence of path
    labels : path
        Folder with the ground truth of each image, under its name, whatever the suffix.
    pixel_size_nm : float, optional
        By default what the files say.

    Yields
    ------
    iterable of LabelledFrame
        Of one frame.

    Raises
    ------
    SamstarError
        If an image has no labels, or several.
    """
    for image in images:
        yield [_read_pair(Path(image), Path(labels), pixel_size_nm)]


def _read_pair(image: Path, labels: Path, pixel_size_nm: float | None) -> LabelledFrame:
    found = sorted(labels.glob(f"{image.stem}.*"))
    if len(found) != 1:
        raise SamstarError(
            f"expected one file {image.stem}.* in {labels} with the ground truth of {image.name}, "
            f"found {len(found)}"
        )
    frame = next(iter(iterate_file(image, pixel_size_nm=pixel_size_nm)))
    truth = np.rint(next(iter(iterate_file(found[0]))).image).astype(np.int32)
    return LabelledFrame(frame, truth)
