"""What an operator would write of a simulated sample before the experiment: nearly the truth."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.rewards.terms.completeness import CompletenessTarget
    from samstar_rl.rewards.terms.coverage import CoverageTarget
    from samstar_rl.rewards.terms.order import OrderTarget
    from samstar_rl.rewards.terms.size import SizeTarget
    from samstar_rl.rewards.terms.tiling import TilingTarget
    from samstar_rl.simulator import PopulationParameters, SampleParameters, SimulatedStream
    from samstar_rl.tasks.task import Task

#: How far off an operator's numbers are at most, as a share of the true ones.
DEVIATION = 0.2
_NM2_PER_UM2 = 1e6
#: A range that an operator states reaches this factor to either side of its middle.
_RANGE = 1.25
_LEAST_SIGMA_LOG = 0.03

Factors = NDArray[np.float64]
Fields = dict[str, Any]


def task_for_stream(
    task: Task, stream: SimulatedStream, *, seed: int = 0, deviation: float = DEVIATION
) -> Task:
    """The task as an operator would write it for the sample of a simulated stream.

    The numbers that say something of one sample (the diameters of `size`, the lattice constant of
    `order`, the number density of `completeness`, the areal fraction of `coverage`, the walls of
    `tiling`) become those of the sample at the start of the stream, each off by a factor drawn
    uniformly between ``1 - deviation`` and ``1 + deviation``. Drift never changes them. Whether
    particles are brighter or darker than what lies between them is said as well: one look tells.
    What holds for all samples of a kind stays: ranges of shape, weights, settings with their
    bounds, static settings.

    Parameters
    ----------
    task : Task
    stream : SimulatedStream
        Its seed and ``seed`` decide the deviations: the same stream always gives the same task.
    seed : int
    deviation : float
        In [0, 1); 0 gives the true numbers.

    Returns
    -------
    Task

    Raises
    ------
    SamstarError
        If the deviation is out of range, or the task expects a lattice and the sample is none.
    """
    if not 0 <= deviation < 1:
        raise SamstarError(f"deviation must lie in [0, 1), got {deviation:g}; 0.2 is 20 %")
    rng = np.random.default_rng([stream.seed, zlib.crc32(b"targets"), seed])
    # the task's unit of length in nm, at the start of the stream
    pixel_size_nm = stream.parameters.pixel_size_nm
    unit_px = {"px": 1.0, "frame": float(min(stream.shape)), "nm": 1 / pixel_size_nm}
    unit_nm = unit_px[task.length_unit] * pixel_size_nm
    changes: dict[str, Fields] = {}
    if task.sample.contrast == "either":
        changes["sample"] = {"contrast": stream.parameters.polarity}
    for name, state in _STATEMENTS.items():
        # drawn for every term, so that its numbers do not depend on which others the task has
        factors = 1 + deviation * rng.uniform(-1, 1, 2)
        if name in task.terms:
            changes[name] = state(task.terms[name], stream.parameters, unit_nm, factors)
    return task.with_targets(**{name: fields for name, fields in changes.items() if fields})


def _state_size(
    target: SizeTarget, sample: SampleParameters, unit_nm: float, factors: Factors
) -> Fields:
    low, median, high = diameter_quantiles_nm(sample.populations) / unit_nm
    sigma_log = max(float(np.log(high / low)) / 2, _LEAST_SIGMA_LOG) * factors[1]
    median *= factors[0]
    match target.distribution:
        case "lognormal":
            return {"median_diameter": median, "geometric_std": float(np.exp(sigma_log))}
        case "normal":
            return {"mean_diameter": median, "std_diameter": median * sigma_log}
        case "uniform":
            spread = np.sqrt(3) * sigma_log  # of equal variance
            return {
                "low_diameter": median * np.exp(-spread),
                "high_diameter": median * np.exp(spread),
            }
        case _:  # a measured sample is no guess
            return {}


def _state_order(
    target: OrderTarget, sample: SampleParameters, unit_nm: float, factors: Factors
) -> Fields:
    if sample.lattice_constant_nm is None:
        raise SamstarError("the task expects a lattice (term order), the stream's sample is none")
    return {"lattice_constant": sample.lattice_constant_nm / unit_nm * factors[0]}


def _state_density(
    target: CompletenessTarget, sample: SampleParameters, unit_nm: float, factors: Factors
) -> Fields:
    if target.number_density is None:
        return {}
    density = sample.number_density_per_um2 / _NM2_PER_UM2 * unit_nm**2 * factors[0]
    return {"number_density": [density / _RANGE, density * _RANGE]}


def _state_areal_fraction(
    target: CoverageTarget, sample: SampleParameters, unit_nm: float, factors: Factors
) -> Fields:
    if target.areal_fraction is None:
        return {}
    share = min(sample.areal_coverage * factors[0], 1.0)
    return {"areal_fraction": [share / _RANGE, min(share * _RANGE, 1.0)]}


def _state_walls(
    target: TilingTarget, sample: SampleParameters, unit_nm: float, factors: Factors
) -> Fields:
    return {"wall_fraction": min((1 - sample.areal_coverage) * factors[0], 0.99)}


_STATEMENTS: dict[str, Callable[..., Fields]] = {
    "size": _state_size,
    "order": _state_order,
    "completeness": _state_density,
    "coverage": _state_areal_fraction,
    "tiling": _state_walls,
}


def diameter_quantiles_nm(populations: Sequence[PopulationParameters]) -> NDArray[np.float64]:
    """The 16th, 50th and 84th percentile of the diameters of a mixture of lognormal populations.

    By number and in nm, (3,).
    """
    sigmas = np.array([max(one.sigma_log, 1e-3) for one in populations])
    centres = np.log([one.mean_diameter_nm for one in populations]) - sigmas**2 / 2
    shares = np.array([one.share for one in populations])
    logs = np.linspace((centres - 5 * sigmas).min(), (centres + 5 * sigmas).max(), 4096)
    below = ndtr((logs[:, None] - centres) / sigmas) @ (shares / shares.sum())
    return np.exp(np.interp((0.16, 0.5, 0.84), below, logs))
