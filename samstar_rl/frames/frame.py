"""Frame: one image from the microscope, and the same frame with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError

Image = NDArray[np.float32]
Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Frame:
    """One image from the microscope.

    Parameters
    ----------
    image : (H, W) float32 array
        Intensities in the detector's own units; NaN marks missing pixels.
    pixel_size_nm : float or None
        Edge of one pixel in nm, or None where it is unknown.
    id : str
        Name of the frame, unique within its source.
    time : float
        Time of acquisition in seconds since the epoch (or since the start of a simulation).
    file : str or None
        Name of the file that it came from, by which a run that is resumed goes.

    Raises
    ------
    SamstarError
        If the image is not two-dimensional, is empty, or the pixel size is not positive.
    """

    image: Image
    pixel_size_nm: float | None = None
    id: str = "frame"
    time: float = 0.0
    file: str | None = None
    #: What was computed of the frame (network maps, evidence): kept here, it dies with the frame.
    known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        image = np.asarray(self.image)
        if image.ndim != 2 or image.size == 0:
            raise SamstarError(
                f"a frame's image must have the shape (height, width), got {image.shape}; "
                "average or select the channel of a colour image, iterate over a stack"
            )
        if self.pixel_size_nm is not None and not 0 < self.pixel_size_nm < float("inf"):
            raise SamstarError(
                f"pixel_size_nm must be a positive number of nm, got {self.pixel_size_nm}; "
                "give None where the pixel size is unknown"
            )
        object.__setattr__(self, "image", np.ascontiguousarray(image, dtype=np.float32))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"known": {}}  # another process computes what it needs

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        height, width = self.image.shape
        return height, width

    @property
    def short_side_px(self) -> int:
        """The shorter side in px: the length that the unit ``frame`` refers to."""
        return min(self.shape)


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A frame with its ground truth, which is for judging only and never travels in a `Frame`.

    Parameters
    ----------
    frame : Frame
        What a tuner, an observation or a score may see.
    truth : (H, W) int32 array
        Instance labels, 0 is background.

    Raises
    ------
    SamstarError
        If the labels have another shape than the frame.
    """

    frame: Frame
    truth: Labels

    def __post_init__(self) -> None:
        if np.shape(self.truth) != self.frame.shape:
            raise SamstarError(
                f"the truth of frame {self.frame.id!r} has the shape {np.shape(self.truth)}, "
                f"its image {self.frame.shape}: they must be the same"
            )
        object.__setattr__(self, "truth", np.ascontiguousarray(self.truth, dtype=np.int32))
