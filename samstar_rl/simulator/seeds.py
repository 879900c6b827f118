"""The one table of what seeds of simulated streams are for, so that no two uses share a stream."""

from __future__ import annotations

RANGE = 100_000
"""Seeds in each range."""
_PER_RUN = 1000
"""Seeds that are set aside for each run."""

FIRST_SEEDS = {
    "training": 0,
    "test": 100_000,
    "headroom": 300_000,
    "validity": 700_000,
}
"""First seed of the streams to learn from, to be judged on, to measure headroom and validity on."""


def first_seed(purpose: str, run: int = 0) -> int:
    """The first seed for a key of `FIRST_SEEDS`.

    A run that asks for streams of its own gives its number, such as its ``--seed``.
    """
    return FIRST_SEEDS[purpose] + _PER_RUN * run
