"""Term `completeness`: all particles are found.

For samples whose number of particles per area is known beforehand, such as dispersions of known
concentration and lithographic arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import model_validator

from samstar_rl.errors import SamstarError
from samstar_rl.evidence.frame_evidence import FrameEvidence
from samstar_rl.foreground.sample import DENSITY
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation


class CompletenessTarget(Target):
    """Number of particles.

    Parameters
    ----------
    number_density : (float, float), optional
        Least and greatest number of particles per area; in a task file per_frame (per square of
        the short side), per_um2 or per_mpx, as its unit of length says. Without it the foreground
        tells how many there should be.
    """

    number_density: Annotated[tuple[float, float] | None, DENSITY] = None

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        density = self.number_density
        if density is not None and not 0 < density[0] < density[1]:
            raise SamstarError(f"number_density must be [low, high], 0 < low < high, got {density}")
        return self


def completeness(
    segmentation: Segmentation,
    frame: Frame,
    target: CompletenessTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score the number of particles that the masks stand for.

    With a number density the particles expected are the nearest number in its range, otherwise as
    many as the foreground shows (`Foreground.n_particles`); the score is the smaller of found and
    expected over the larger, copies of a mask counting once (`Segmentation.uniqueness`).

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    if len(segmentation) == 0:
        return 0.0
    found = float(segmentation.uniqueness.sum())
    if target.number_density is None:
        expected = float(max(FrameEvidence.of(frame, target.sample).foreground.n_particles, 1))
    else:
        n_pixels = segmentation.shape[0] * segmentation.shape[1]
        low, high = (density * n_pixels for density in target.number_density)
        expected = float(np.clip(found, low, high))
    return min(found / expected, expected / found)
