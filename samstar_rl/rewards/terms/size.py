"""Term `size`: the diameters are distributed as the sample's should be."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import ndtri

from samstar_rl.errors import SamstarError
from samstar_rl.foreground.sample import LENGTH, Length
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation

#: Levels at which two distributions are compared: midpoints of equal shares of the particles.
_LEVELS = (np.arange(128) + 0.5) / 128


class SizeTarget(Target):
    """Distribution of equivalent diameters.

    Parameters
    ----------
    distribution : {"lognormal", "normal", "uniform", "sample"}
        "lognormal" needs median_diameter and geometric_std, "normal" mean_diameter and
        std_diameter, "uniform" low_diameter and high_diameter, "sample" diameters.
    median_diameter, geometric_std : float
        Median in the task's unit, and exp(std of ln diameter).
    mean_diameter, std_diameter : float
        In the task's unit.
    low_diameter, high_diameter : float
        In the task's unit.
    diameters : tuple of float
        Measured diameters in the task's unit.
    uncertainty : float
        How far off the target itself may be, as a share of the diameter: what is within it costs
        nothing. An operator's guess before the experiment is easily 20 % off.
    tolerance : float
        Mean distance of ln(diameter) beyond that at which the term has fallen to 1/e.
    """

    codes: ClassVar[dict[str, dict[str, float]]] = {
        "distribution": {"lognormal": 0.25, "normal": 0.5, "uniform": 0.75, "sample": 1.0},
    }

    distribution: Literal["lognormal", "normal", "uniform", "sample"]
    median_diameter: Length | None = None
    geometric_std: Annotated[float, Field(gt=1)] | None = None
    mean_diameter: Length | None = None
    std_diameter: Length | None = None
    low_diameter: Length | None = None
    high_diameter: Length | None = None
    diameters: Annotated[tuple[float, ...] | None, LENGTH] = None
    uncertainty: Annotated[float, Field(ge=0)] = 0.2
    tolerance: Annotated[float, Field(gt=0)] = 0.25

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        needed = _PARAMETERS[self.distribution]
        given = {name for names in _PARAMETERS.values() for name in names if getattr(self, name)}
        if given != set(needed):
            raise SamstarError(
                f"distribution = {self.distribution!r} needs {' and '.join(needed)} and no other "
                f"parameter, got {', '.join(sorted(given)) or 'none'}"
            )
        if self.low_diameter and self.high_diameter and self.low_diameter >= self.high_diameter:
            raise SamstarError("low_diameter must be below high_diameter")
        if self.diameters and min(self.diameters) <= 0:
            raise SamstarError(f"diameters must be positive, got {min(self.diameters):g}")
        return self

    def quantiles(self) -> NDArray[np.float64]:
        """ln(diameter) at `_LEVELS`, (128,), in the unit of the target."""
        return _log_quantiles(self)


_PARAMETERS: dict[str, tuple[str, ...]] = {
    "lognormal": ("median_diameter", "geometric_std"),
    "normal": ("mean_diameter", "std_diameter"),
    "uniform": ("low_diameter", "high_diameter"),
    "sample": ("diameters",),
}


def size(
    segmentation: Segmentation,
    frame: Frame,
    target: SizeTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score the distribution of diameters by its Wasserstein distance to the target's.

    .. math:: \exp(-\max(0, W_1 - E_n - \ln(1 + \mathrm{uncertainty})) / \mathrm{tolerance})

    with :math:`W_1` the mean distance of ln(diameter) at equal levels of both distributions
    (Kantorovich's distance in one dimension), and :math:`E_n \approx \sqrt{2/(\pi n)}
    \int\sqrt{F(1-F)}\,dx` what n particles drawn from the target itself would show on average
    (Bobkov, Ledoux, Mem. AMS 1259, 2019): few particles are judged no harder than they can know.
    The logarithm makes a factor count the same for small and for large particles.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 without particles.
    """
    diameters = segmentation.table.equivalent_diameter_area
    if len(diameters) == 0:
        return 0.0
    distance = wasserstein_1(np.log(np.maximum(diameters, 1e-9)), target.quantiles())
    by_chance = expected_distance(target.quantiles(), len(diameters))
    excess = max(0.0, distance - by_chance - np.log1p(target.uncertainty))
    return float(np.exp(-excess / target.tolerance))


def wasserstein_1(values: NDArray[np.floating], quantiles: NDArray[np.float64]) -> float:
    """W1 between a sample and a distribution given by its quantiles at `_LEVELS`."""
    ordered = np.sort(values)
    at_levels = ordered[(_LEVELS * len(ordered)).astype(np.intp)]
    return float(np.abs(at_levels - quantiles).mean())


def expected_distance(quantiles: NDArray[np.float64], n: int) -> float:
    """W1 that a sample of n has from its own distribution on average."""
    between = (_LEVELS[1:] + _LEVELS[:-1]) / 2
    spread = float((np.sqrt(between * (1 - between)) * np.diff(quantiles)).sum())
    return spread * float(np.sqrt(2 / (np.pi * n)))


@functools.lru_cache(maxsize=256)
def _log_quantiles(target: SizeTarget) -> NDArray[np.float64]:
    normal = ndtri(_LEVELS)
    match target.distribution:
        case "lognormal":
            median, spread = target.median_diameter or 1.0, target.geometric_std or 2.0
            quantiles = np.log(median) + np.log(spread) * normal
        case "normal":
            mean, std = target.mean_diameter or 1.0, target.std_diameter or 1.0
            # A normal distribution of diameters is one cut off near 0: no particle has none.
            quantiles = np.log(np.maximum(mean + std * normal, 0.05 * mean))
        case "uniform":
            low, high = target.low_diameter or 0.0, target.high_diameter or 1.0
            quantiles = np.log(low + (high - low) * _LEVELS)
        case "sample":
            quantiles = np.log(np.quantile(np.array(target.diameters), _LEVELS))
    return np.asarray(quantiles, dtype=np.float64)
