"""The one table of what seeds of simulated streams are for, so that no two uses share a stream."""

from __future__ import annotations

RANGE = 100_000
"""Seeds in each range."""

FIRST_SEEDS = {
    "training": 0,
    "test": 100_000,
    "headroom": 300_000,
    "validity": 700_000,
}
"""First seed of the streams to learn from, to be judged on, to measure headroom and validity on."""


def first_seed(purpose: str, run: int = 0, *, per_run: int = 1000) -> int:
    """The first seed for a purpose.

    Parameters
    ----------
    purpose : str
        A key of `FIRST_SEEDS`.
    run : int
        The number of a run that asks for streams of its own, such as its ``--seed``.
    per_run : int
        Seeds that are set aside for each run.

    Returns
    -------
    int
    """
    return FIRST_SEEDS[purpose] + per_run * run
