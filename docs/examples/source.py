from samstar_rl.frames.frame import Frame
from samstar_rl.sources.base import SourceBase


class ShutterSource(SourceBase):
    """Frames from any function that takes a picture."""

    live = True

    def __init__(self, shutter, *, pixel_size_nm=None, interval_s=0.0):
        super().__init__()
        self.shutter, self.pixel_size_nm, self.interval_s = shutter, pixel_size_nm, interval_s

    def __iter__(self):
        index = 0
        while not self.stopped:
            yield Frame(self.shutter(), self.pixel_size_nm, f"shutter-{index:05d}")
            self.wait(self.interval_s)
            index += 1
