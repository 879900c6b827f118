"""Numbers about a store's masks, each row computed when first asked for and then remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from samstar_rl.masks.store import Ids

Column = NDArray[np.float64]


class MaskColumns:
    """A group of numbers that are computed together, a row a mask.

    Parameters
    ----------
    names : tuple of str
        Of the columns.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._index = {name: column for column, name in enumerate(names)}
        self._values = np.zeros((len(names), 0), dtype=np.float32)
        self._known = np.zeros(0, dtype=bool)

    def fill(self, values: NDArray[np.float32]) -> None:
        """Take the (M, columns) rows of the first M masks as computed already."""
        self._values = np.ascontiguousarray(values.T)
        self._known = np.ones(len(values), dtype=bool)

    def get(
        self, name: str, ids: Ids, n_masks: int, describe: Callable[[Ids], ArrayLike]
    ) -> Column:
        """Return one column for K masks, computing what is not known yet.

        Parameters
        ----------
        name : str
        ids : (K,) int array
        n_masks : int
            That the store holds now.
        describe : callable
            The (M, columns) rows of M ids. It is handed in rather than kept, so that columns which
            are remembered for a store do not keep that store alive.

        Returns
        -------
        (K,) float64 array
            In the order of `ids`.
        """
        if n_masks > len(self._known):
            self._grow(n_masks)
        known = self._known[ids]
        if not known.all():
            missing = np.unique(ids[~known])
            self._values[:, missing] = np.asarray(describe(missing)).T
            self._known[missing] = True
        return self._values[self._index[name]][ids].astype(np.float64)

    def _grow(self, n_masks: int) -> None:
        more = max(n_masks, 2 * len(self._known)) - len(self._known)
        self._values = np.pad(self._values, ((0, 0), (0, more)))
        self._known = np.pad(self._known, (0, more))
