"""Large frames take memory in proportion to their pixels."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

BYTES_A_PIXEL = 64
SCRIPT = """
import json, resource, sys
import numpy as np
from samstar_rl.frames.frame import Frame
from samstar_rl.segmenter import Segmenter
from samstar_rl.tuning.budget import GazeOptions

def draw(height, width):
    image = np.random.default_rng(0).random((height, width), dtype=np.float32) * 0.1
    rows, columns = np.ogrid[:200, :200]
    disc = np.hypot(rows - 100, columns - 100) < 40
    for y in range(0, height - 200, 200):
        for x in range(0, width - 200, 200):
            image[y : y + 200, x : x + 200][disc] += 0.5
    return Frame(image)

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

height, width, n_prompts = map(int, sys.argv[1:])
segmenter = Segmenter.load("particles", gaze=GazeOptions(zoom=4, n_prompts=n_prompts))
segmenter(draw(512, 512))
frame = draw(height, width)
before = peak_bytes()
found = segmenter(frame)
grown = (peak_bytes() - before) / height / width
print(json.dumps({"bytes_a_pixel": grown, "found": len(found.segmentation)}))
"""


def segment_in_own_process(height: int, width: int, n_prompts: int) -> dict[str, float]:
    command = [sys.executable, "-c", SCRIPT, *map(str, (height, width, n_prompts))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("height", "width", "n_prompts"),
    [(1500, 2000, 24), pytest.param(6000, 8000, 300, marks=pytest.mark.slow)],
)
def test_memory_grows_with_the_frame(height: int, width: int, n_prompts: int) -> None:
    taken = segment_in_own_process(height, width, n_prompts)
    assert taken["found"] > 5
    assert taken["bytes_a_pixel"] < BYTES_A_PIXEL
