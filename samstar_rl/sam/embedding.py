"""What SAM's encoder makes of a picture, and what an observation may know of a frame by it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from samstar_rl.masks.particle_table import Scene


@dataclass(frozen=True, eq=False)
class Embedding:
    """What SAM's encoder made of a picture: a frame or a crop of it.

    Attributes
    ----------
    features : (1, C, h, w) tensor
    input_size : tuple of int
        Height and width of the picture as SAM saw it, without padding.
    picture_size : tuple of int
        Height and width of the picture in px.
    scene : Scene
        The picture's intensities.
    seconds : float
        What encoding took.
    """

    features: Tensor
    input_size: tuple[int, int]
    picture_size: tuple[int, int]
    scene: Scene
    seconds: float = 0.0

    @cached_property
    def pooled(self) -> NDArray[np.float32]:
        """Mean of the features over the picture without its padding, (C,)."""
        grid = self.features.shape[-2:]
        long_side = max(self.input_size)
        height, width = (
            max(1, round(side * size / long_side))
            for side, size in zip(grid, self.input_size, strict=True)
        )
        pooled = self.features[0, :, :height, :width].float().mean(dim=(1, 2))
        return np.asarray(pooled.cpu().numpy(), dtype=np.float32)

    @property
    def frame_features(self) -> FrameFeatures:
        """What an observation may know of the frame that was encoded."""
        return FrameFeatures(self.pooled, self.seconds)


@dataclass(frozen=True, eq=False)
class FrameFeatures:
    """What an observation may know of a frame before it is segmented.

    Attributes
    ----------
    pooled : (C,) float32 array
        SAM's embedding averaged over the frame.
    seconds : float
        What encoding took.
    """

    pooled: NDArray[np.float32]
    seconds: float
