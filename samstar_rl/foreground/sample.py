"""What is known of a sample before its frames: its traits, with lengths that carry a unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from samstar_rl.errors import SamstarError

#: Marks a field that is a length in the task's unit, or a number per unit of area.
LENGTH = "length"
DENSITY = "density"

Length = Annotated[float, Field(gt=0), LENGTH]
Density = Annotated[float, Field(gt=0), DENSITY]
Share = Annotated[float, Field(ge=0, le=1)]

Contrast = Literal["bright", "dark", "either"]
Sizes = Literal["alike", "mixed"]
Arrangement = Literal["apart", "overlapping"]


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
            raise SamstarError(
                f"min_diameter ({self.min_diameter:g}) must be below max_diameter "
                f"({self.max_diameter:g})"
            )
        return self


def _marks(annotation: Any) -> Iterator[Any]:
    """Marks inside of unions: `Length | None` keeps its own in the union's arms."""
    for arm in get_args(annotation):
        yield from getattr(arm, "__metadata__", ())


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_times(entry, factor) for entry in value)
    return value * factor
