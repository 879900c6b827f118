"""The benchmarks run: each part on few frames, which says whether it works and no more."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("part", ["evaluation", "gaze", "live", "stream", "loop", "workers", "age"])
def test_a_part_of_the_benchmarks_works(part):
    command = [sys.executable, "-m", "tests.benchmarks", "--tiny", "--only", part]
    run = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert f"measuring: {part}" in run.stdout
