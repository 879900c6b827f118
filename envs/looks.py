"""When looking at one frame several times ends: what environment and tuner must agree on."""

from __future__ import annotations

MOST_LOOKS = 8


def is_over(enough: float, n_looks: int, left: float) -> bool:
    """Whether no further look follows.

    Parameters
    ----------
    enough : float
        The action's last entry.
    n_looks : int
        So far.
    left : float
        Of the budget; a prompt costs 1.

    Returns
    -------
    bool
    """
    return enough > 0 or n_looks >= MOST_LOOKS or left < 1
