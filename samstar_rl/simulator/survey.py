"""How an automated acquisition moves: from field to field, closer and farther, at times astray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAMES_PER_FIELD = (4, 12)
MAGNIFICATION_FACTOR = 4.0
"""Fields are seen at a magnification drawn log-uniformly within this factor, either way."""
EMPTY_SHARE = 0.15
SAMPLE_OVER_FIELD = 1.3
"""A field is drawn wider than it is seen, by this factor, so that particles lie on its border."""
FIELD_DIAMETERS = (9.0, 16.0)
"""Short side of the field at a magnification of 1, in mean diameters: the smallest of the particles
then still measure 8 px on a frame of 512 px."""


@dataclass(frozen=True)
class SurveyField:
    """One field of a survey.

    Parameters
    ----------
    number : int
        Its place in the order in which the fields are visited, from 0.
    sample : int
        Number of the sample type that lies there.
    magnification : float
        Factor on the magnification that suits the sample.
    empty : bool
        Whether there is nothing but the film.
    """

    number: int
    sample: int
    magnification: float
    empty: bool


class Survey:
    """The fields that an acquisition visits.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws how long the stage stays, magnifications and empty fields.
    n_samples : int
        Sample types on the grid, which come in turn.
    """

    def __init__(self, rng: np.random.Generator, n_samples: int) -> None:
        self._rng = rng
        self._n_samples = n_samples
        self._fields: list[SurveyField] = []
        self._ends: list[int] = []

    def at(self, index: int) -> SurveyField:
        """The field that the frame of this index shows."""
        while not self._ends or self._ends[-1] <= index:
            number = len(self._fields)
            reach = np.log(MAGNIFICATION_FACTOR)
            stay = int(self._rng.integers(FRAMES_PER_FIELD[0], FRAMES_PER_FIELD[1] + 1))
            magnification = float(np.exp(self._rng.uniform(-reach, reach)))
            empty = bool(self._rng.random() < EMPTY_SHARE)
            self._fields.append(SurveyField(number, number % self._n_samples, magnification, empty))
            self._ends.append((self._ends[-1] if self._ends else 0) + stay)
        return self._fields[int(np.searchsorted(self._ends, index, side="right"))]
