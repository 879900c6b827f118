"""What the targets of all terms share: a weight, the traits of the sample, lengths with a unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from samstar_rl.foreground.estimate import Arrangement, Contrast, Sizes

#: Marks a field that is a length in the task's unit, or a number per unit of area.
LENGTH = "length"
DENSITY = "density"

Length = Annotated[float, Field(gt=0), LENGTH]
Density = Annotated[float, Field(gt=0), DENSITY]
Share = Annotated[float, Field(ge=0, le=1)]


class Quantities(BaseModel):
    """A frozen model whose fields may be lengths, which it can convert between units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def dimension_of(cls, field: str) -> str | None:
        """`LENGTH`, `DENSITY`, or None for a field without a unit."""
        info = cls.model_fields.get(field)
        marks = [*info.metadata, *_marks(info.annotation)] if info else []
        return next((mark for mark in (LENGTH, DENSITY) if mark in marks), None)

    def scaled(self, factor: float) -> Self:
        """Multiply every length by `factor`, and every density by its inverse square."""
        changes = {}
        for name in type(self).model_fields:
            value, power = (
                getattr(self, name),
                {LENGTH: 1, DENSITY: -2}.get(self.dimension_of(name) or ""),
            )
            if isinstance(value, Quantities):
                changes[name] = value.scaled(factor)
            elif power and value is not None:
                changes[name] = _times(value, factor**power)
        return self.model_copy(update=changes)


class Sample(Quantities):
    """What is known of the particles before the experiment, shared by all terms.

    Parameters
    ----------
    contrast : {"bright", "dark", "either"}
        Particles are brighter or darker than their surroundings; "either" leaves it to each frame.
    min_diameter, max_diameter : float
        Particles have equivalent diameters within these, in the task's unit.
    sizes : {"alike", "mixed"}
        "mixed": small particles beside far larger ones are wanted. "alike": what is far smaller
        than the rest is dirt or lettering, and lone specks hardly count where particles are
        counted.
    arrangement : {"apart", "overlapping"}
        "overlapping": round particles that lie on one another in projection are wanted; the
        foreground then counts them by inscribed discs.
    """

    contrast: Contrast = "either"
    sizes: Sizes = "alike"
    arrangement: Arrangement = "apart"
    min_diameter: Length | None = None
    max_diameter: Length | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_diameter and self.max_diameter and self.min_diameter >= self.max_diameter:
            raise ValueError(
                f"min_diameter ({self.min_diameter:g}) must be below max_diameter "
                f"({self.max_diameter:g})"
            )
        return self


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


def _marks(annotation: Any) -> Iterator[Any]:
    """Marks inside of unions: `Length | None` keeps its own in the union's arms."""
    for arm in get_args(annotation):
        yield from getattr(arm, "__metadata__", ())


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_times(entry, factor) for entry in value)
    return value * factor


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
