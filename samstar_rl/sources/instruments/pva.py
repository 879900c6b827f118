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
from samstar_rl.sources.instruments.codecs import PIXEL_TYPES, decompress
from samstar_rl.sources.readers.planes import LUMINANCE

# older than the last frame by less than this: out of order; by more: the clock was set back
OUT_OF_ORDER_S = 10.0
# frames that wait here beyond this are lost to newer ones, which pvAccess does as well
BACKLOG = 4
IDLE_S = 0.2
# a channel that has not answered for so long may not exist
UNANSWERED_S = 5.0
# a first image that is older was stored before the detector became idle
STALE_S = 10.0
# the attribute ColorMode: where the colours lie, counted from the slowest axis of the array
COLOUR_AXES = {2: -1, 3: -2, 4: -3}
COLOUR_MODES = {0: "Mono", 1: "Bayer", 2: "RGB1", 3: "RGB2", 4: "RGB3"}
# time stamps beyond this (the year 2242) are garbage
MAX_STAMP_S = 2.0**33


class PvaSource(SourceBase):
    """The frames that a channel publishes. The library reconnects by itself.

    Frames are told apart by ``uniqueId`` where it counts, otherwise by their time stamps.
    Colour becomes luminance; arrays compressed by blosc, lz4 and bslz4 are read.

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
        self._last_unique_id = 0
        self._connected = False
        self._answered = False
        self._started = 0.0
        self._said_unanswered = False

    def __iter__(self) -> Iterator[Frame]:
        # nt=False: p4p would end the subscription at the first array that does not fit its shape
        context = self._context_class("pva", conf=self._conf, useenv=self._conf is None, nt=False)
        backoff = Backoff()
        self._started = time.monotonic()
        self._said_unanswered = False
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
                self.on_fault(Fault(self.channel, "left out for newer frames", trouble=False))
            update = self._updates.get(IDLE_S)
            silent_s = time.monotonic() - self._started
            if not self._answered and not self._said_unanswered and silent_s > UNANSWERED_S:
                self._said_unanswered = True
                self._report(
                    f"has not answered for {silent_s:.0f} s: check the channel's name, and that "
                    "EPICS_PVA_ADDR_LIST reaches its server; waiting for it",
                    cost_a_frame=False,
                )
            if isinstance(update, Exception):
                if self._connected:
                    self._report("is disconnected; waiting for it", cost_a_frame=False)
                elif not isinstance(update, self._disconnected):
                    self._report(str(update) or type(update).__name__, cost_a_frame=False)
                self._connected = False
                # a lost connection the subscription restores by itself; by all else it has ended
                if isinstance(update, self._finished) or not isinstance(update, self._disconnected):
                    return
            elif update is not None:
                frame = self._to_frame(update)
                if frame is not None:
                    yield frame

    def _to_frame(self, update: Any) -> Frame | None:
        """The update as a frame; None if it is no new image."""
        first = not self._connected
        if first:
            self._connected = self._answered = True
            self._remark("is connected")
        try:
            if _is_empty(update):
                self._remark("has no image yet: the detector is idle")
                return None
            stamp, unique_id = _stamp_s(update), int(update.get("uniqueId") or 0)
            if self._is_known(stamp, unique_id):
                return None
            image = as_image(_decode_ndarray(update))
        except BadReplyError as error:
            self._report(str(error), cost_a_frame=True)
            return None
        except Exception as error:  # whatever an update provokes must not end an unattended run
            reason = f"the update cannot be read ({type(error).__name__}: {error})"
            self._report(reason, cost_a_frame=True)
            return None
        self._last_stamp, self._last_unique_id = stamp, unique_id
        age_s = time.time() - stamp
        if first and age_s > STALE_S:
            self._remark(f"gave the detector's last image first, which is {age_s:.0f} s old")
        return Frame(image, self.pixel_size_nm, self._ids.new(stamp), stamp)

    def _is_known(self, stamp: float, unique_id: int) -> bool:
        """Whether an update is the last image again, or an older one, which is counted."""
        if unique_id > self._last_unique_id:
            return False  # whatever its clock says
        same_id = unique_id == self._last_unique_id
        if same_id and stamp == self._last_stamp:
            return True
        if self._last_stamp - OUT_OF_ORDER_S < stamp < self._last_stamp:
            self._report("an image came after a newer one, and is left out", cost_a_frame=True)
            return True
        return False

    def _remark(self, reason: str) -> None:
        self.on_fault(Fault(self.channel, reason, cost_a_frame=False, trouble=False))

    def _report(self, reason: str, *, cost_a_frame: bool) -> None:
        self.on_fault(Fault(self.channel, reason, cost_a_frame=cost_a_frame))


def _decode_ndarray(update: Any) -> NDArray[np.generic]:
    """Turn an NTNDArray into an array."""
    kind = update.getID()
    if "NTNDArray" not in kind:
        raise BadReplyError(f"expected an NTNDArray, the channel publishes {kind}")
    values = _values(update)
    shape = tuple(int(dimension.size) for dimension in reversed(update.dimension))
    if values.nbytes > MAX_REPLY_BYTES:
        raise BadReplyError(f"an image of {values.nbytes} bytes; at most {MAX_REPLY_BYTES} go")
    if min(shape, default=0) < 1 or math.prod(shape) != values.size:
        raise BadReplyError(f"the image announces the shape {shape}, but has {values.size} values")
    image = values.reshape(shape)
    return _luminance(image, _colour_mode(update)) if np.squeeze(image).ndim > 2 else image


def _values(update: Any) -> NDArray[np.generic]:
    """All values one after the other, decompressed where they are compressed."""
    values = np.asarray(update.value)
    codec = update.get("codec")
    if codec is None or not codec.name:
        return values
    number = codec.parameters
    if number not in PIXEL_TYPES:
        raise BadReplyError(
            f"the image is compressed ({codec.name}), and does not say the type of its pixels: "
            f"expected a number of pvData's scalar types, got {number!r}"
        )
    compressed = values.view(np.uint8)
    return decompress(
        codec.name, compressed, int(update.uncompressedSize), PIXEL_TYPES[int(number)]
    )


def _luminance(image: NDArray[np.generic], mode: int | None) -> NDArray[np.generic]:
    axis = COLOUR_AXES.get(-1 if mode is None else mode)
    if image.ndim != 3 or axis is None or image.shape[axis] != len(LUMINANCE):
        said = "none" if mode is None else COLOUR_MODES.get(mode, str(mode))
        raise BadReplyError(
            f"expected an image of two dimensions, or of three with the attribute ColorMode RGB1, "
            f"RGB2 or RGB3 and three colours; got the shape {image.shape} and the ColorMode {said}"
        )
    colours = np.moveaxis(np.asarray(image, np.float32), axis, -1)
    return colours @ np.asarray(LUMINANCE, np.float32)


def _colour_mode(update: Any) -> int | None:
    for attribute in update.get("attribute") or ():
        if attribute.name == "ColorMode":
            return None if attribute.value is None else int(attribute.value)
    return None


def _is_empty(update: Any) -> bool:
    """Whether an NTNDArray has never been given an image."""
    return "NTNDArray" in update.getID() and update.value is None and not len(update.dimension)


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
