"""Options behind the question mark of a source's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from samstar_rl.errors import SamstarError
from samstar_rl.sources.base import SourceError

T = TypeVar("T")


class Options:
    """Options of a source's name, taken one by one; `finish` refuses those that nobody took."""

    def __init__(self, kind: str, values: Mapping[str, str]) -> None:
        self.kind = kind
        self._values = dict(values)
        self._known: list[str] = []

    def take(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        """Take an option, or its default where it was not given.

        Parameters
        ----------
        name : str
        default : object
        parse : callable
            Turns the text of the option into its value.

        Returns
        -------
        object

        Raises
        ------
        SourceError
            If the text cannot be parsed.
        """
        self._known.append(name)
        if name not in self._values:
            return default
        text = self._values.pop(name)
        try:
            return parse(text)
        except ValueError as error:
            raise SourceError(
                f"the option {name} of a {self.kind}: source cannot be {text!r}: {error}"
            ) from error

    def finish(self) -> None:
        """Refuse what is left over."""
        if self._values:
            raise SourceError(
                f"a {self.kind}: source has no option {', '.join(self._values)}; "
                f"it has {', '.join(self._known)}"
            )


def parse_flag(text: str) -> bool:
    """Read 1, true, yes, on or their opposites."""
    flags = dict.fromkeys(("1", "true", "yes", "on"), True)
    flags |= dict.fromkeys(("0", "false", "no", "off"), False)
    if text.casefold() not in flags:
        raise SamstarError("expected 1 or 0")
    return flags[text.casefold()]


def parse_not_negative(text: str) -> float:
    """Read a finite number of 0 or above."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise SamstarError("expected a number of 0 or above")
    return value


def parse_positive(text: str) -> float:
    """Read a finite number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise SamstarError("expected a number above 0")
    return value
