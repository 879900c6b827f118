"""What contenders of a benchmark made of the same test frames, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samstar_rl.agents.benchmark.run import BenchmarkResults, bank_path
from samstar_rl.bank.bank import Bank
from samstar_rl.results.overlay import draw_outlines
from samstar_rl.segmentation.segmentation import Segmentation

TRUTH = "truth"
Pictures = dict[str, NDArray[np.uint8]]


def pictures_of(
    results: BenchmarkResults, task: str, contenders: Sequence[str] = ()
) -> list[tuple[int, Pictures]]:
    """The pictures that the first seeds of contenders left, frame by frame.

    Parameters
    ----------
    results : BenchmarkResults
    task : str
    contenders : sequence of str
        In this order; by default all. Who did not take part, or did not meet a frame, is left out.

    Returns
    -------
    list of (frame index, pictures by contender)
        Where there is ground truth, ``truth`` stands last.
    """
    found: dict[int, Pictures] = {}
    units = {u.contender: u for u in results.sheets if u.task == task and u.seed == 0}
    for name in contenders or units:
        if name in units:
            for path in sorted(units[name].folder(results.root).glob("frame-*.png")):
                index = int(path.stem.removeprefix("frame-"))
                found.setdefault(index, {})[name] = np.asarray(Image.open(path))
    if not found:
        return []
    test = Bank(bank_path(results.root, task, "test"))
    for index, pictures in found.items():
        if test.frame_truth_exists(index):
            frame = test.frame(index)
            truth = Segmentation.from_labels(test.truth(index), frame)
            pictures[TRUTH] = draw_outlines(frame, truth, 2)
    return sorted(found.items())
