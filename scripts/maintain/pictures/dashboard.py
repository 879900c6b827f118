"""The picture of the dashboard: a run on simulated frames, photographed in a browser."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from samstar_rl._io.atomic import replacing
from samstar_rl.agents import shipped_bundles
from samstar_rl.agents.registry import NamedTuner
from samstar_rl.scripts._shared.supervision import choose_among
from samstar_rl.scripts.maintain.pictures.browser import open_chromium
from samstar_rl.segmenter import Segmenter
from samstar_rl.sources.simulated import SimulatedSource
from samstar_rl.streaming.counters import Counters
from samstar_rl.streaming.dashboard import LiveState, open_dashboard
from samstar_rl.streaming.runner import Runner
from samstar_rl.streaming.supervision.guard import GuardRules

if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

TASK = "size"
N_FRAMES = 24
FRAME_SIDE_PX = 384
FRAMES_PER_S = 0.2
WINDOW: ViewportSize = {"width": 1600, "height": 1010}
POLL_MS = 250
# colours of a palette: the page has few, and a smaller file loads sooner
N_COLOURS = 160


def photograph_dashboard(path: Path, *, seed: int, n_frames: int = N_FRAMES) -> None:
    """Run a while and write what the page shows then.

    Parameters
    ----------
    path : Path
    seed : int
        Of the simulated stream.
    n_frames : int

    Raises
    ------
    BrowserMissingError
        If there is no Chromium.
    """
    chromium = open_chromium()
    segmenter = Segmenter.load(TASK)
    specs = [name for name in (TASK,) if name in shipped_bundles()] + ["static", "default"]
    tuners = choose_among(
        segmenter, [NamedTuner(spec) for spec in specs], rules=GuardRules(check_every=5),
        retune=False, n_evaluations=1, seed=seed,
    )  # fmt: skip
    counters = Counters()
    state = LiveState(segmenter.task, counters, tuners=tuners)
    source = SimulatedSource(TASK, seed=seed, size=FRAME_SIDE_PX, fps=FRAMES_PER_S)
    runner = Runner(
        source, segmenter.with_tuner(tuners), [state], queue="latest", counters=counters
    )
    loop = threading.Thread(target=runner.run)
    with open_dashboard(state) as dashboard, chromium as browser:
        page = browser.new_page(viewport=WINDOW)
        page.goto(dashboard.address)
        loop.start()
        try:
            while state.n_frames < n_frames and loop.is_alive():
                page.wait_for_timeout(POLL_MS)
            picture = page.screenshot()
        finally:
            runner.request_stop()
            loop.join()
    with replacing(path) as temporary:
        _with_few_colours(picture).save(temporary, optimize=True)


def _with_few_colours(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB").quantize(N_COLOURS)
