"""What the targets of all terms share: a weight, and the traits of the sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from samstar_rl.foreground.sample import Quantities, Sample


class Target(Quantities):
    """Base of the targets of the terms.

    Parameters
    ----------
    weight : float
        Weight of the term in the score, relative to the others.
    sample : Sample
        Set by the task: the traits that its terms share.
    """

    #: Numbers that stand for the values of fields that are none, in `vector`.
    codes: ClassVar[dict[str, dict[str, float]]] = {}

    weight: Annotated[float, Field(gt=0)] = 1.0
    sample: Sample = Sample()

    @classmethod
    def vector_names(cls) -> tuple[str, ...]:
        """Names of the numbers in `vector`: fields of pairs give two, the weight is left out."""
        return tuple(name for name, _ in _numbers(cls.model_construct()))

    def vector(self) -> tuple[float, ...]:
        """The target as numbers of fixed length; a field that is not given counts as 0."""
        return tuple(number for _, number in _numbers(self))


def _numbers(target: Target) -> Iterator[tuple[str, float]]:
    for name, info in type(target).model_fields.items():
        if name in ("weight", "sample"):
            continue
        value = getattr(target, name, None)
        if name in target.codes:
            yield name, target.codes[name].get(str(value), 0.0)
        elif "tuple[float, float]" in str(info.annotation):
            low, high = value or (0.0, 0.0)
            yield f"{name}_low", float(low)
            yield f"{name}_high", float(high)
        elif "tuple" not in str(info.annotation):
            yield name, float(value or 0.0)
