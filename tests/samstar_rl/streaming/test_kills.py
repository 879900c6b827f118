"""Killed with -9 at random moments and resumed: no gap, no repeat, no half file.

SAMSTAR_KILLS sets another number of kills, for a first try.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import stub_run
import tifffile
from coco_masks import read_coco_masks

from samstar_rl.streaming.sinks import read_journal

N_KILLS = int(os.environ.get("SAMSTAR_KILLS", "20"))
FRAMES_A_KILL = 50


def records_of(out: Path) -> list[Path]:
    return [path for path in out.glob("f*.json") if not path.name.endswith(".coco.json")]


def check_whole(records: Iterable[Path]) -> None:
    """Every frame whose record is there is complete, and can be read."""
    for record in records:
        n_particles = json.loads(record.read_text())["n_particles"]
        path = record.with_suffix("")
        assert tifffile.imread(f"{path}.labels.tif").max() == n_particles
        assert len(pd.read_csv(f"{path}.particles.csv")) == n_particles
        assert len(pd.read_parquet(f"{path}.particles.parquet")) == n_particles
        assert len(read_coco_masks(Path(f"{path}.coco.json"))) == n_particles


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX's")
def test_killed_at_twenty_random_moments_and_resumed(tmp_path):
    pytest.importorskip("pycocotools")
    pytest.importorskip("pyarrow")
    out, rng = tmp_path / "out", np.random.default_rng(0)
    n_frames = FRAMES_A_KILL * (N_KILLS + 1)
    # processes of their own, forked from one that has imported all: that takes longest
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stub_run"])
    done: set[Path] = set()
    for _ in range(N_KILLS):
        process = context.Process(target=stub_run.main, args=(out, n_frames))
        process.start()
        deadline = time.monotonic() + 300
        while len(records_of(out)) <= len(done):
            assert process.is_alive(), "the run ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        process.join()
        now = set(records_of(out))
        assert done < now  # it went on from there, and nothing that was written is lost
        check_whole(now - done)
        done = now
    process = context.Process(target=stub_run.main, args=(out, n_frames))
    process.start()
    process.join(600)
    assert process.exitcode == 0
    records = records_of(out)
    check_whole(records)
    assert len(records) == n_frames
    lines = read_journal(out / "run" / "frames.jsonl")
    frames = [line["frame"] for line in lines if "score" in line]
    assert sorted(frames) == [f"f{number:05d}" for number in range(n_frames)]  # and none twice
    assert not list(out.glob(".*.part*"))
