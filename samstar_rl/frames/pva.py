"""Frames from EPICS areaDetector: NTNDArray over PVAccess."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from samstar_rl.frames.frame import Frame
from samstar_rl.frames.instrument import BadReplyError, as_image
from samstar_rl.frames.source import Fault, SourceBase, SourceError

# older than the last frame by less than this: out of order; by more: the clock was set back
OUT_OF_ORDER_S = 10.0
# frames that wait here beyond this are lost to newer ones, which pvAccess does as well
BACKLOG = 4
IDLE_S = 0.2


class PvaSource(SourceBase):
    """The frames that a channel publishes. The library reconnects by itself.

    Frames are told apart and ordered by their time stamps: ``uniqueId`` may stay 0.

    Parameters
    ----------
    channel : str
        Such as ``13SIM1:Pva1:Image``.
    pixel_size_nm : float, optional
    provider : str or mapping
        Where p4p looks for the channel; a mapping is a configuration of its own, for tests.

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
            from p4p.client.thread import Context, Disconnected
        except ImportError as error:
            raise SourceError("pva: sources need p4p: pip install 'samstar-rl[pva]'") from error
        self.channel = channel
        self.pixel_size_nm = pixel_size_nm
        self._context_class, self._disconnected = Context, Disconnected
        self._conf = conf
        self._updates: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._last_stamp = 0.0
        self._connected = False

    def __iter__(self) -> Iterator[Frame]:
        context = self._context_class("pva", conf=self._conf, useenv=self._conf is None)
        try:
            subscription = context.monitor(self.channel, self._updates.put, notify_disconnect=True)
            try:
                while not self.stopped:
                    frame = self._next_frame()
                    if frame is not None:
                        yield frame
            finally:
                subscription.close()
        finally:
            context.close()

    def _next_frame(self) -> Frame | None:
        """The next update as a frame; None if none came, or it is no new image."""
        self._leave_out_old_updates()
        try:
            update = self._updates.get(timeout=IDLE_S)
        except queue.Empty:
            return None
        if isinstance(update, Exception):
            self._note_disconnection(update)
            return None
        if not self._connected:
            self._connected = True
            self.on_fault(Fault(self.channel, "is connected", cost_a_frame=False))
        return self._to_frame(update)

    def _leave_out_old_updates(self) -> None:
        while self._updates.qsize() > BACKLOG:
            self._updates.get()
            self.on_fault(Fault(self.channel, "left out for newer frames"))

    def _note_disconnection(self, update: Exception) -> None:
        if self._connected or not isinstance(update, self._disconnected):
            reason = "is disconnected; waiting for it" if self._connected else str(update)
            self.on_fault(Fault(self.channel, reason, cost_a_frame=False))
        self._connected = False

    def _to_frame(self, update: Any) -> Frame | None:
        stamp = float(getattr(update, "timestamp", 0.0) or time.time())
        if self._last_stamp - OUT_OF_ORDER_S < stamp <= self._last_stamp:
            return None  # the same again, or an older one
        try:
            image = as_image(np.asarray(update))
        except BadReplyError as error:
            self.on_fault(Fault(self.channel, str(error)))
            return None
        self._last_stamp = stamp
        return Frame(image, self.pixel_size_nm, f"{stamp:.6f}", stamp)
