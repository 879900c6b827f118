"""Frames from EPICS areaDetector: NTNDArray over PVAccess."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samstar_rl.frames.frame import Frame
from samstar_rl.sources.base import Fault, SourceBase, SourceError
from samstar_rl.sources.instruments.base import (
    MAX_REPLY_BYTES,
    Backoff,
    BadReplyError,
    FrameIds,
    as_image,
)

# older than the last frame by less than this: out of order; by more: the clock was set back
OUT_OF_ORDER_S = 10.0
# frames that wait here beyond this are lost to newer ones, which pvAccess does as well
BACKLOG = 4
IDLE_S = 0.2
# time stamps beyond this (the year 2242) are garbage
MAX_STAMP_S = 2.0**33


class PvaSource(SourceBase):
    """The frames that a channel publishes. The library reconnects by itself.

    Frames are told apart and ordered by their time stamps: ``uniqueId`` may stay 0.

    Parameters
    ----------
    channel : str
        Such as ``13SIM1:Pva1:Image``.
    pixel_size_nm : float, optional
    conf : mapping, optional
        A configuration of p4p of its own instead of the environment's, for tests.

    Raises
    ------
    SourceError
        If there is no channel name, or p4p is not installed.
    """

    live = True

    def __init__(
        self,
        channel: str,
        *,
        pixel_size_nm: float | None = None,
        conf: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not channel:
            raise SourceError("pva: needs the name of a channel, such as pva://13SIM1:Pva1:Image")
        try:
            from p4p.client.thread import Context, Disconnected, Finished
        except ImportError as error:
            raise SourceError("pva: sources need p4p: pip install 'samstar-rl[pva]'") from error
        self.channel = channel
        self.pixel_size_nm = pixel_size_nm
        self._context_class = Context
        self._disconnected, self._finished = Disconnected, Finished
        self._conf = conf
        self._updates = _Mailbox(BACKLOG)
        self._ids = FrameIds()
        self._last_stamp = 0.0
        self._connected = False

    def __iter__(self) -> Iterator[Frame]:
        # nt=False: p4p would end the subscription at the first array that does not fit its shape
        context = self._context_class("pva", conf=self._conf, useenv=self._conf is None, nt=False)
        backoff = Backoff()
        try:
            while not self.stopped:
                subscription = context.monitor(
                    self.channel, self._updates.put, notify_disconnect=True
                )
                try:
                    for frame in self._until_the_subscription_ends():
                        backoff.reset()
                        yield frame
                finally:
                    subscription.close()
                self.wait(backoff.next_s())
        finally:
            context.close()

    def _until_the_subscription_ends(self) -> Iterator[Frame]:
        """The frames of one subscription; it ends by an error, or because the channel closes."""
        while not self.stopped:
            for _ in range(self._updates.take_n_lost()):
                self._report("left out for newer frames", cost_a_frame=True)
            update = self._updates.get(IDLE_S)
            if isinstance(update, Exception):
                self._note_disconnection(update)
                if self._is_final(update):
                    return
            elif update is not None:
                frame = self._to_frame(update)
                if frame is not None:
                    yield frame

    def _is_final(self, update: Exception) -> bool:
        """Whether the subscription has ended; a lost connection it restores by itself."""
        lost = isinstance(update, self._disconnected)
        return isinstance(update, self._finished) or not lost

    def _note_disconnection(self, update: Exception) -> None:
        if self._connected:
            self._report("is disconnected; waiting for it", cost_a_frame=False)
        elif not isinstance(update, self._disconnected):
            self._report(str(update) or type(update).__name__, cost_a_frame=False)
        self._connected = False

    def _to_frame(self, update: Any) -> Frame | None:
        """The update as a frame; None if it is no new image."""
        if not self._connected:
            self._connected = True
            self._report("is connected", cost_a_frame=False)
        try:
            stamp = _stamp_s(update)
            if self._last_stamp - OUT_OF_ORDER_S < stamp <= self._last_stamp:
                return None  # the same again, or an older one
            image = as_image(decode_ndarray(update))
        except BadReplyError as error:
            self._report(str(error), cost_a_frame=True)
            return None
        except Exception as error:  # whatever an update provokes must not end an unattended run
            reason = f"the update cannot be read ({type(error).__name__}: {error})"
            self._report(reason, cost_a_frame=True)
            return None
        self._last_stamp = stamp
        return Frame(image, self.pixel_size_nm, self._ids.new(stamp), stamp)

    def _report(self, reason: str, *, cost_a_frame: bool) -> None:
        self.on_fault(Fault(self.channel, reason, cost_a_frame=cost_a_frame))


def decode_ndarray(update: Any) -> NDArray[np.generic]:
    """Turn an NTNDArray into an array.

    Parameters
    ----------
    update : p4p.Value

    Raises
    ------
    BadReplyError
        If it is something else, is compressed, or its dimensions do not fit its data.
    """
    kind = update.getID()
    if "NTNDArray" not in kind:
        raise BadReplyError(f"expected an NTNDArray, the channel publishes {kind}")
    codec = update.get("codec")
    if codec is not None and codec.name:
        raise BadReplyError(
            f"the image is compressed ({codec.name}): choose the compressor None in the "
            "areaDetector's codec plugin, or the channel before it"
        )
    values = np.asarray(update.value)
    shape = tuple(int(dimension.size) for dimension in reversed(update.dimension))
    if values.nbytes > MAX_REPLY_BYTES:
        raise BadReplyError(f"an image of {values.nbytes} bytes; at most {MAX_REPLY_BYTES} go")
    if min(shape, default=0) < 1 or math.prod(shape) != values.size:
        raise BadReplyError(f"the image announces the shape {shape}, but has {values.size} values")
    return values.reshape(shape)


def _stamp_s(update: Any) -> float:
    """When the image was taken; now, where the detector does not say so."""
    stamp = update.get("timeStamp")
    if stamp is not None:
        seconds = stamp.secondsPastEpoch + 1e-9 * stamp.nanoseconds
        if 0 < seconds < MAX_STAMP_S:
            return float(seconds)
    return time.time()


class _Mailbox:
    """Updates on their way from p4p's thread; the newest ones stay, so that it cannot grow."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[Any] = deque()
        self._n_lost = 0
        self._changed = threading.Condition()

    def put(self, item: Any) -> None:
        with self._changed:
            self._items.append(item)
            while len(self._items) > self._size:
                lost = self._items.popleft()
                self._n_lost += not isinstance(lost, Exception)
            self._changed.notify()

    def get(self, timeout_s: float) -> Any:
        """The oldest item; None if none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._items, timeout_s)
            return self._items.popleft() if self._items else None

    def take_n_lost(self) -> int:
        """How many updates gave way to newer ones since it was asked last."""
        with self._changed:
            n_lost, self._n_lost = self._n_lost, 0
            return n_lost
