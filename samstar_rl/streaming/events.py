"""What the live loop tells people besides results."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

EventKind = Literal["failed", "guard", "source", "run"]


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes
    ----------
    kind : {"failed", "guard", "source", "run"}
        A frame that could not be treated; an intervention of the guard; a source that is lost or
        back; the run's beginning and end.
    message : str
        For people.
    frame : str or None
        Id of the frame, or name of the file, that it is about.
    time : float
        Seconds since the epoch.
    trouble : bool
        Whether something is wrong, and not a remark.
    """

    kind: EventKind
    message: str
    frame: str | None = None
    time: float = field(default_factory=time.time)
    trouble: bool = False

    def to_record(self) -> dict[str, Any]:
        """As a line of the journal."""
        return {"event": self.kind, "frame": self.frame, "message": self.message, "time": self.time}
