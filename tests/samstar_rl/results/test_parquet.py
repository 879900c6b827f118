from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from samstar_rl.frames.frame import Frame
from samstar_rl.results.parquet import METADATA_KEY, write_parquet
from samstar_rl.results.result import FrameResult
from samstar_rl.rewards import Score
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings

parquet = pytest.importorskip("pyarrow.parquet")


def result_of(frame_id: str, n_particles: int, pixel_size_nm: float | None = 2.0) -> FrameResult:
    labels = np.zeros((40, 60), np.int32)
    for k in range(n_particles):
        labels[5:15, 4 + 15 * k : 14 + 15 * k] = k + 1
    image = np.random.default_rng(0).normal(100, 5, labels.shape) + 50 * (labels > 0)
    frame = Frame(image, pixel_size_nm, frame_id)
    segmentation = Segmentation.from_labels(labels, frame)
    score = Score(0.5, {"size": 0.25})
    return FrameResult(frame, segmentation, Settings(), score, 1, 1, {}, "particles", "static")


def test_the_table_comes_back_exactly(tmp_path):
    given = result_of("a", 3)
    write_parquet(tmp_path / "a.parquet", given)
    expected = given.segmentation.table.to_dataframe("a", 2.0)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), expected)
    assert "area_nm2" in expected and len(expected) == 3


def test_the_frames_of_a_run_read_as_one_table(tmp_path):
    for name, n_particles in (("a", 3), ("b", 0), ("c", 2)):
        write_parquet(tmp_path / f"{name}.particles.parquet", result_of(name, n_particles))
    table = pd.concat(map(pd.read_parquet, sorted(tmp_path.glob("*.parquet"))))
    assert table["frame"].value_counts().to_dict() == {"a": 3, "c": 2}
    together = pd.read_parquet(tmp_path)
    assert len(together) == 5


def test_the_record_travels_with_the_table(tmp_path):
    write_parquet(tmp_path / "a.parquet", result_of("a", 1, pixel_size_nm=None))
    record = json.loads(parquet.read_schema(tmp_path / "a.parquet").metadata[METADATA_KEY])
    assert record["terms"] == {"size": 0.25} and record["pixel_size_nm"] is None
    assert "area_nm2" not in pd.read_parquet(tmp_path / "a.parquet")
