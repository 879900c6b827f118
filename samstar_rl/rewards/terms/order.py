"""Term `order`: the particles stand on the lattice that they should stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from samstar_rl.foreground.sample import Length
from samstar_rl.rewards.target import Target

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.segmentation.segmentation import Segmentation

_NEIGHBOURS = {"hexagonal": 6, "square": 4}


class OrderTarget(Target):
    """A lattice of particles or atomic columns.

    Parameters
    ----------
    lattice : {"hexagonal", "square", "any"}
        Symmetry around each particle; "any" looks at distances alone.
    lattice_constant : float
        Distance of nearest neighbours, in the task's unit.
    uncertainty : float
        How far off that may be, as a share of it: within, the lattice tells its own constant.
    tolerance : float
        Deviation of a nearest-neighbour distance, as a share of the lattice constant, at which
        its value has fallen to 1/e.
    """

    codes: ClassVar[dict[str, dict[str, float]]] = {
        "lattice": {"hexagonal": 1.0, "square": 0.66, "any": 0.33}
    }

    lattice: Literal["hexagonal", "square", "any"] = "any"
    lattice_constant: Length
    uncertainty: Annotated[float, Field(ge=0)] = 0.0
    tolerance: Annotated[float, Field(gt=0)] = 0.1


def order(
    segmentation: Segmentation,
    frame: Frame,
    target: OrderTarget,
    previous: Segmentation | None = None,
) -> float:
    r"""Score nearest-neighbour distances, bond order, and the completeness of the first shell.

    .. math:: (D \, \Psi \, C)^{1/3}

    with :math:`D` the mean of :math:`\exp(-|d_k - a| / (\mathrm{tol}\, a))` over nearest-neighbour
    distances; :math:`\Psi` the mean of :math:`|\psi_m(k)| = |\frac1m \sum_j e^{im\theta_{kj}}|`
    over the m nearest neighbours (hexatic m = 6: D. R. Nelson, B. I. Halperin, Phys. Rev. B 19,
    1979; tetratic m = 4), 1 for "any"; and :math:`C` the peak of the pair correlation function
    around the lattice constant against that of the lattice: neighbours found between 0.75 and
    1.25 a, at most those expected. Particles within 1.3 a of the border are no centres, for they
    lack neighbours. :math:`a` is the target's constant, or, where that is uncertain, the median
    nearest-neighbour distance as far as the uncertainty (a factor either way) allows.

    Parameters
    ----------
    segmentation, frame, target, previous
        As every term takes them: see `samstar_rl.rewards.registry`.

    Returns
    -------
    float
        In [0, 1]; 0 with fewer than three particles.
    """
    positions = np.column_stack(
        [segmentation.table["centroid-1"], segmentation.table["centroid-0"]]
    )
    if len(positions) < 3:
        return 0.0
    distances = nearest_distances(positions)
    stated, factor = target.lattice_constant, 1 + target.uncertainty
    constant = float(np.clip(np.median(distances), stated / factor, stated * factor))
    fit = np.exp(-np.abs(distances - constant) / (target.tolerance * constant)).mean()
    # centres are particles that keep off the border, or all where none does
    height, width = segmentation.shape
    margin = 1.3 * constant
    keeps_off = (positions >= margin) & (positions <= np.array([width, height]) - 1 - margin)
    inner = keeps_off.all(axis=1)
    if not inner.any():
        inner = np.ones(len(positions), dtype=bool)
    fold = _NEIGHBOURS.get(target.lattice)
    bonds = 1.0 if fold is None else float(bond_order(positions, fold)[inner].mean())
    # A neighbour too close takes the place of a right one: `near` holds the point itself too.
    tree, centres = cKDTree(positions), positions[inner]
    far = tree.query_ball_point(centres, 1.25 * constant, return_length=True)
    near = tree.query_ball_point(centres, 0.75 * constant, return_length=True)
    shell = float(np.clip((far - 2 * near + 1) / (fold or 4), 0, 1).mean())
    return float(np.cbrt(fit * bonds * shell))


def nearest_distances(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point (K, 2) to its nearest neighbour, (K,)."""
    return np.asarray(cKDTree(positions).query(positions, k=2)[0][:, 1])


def bond_order(positions: NDArray[np.float64], fold: int) -> NDArray[np.float64]:
    """|psi_fold| of each point over its `fold` nearest neighbours, (K,); 0 with too few points."""
    if len(positions) <= fold:
        return np.zeros(len(positions))
    _, neighbours = cKDTree(positions).query(positions, k=fold + 1)
    bonds = positions[neighbours[:, 1:]] - positions[:, None]
    angles = np.arctan2(bonds[..., 1], bonds[..., 0])
    return np.abs(np.exp(1j * fold * angles).mean(axis=1))
