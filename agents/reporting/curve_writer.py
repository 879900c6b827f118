"""TensorBoard events with the same tags and step axes for everything that learns or searches."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.logger import KVWriter

BY_EVALUATIONS, BY_SECONDS = "eval", "eval_by_second"


class CurveWriter:
    """Write learning curves: against evaluations, and again against seconds.

    Each point's wall time is when the writer was made plus the seconds spent, so that TensorBoard's
    horizontal axis "relative" counts those seconds too, to their fractions.

    Parameters
    ----------
    folder : path
        One for each learner or search; TensorBoard names the curve after it.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(folder))
        self._began = time.time()
        self.last_second = -1

    def __enter__(self) -> CurveWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()

    def point(self, values: Mapping[str, float], *, evaluations: int, seconds: float) -> None:
        """Add a point to each curve, such as ``{"score": 0.7}`` as the tag ``eval/score``.

        Of points within the same second only the first stands in the curves against seconds, so
        that their steps increase.

        Parameters
        ----------
        values : mapping of str to float
        evaluations : int
            Spent so far: the step of ``eval/...``.
        seconds : float
            Spent so far: the step of ``eval_by_second/...``.
        """
        at, second = self._began + seconds, round(seconds)
        for name, value in values.items():
            self._writer.add_scalar(f"{BY_EVALUATIONS}/{name}", value, evaluations, walltime=at)
            if second > self.last_second:
                self._writer.add_scalar(f"{BY_SECONDS}/{name}", value, second, walltime=at)
        self.last_second = max(self.last_second, second)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a single point to any other curve.

        Parameters
        ----------
        tag : str
        value : float
        step : int
        """
        self._writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        """Write to the disk what the event file holds back."""
        self._writer.flush()

    def picture(self, tag: str, picture: NDArray[np.uint8]) -> None:
        """A picture (H, W, 3)."""
        self._writer.add_image(tag, picture, dataformats="HWC")

    def figure(self, tag: str, figure: Any) -> None:
        """A matplotlib figure."""
        self._writer.add_figure(tag, figure)

    def hyperparameters(self, values: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Fill the HPARAMS tab."""
        plain = {
            k: v if isinstance(v, int | float | bool | str) else str(v) for k, v in values.items()
        }
        self._writer.add_hparams(plain, dict(results), run_name=".")

    def layout(self, layout: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """Arrange the CUSTOM SCALARS tab."""
        self._writer.add_custom_scalars({k: dict(v) for k, v in layout.items()})


class HeldCurves(KVWriter):
    """Hold the points of a training's curves until the checkpoint that they belong to is on disk.

    A training that is killed and resumed repeats the steps after its last checkpoint. Had their
    points been written at once, the curves would run backwards where it goes on.

    Parameters
    ----------
    events : CurveWriter
        Gets the points.
    """

    def __init__(self, events: CurveWriter) -> None:
        self.events = events
        self._held: list[Callable[[], None]] = []
        self._last_step = -1

    def point(self, values: Mapping[str, float], *, evaluations: int, seconds: float) -> None:
        """Hold a point of `CurveWriter.point`.

        Parameters
        ----------
        values : mapping of str to float
        evaluations : int
        seconds : float
            As for `CurveWriter.point`.
        """
        add = functools.partial(self.events.point, dict(values))
        self._held.append(functools.partial(add, evaluations=evaluations, seconds=seconds))

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Hold what Stable-Baselines3's logger dumps at a step.

        A learner with several environments dumps twice at a step where two episodes end together;
        the first of these dumps has the curves' point.

        Parameters
        ----------
        key_values : dict of str to value
            Numbers become points, anything else is left out.
        key_excluded : dict of str to tuple of str
            Formats that a key is not meant for.
        step : int
            Environment steps so far.
        """
        if step <= self._last_step:
            return
        self._last_step = step
        for tag, value in key_values.items():
            if isinstance(value, int | float | np.number) and (
                "tensorboard" not in (key_excluded.get(tag) or ())
            ):
                self._held.append(functools.partial(self.events.scalar, tag, float(value), step))

    def go_on_after(self, steps: int, seconds: float) -> None:
        """Take up curves that an earlier process wrote up to these steps and seconds."""
        self._last_step = steps
        self.events.last_second = round(seconds)

    def release(self) -> None:
        """Write all points held so far: the checkpoint is there."""
        for add in self._held:
            add()
        self._held.clear()
        self.events.flush()

    def close(self) -> None:
        """Close the event file; what is still held belongs to no checkpoint and is lost."""
        self.events.close()
