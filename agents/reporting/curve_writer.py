"""TensorBoard events with the same tags and step axes for everything that learns or searches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        """A point of each curve, such as ``{"score": 0.7}`` as the tag ``eval/score``."""
        at = self._began + seconds
        for name, value in values.items():
            self._writer.add_scalar(f"{BY_EVALUATIONS}/{name}", value, evaluations, walltime=at)
            self._writer.add_scalar(f"{BY_SECONDS}/{name}", value, round(seconds), walltime=at)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A single point of any other curve."""
        self._writer.add_scalar(tag, value, step)

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
