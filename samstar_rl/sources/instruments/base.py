"""What sources at instruments share: they bear failures, and believe nothing that they are sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from samstar_rl.errors import SamstarError
from samstar_rl.frames.frame import Frame
from samstar_rl.sources.base import Fault, SourceBase

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 10.0
# an instrument that has worked may be busy for a moment; each request may be a scan, though
MAX_REFUSALS = 4
LONGEST_TIMEOUT_S = 600.0
# 8192 x 8192 pixels of 32 bits, and a little
MAX_REPLY_BYTES = 300 * 2**20


class BadReplyError(SamstarError):
    """The instrument answered something that is no image."""


class RefusedError(BadReplyError):
    """The instrument refuses the request, and would refuse it again as it is."""


class ConnectionLostError(OSError):
    """The instrument does not answer."""


class SourceBrokenError(SamstarError):
    """A source that cannot go on: what is wrong must be put right by people."""


class InstrumentSource(SourceBase):
    """Frames asked of an instrument one after the other.

    An instrument that goes away, or answers with garbage, is asked again, ever more rarely. A
    request that it refuses is not repeated as long as it was never granted, for each may be a scan
    of the specimen; once frames have come, a few refusals in a row are borne.

    A subclass says how to `acquire` one frame, how to `interrupt` that, and how to `disconnect`.

    Parameters
    ----------
    name : str
        For messages.
    interval_s : float
        Least time from one request to the next.
    timeout_s : float
        How long a reply may take, beyond the scan itself.
    pixel_size_nm : float, optional
    """

    live = True
    on_request = True

    def __init__(
        self,
        name: str,
        *,
        interval_s: float = 0.0,
        timeout_s: float = 10.0,
        pixel_size_nm: float | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self.pixel_size_nm = pixel_size_nm
        self._ids = FrameIds()
        self._away = False
        self._n_refusals = 0
        self._granted = False
        self._remarks: set[str] = set()

    def acquire(self) -> NDArray[np.generic]:
        """Take one image, connecting first where needed.

        Raises
        ------
        RefusedError
            If the instrument says that it will not.
        BadReplyError
            If what came is no image; the next request may be better.
        OSError
            If the instrument does not answer; it is then asked again later.
        """
        raise BadReplyError(f"{type(self).__name__} does not say how to acquire an image")

    def interrupt(self) -> None:
        """End an `acquire` that hangs in another thread."""

    def disconnect(self) -> None:
        """Leave no connection open; called after each failure and at the end."""

    def stop(self) -> None:
        """End the iteration soon, also out of a request that hangs; from any thread."""
        super().stop()
        self.interrupt()

    def lengthen_timeout(self) -> str:
        """Give the next request more time, for the scan was made in vain; returns what to say."""
        given_s, self.timeout_s = self.timeout_s, min(2 * self.timeout_s, LONGEST_TIMEOUT_S)
        return (
            f"no image came within the timeout of {given_s:.3g} s beyond the scan's own duration; "
            f"the next one has {self.timeout_s:.3g} s"
        )

    def remark(self, reason: str) -> None:
        """Say once what people should know about the frames that come."""
        if reason not in self._remarks:
            self._remarks.add(reason)
            self.on_fault(Fault(self.name, reason, cost_a_frame=False, trouble=False))

    def remark_size(self, image: NDArray[np.generic], size: int) -> None:
        """Say once that images are not square of the side that was asked for."""
        if image.shape != (size, size):
            shape = " x ".join(str(length) for length in image.shape)
            self.remark(f"sends {shape} px where {size} x {size} were asked for")

    def __iter__(self) -> Iterator[Frame]:
        backoff = Backoff()
        try:
            while not self.stopped:
                started = time.monotonic()
                image = self._try_to_acquire()
                if image is None:
                    self.wait(backoff.next_s())
                    continue
                self._away, self._granted, self._n_refusals = False, True, 0
                if backoff.n_failures:
                    reason = f"is back after {backoff.n_failures} failures"
                    self.on_fault(Fault(self.name, reason, cost_a_frame=False, trouble=False))
                backoff.reset()
                yield self._to_frame(image)
                self.wait(max(0.0, self.interval_s - (time.monotonic() - started)))
        finally:
            self.disconnect()

    def _try_to_acquire(self) -> NDArray[np.float32] | None:
        """The image; None after a failure, which is reported unless it is the same as before."""
        try:
            return as_image(self.acquire())
        except BadReplyError as error:
            if not self.stopped:
                self._report(str(error), cost_a_frame=True)
            if isinstance(error, RefusedError):
                self._n_refusals += 1
                if not self._granted or self._n_refusals >= MAX_REFUSALS:
                    times = "" if self._n_refusals == 1 else f" {self._n_refusals} times in a row"
                    raise SourceBrokenError(f"{self.name} refuses{times}: {error}") from error
        except OSError as error:
            if not self._away and not self.stopped:
                self._report(f"does not answer ({error}); asking again", cost_a_frame=False)
            self._away = True
        except Exception as error:  # whatever a reply provokes must not end an unattended run
            reason = f"the reply cannot be read ({type(error).__name__}: {error})"
            self._report(reason, cost_a_frame=True)
        self.disconnect()
        return None

    def _report(self, reason: str, *, cost_a_frame: bool) -> None:
        self.on_fault(Fault(self.name, reason, cost_a_frame=cost_a_frame))

    def _to_frame(self, image: NDArray[np.float32]) -> Frame:
        now = time.time()
        return Frame(image, self.pixel_size_nm, self._ids.new(now), now)


class Backoff:
    """How long to wait before asking again: twice as long after each failure, up to a limit.

    With jitter, so that no two clients stay in step.
    """

    def __init__(self) -> None:
        self.n_failures = 0
        self._rng = np.random.default_rng()  # unseeded: two clients must differ

    def reset(self) -> None:
        """It has worked."""
        self.n_failures = 0

    def next_s(self) -> float:
        """It has failed: the seconds to wait."""
        self.n_failures += 1
        longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(self.n_failures - 1, 30))
        return longest * float(self._rng.uniform(0.5, 1.0))


class FrameIds:
    """Ids for frames that come without a name, all different and in the order of the frames."""

    def __init__(self) -> None:
        self._last = ""

    def new(self, now: float) -> str:
        """The time of day in UTC; a suffix keeps ids apart when the clock stands or jumps back.

        Parameters
        ----------
        now : float
            Seconds since the epoch.
        """
        frame_id = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%f")
        if frame_id <= self._last:
            stem, _, number = self._last.partition("+")
            frame_id = f"{stem}+{int(number or 0) + 1:06d}"
        self._last = frame_id
        return frame_id


def last_line(text: str) -> str:
    """The last line that says something, of 200 characters at most: of a traceback, the cause."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def as_image(array: NDArray[np.generic]) -> NDArray[np.float32]:
    """Take a two-dimensional image of real numbers, or one channel of grey, as float32.

    Raises
    ------
    BadReplyError
        If it is anything else.
    """
    image = np.squeeze(array) if array.ndim > 2 else array
    if image.ndim != 2 or image.size == 0 or image.dtype.kind not in "buif":
        raise BadReplyError(
            f"expected an image of the shape (height, width) of real numbers, got "
            f"{array.shape} of {array.dtype}"
        )
    with np.errstate(over="ignore"):
        return np.asarray(image, dtype=np.float32)
