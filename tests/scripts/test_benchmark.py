"""`samstar benchmark` on a folder of labelled images, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from samstar_rl.scripts._shared.inputs import find_named
from samstar_rl.scripts.benchmark import choose_images

SMALL = (
    *("--condition", "real", "--budget", 75, "--budget", "none", "--zoom", 1, "--zoom", 2),
    *("--prompts", 16, "--streams", 2, "--stream-frames", 1, "--size", 64),
)


@pytest.fixture
def labelled(tmp_path):
    """Four images of bright discs with their labels, and a file of two of their names."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:72, :72]
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in "abcd":
        labels = np.zeros((72, 72), dtype=np.uint8)
        for number, (y, x) in enumerate(((18, 18), (18, 52), (52, 30)), start=1):
            labels[np.hypot(yy - y, xx - x) < 8] = number
        image = 60 + 100 * (labels > 0) + rng.normal(0, 4, labels.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / f"images/{name}.png")
        Image.fromarray(labels).save(tmp_path / f"labels/{name}.png")
    (tmp_path / "some.txt").write_text("b\nd\n")
    return tmp_path


def stems(paths):
    return [path.rsplit("/", 1)[-1].removesuffix(".png") for path in paths]


def test_every_second_image_judges_unless_names_say_otherwise(labelled):
    images, labels = labelled / "images", labelled / "labels"
    real = choose_images(images, labels, None, None, None)
    assert (stems(real.fit), stems(real.judge)) == (["a", "c"], ["b", "d"])
    real = choose_images(images, labels, str(labelled / "some.txt"), None, None)
    assert (stems(real.fit), stems(real.judge)) == (["a", "c"], ["b", "d"])
    real = choose_images(images, labels, None, str(labelled / "some.txt"), None)
    assert (stems(real.fit), stems(real.judge)) == (["b", "d"], ["a", "c"])


def test_names_must_be_those_of_images(labelled):
    (labelled / "other.txt").write_text("nope\n")
    with pytest.raises(ValueError, match="names 'nope'"):
        find_named(labelled / "images", str(labelled / "other.txt"))
    with pytest.raises(ValueError, match="no image in"):
        find_named(labelled, None)


def test_real_frames_are_compared_and_the_report_can_be_written_anew(samstar, labelled, tmp_path):
    out = tmp_path / "out"
    done = samstar(
        *("benchmark", "--frames", labelled / "images", "--labels", labelled / "labels"),
        *("--tuner", "static", "--tuner", "genetic", "--tuner", "mlp"),
        *("--steps", 512, "--evaluations", 6, "--workers", 1, *SMALL),
        *("-o", out),
    )
    assert done.exit_code == 0, done.output
    rows = pd.read_parquet(out / "results.parquet")
    assert set(rows["tuner"]) == {"static", "genetic", "mlp"}
    assert set(rows["budget"]) == {75.0, np.inf} and set(rows["condition"]) == {"real"}
    assert rows["stream"].nunique() == 2 and rows["f1"].between(0, 1).all()
    assert json.loads((out / "plan.json").read_text())["real"]["labels"].endswith("labels")
    (out / "report.html").unlink()
    again = samstar("benchmark", "--report-only", "-o", out)
    assert again.exit_code == 0, again.output
    assert (out / "report.html").exists() and "| genetic |" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "somewhere"], "go with --frames"),
        (["--frames", "IMAGES"], "give --labels"),
        (["--tuner", "annealing"], "no contender 'annealing'"),
        (["--report-only"], "holds no benchmark"),
        (["--condition", "real"], "belong together"),
        (["--budget", "much"], "must be a cost or none"),
    ],
)
def test_what_cannot_be_is_bad_input(samstar, labelled, tmp_path, arguments, message):
    known = {"IMAGES": labelled / "images", "LABELS": labelled / "labels"}
    done = samstar("benchmark", *(known.get(a, a) for a in arguments), "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.output


def test_a_cluster_comes_to_the_same(samstar, labelled, tmp_path):
    from distributed import LocalCluster

    command = (
        *("benchmark", "--frames", labelled / "images", "--labels", labelled / "labels"),
        *("--tuner", "static", "--tuner", "mlp", "--tuner", "nsga2"),
        *("--steps", 512, "--evaluations", 6, *SMALL),
    )
    here = samstar(*command, "--workers", 1, "-o", tmp_path / "here")
    assert here.exit_code == 0, here.output
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        there = samstar(*command, "--scheduler", address, "-o", tmp_path / "there")
    assert there.exit_code == 0, there.output
    tables = [
        pd.read_parquet(tmp_path / name / "results.parquet").drop(columns=["tuner_ms"])
        for name in ("here", "there")
    ]
    pd.testing.assert_frame_equal(*tables)


def test_workers_are_here_or_there(samstar, tmp_path):
    done = samstar(
        "benchmark", "--workers", 2, "--scheduler", "tcp://127.0.0.1:1", "-o", tmp_path / "out"
    )
    assert done.exit_code == 2 and "not both" in done.output
