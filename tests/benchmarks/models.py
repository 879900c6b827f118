"""What each SAM takes: peak memory, and seconds to encode a frame, each in a process of its own.

The architectures are those of the checkpoints, the weights of the large ones random: neither figure
depends on them, and nothing is downloaded.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from samstar_rl.frames.frame import Frame
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import BUILDERS, load_sam
from tests.benchmarks.report import Row

MODELS = tuple(BUILDERS)
SIDE_PX = 512


def measure(models: Sequence[str], *, n_rounds: int, device: str) -> list[Row]:
    """A row for the memory and one for the time of each model."""
    rows: list[Row] = []
    for model in models:
        found = in_own_process(model, n_rounds, device)
        parameters = f"{found['parameters'] / 1e6:.1f} M parameters"
        megabytes, seconds = found["peak_mb"], found["seconds"]
        rows += [
            Row(f"{model}, peak memory, MB", f"{megabytes:.0f} MB", "", megabytes, note=parameters),
            Row(
                f"{model}, seconds to encode a frame",
                f"{seconds:.3g} s",
                "",
                seconds,
                note=f"median of {n_rounds}, on {device}",
            ),
        ]
    return rows


def in_own_process(model: str, n_rounds: int, device: str) -> dict[str, float]:
    """Peak memory is a process's, so that every model has its own."""
    command = [sys.executable, "-m", "tests.benchmarks.models", model, str(n_rounds), device]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(model: str, n_rounds: int, device: str) -> None:
    """Load a model, encode a frame some times, and print what it took as JSON."""
    sam = load_sam("tiny") if model == "tiny" else BUILDERS[model]().eval()
    engine = ProposalEngine(sam, device=device)
    image = np.random.default_rng(0).normal(size=(SIDE_PX, SIDE_PX)).astype(np.float32)
    seconds = []
    for _ in range(n_rounds + 1):  # the first call allocates
        started = time.perf_counter()
        engine.embed(Frame(image)).pooled  # noqa: B018 - read, so that the device has finished
        seconds.append(time.perf_counter() - started)
    if device == "cpu":
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    else:
        peak_mb = torch.cuda.max_memory_allocated() / 2**20
    parameters = sum(one.numel() for one in sam.parameters())
    found = {"parameters": parameters, "peak_mb": peak_mb, "seconds": np.median(seconds[1:])}
    print(json.dumps({name: float(value) for name, value in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
