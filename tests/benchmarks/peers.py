"""micro-sam's own re-filtering, in an environment of its own.

`prepare` makes the environment (build/peers), `measure` runs micro_sam_peer.py there on the same
frames, model and settings, and scores the masks that come back here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from samstar_rl.frames.frame import LabelledFrame
from samstar_rl.rewards import PhysicsReward
from samstar_rl.sam.engine import ProposalEngine
from samstar_rl.sam.load import load_sam
from samstar_rl.segmentation.filters import filter_proposals
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.tasks.task import load_task
from tests.benchmarks.evaluation import draw_settings
from tests.benchmarks.report import Row

REQUIRED = 100
ENVIRONMENT = Path("build/peers/micro_sam")
SCRIPT = Path(__file__).with_name("micro_sam_peer.py")


def prepare() -> None:
    """Make micro_sam's environment if it is not there."""
    if (ENVIRONMENT / ".ready").exists():
        return
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--python", sys.executable, ENVIRONMENT], check=True)
    # what reads the embedded SAM is imported from this checkout: it needs safetensors
    packages = ["micro_sam", "segment-anything", "safetensors"]
    python = ENVIRONMENT / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--python", python, *packages], check=True)
    (ENVIRONMENT / ".ready").touch()


def measure(items: list[LabelledFrame], *, points_per_side: int, n_settings: int) -> list[Row]:
    """Mean seconds of a re-filtering and score, ours and micro_sam's."""
    task = load_task("particles")
    reward, engine = PhysicsReward(task), ProposalEngine(load_sam("tiny"))
    settings = draw_settings(n_settings, points_per_side)
    ours, peer = [], []
    for item in items:
        proposals = engine.propose(item.frame, settings[0].prompt)
        gauge = reward.gauge(item.frame)
        for seconds in (None, ours):
            for choice in settings:
                started = time.perf_counter()
                reward.score(filter_proposals(proposals, choice, **gauge), item.frame)
                if seconds is not None:
                    seconds.append(time.perf_counter() - started)
        peer += _peer_seconds(item, settings, reward)
    return [
        Row(
            "evaluation from proposals / micro_sam's generate, both scored",
            f"{np.mean(ours) * 1e3:.2f} ms",
            f"{np.mean(peer) * 1e3:.0f} ms",
            float(np.mean(peer) / np.mean(ours)),
            REQUIRED,
            note=f"{len(ours)} settings",
        )
    ]


def _peer_seconds(item: LabelledFrame, settings, reward: PhysicsReward) -> list[float]:
    folder = Path("build/peers/exchange")
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "image.npy", item.frame.image)
    asked = [choice.to_dict() for choice in settings]
    (folder / "settings.json").write_text(json.dumps(asked), "utf-8")
    subprocess.run([ENVIRONMENT / "bin" / "python", SCRIPT, folder], check=True)
    generated = json.loads((folder / "seconds.json").read_text("utf-8"))
    seconds = []
    with np.load(folder / "masks.npz") as masks:
        for position, spent in enumerate(generated):
            bits = masks[str(position)]
            pixels = np.unpackbits(bits, axis=1, count=item.frame.image.size).astype(bool)
            started = time.perf_counter()
            shaped = pixels.reshape(len(bits), *item.frame.shape)
            reward.score(Segmentation.from_masks(shaped, item.frame), item.frame)
            seconds.append(spent + time.perf_counter() - started)
    return seconds
