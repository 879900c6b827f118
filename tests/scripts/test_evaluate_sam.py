"""`samstar dev evaluate-sam` on a frame whose particles it must find."""

import json

import cv2
import numpy as np
from typer.testing import CliRunner

from samstar_rl.scripts._shared.cli import build_app
from samstar_rl.scripts.maintain import evaluate_sam


def write_frame(folder):
    rows, columns = np.mgrid[:128, :160]
    labels = np.zeros((128, 160), np.uint16)
    for k, (y, x) in enumerate([(32, 30), (40, 100), (95, 60), (90, 128)]):
        labels[np.hypot(rows - y, columns - x) < 16] = k + 1
    noise = np.random.default_rng(0).normal(0, 6, labels.shape)
    image = (np.where(labels > 0, 190, 60) + noise).clip(0, 255).astype(np.uint8)
    for name, picture in (("images", image), ("labels", labels)):
        (folder / name).mkdir()
        cv2.imwrite(str(folder / name / "a.png"), picture)


def evaluate(folder, *options):
    arguments = ["dev", "evaluate-sam", "--frames", str(folder / "images"), "--labels"]
    return CliRunner().invoke(
        build_app(["dev evaluate-sam"]), [*arguments, str(folder / "labels"), *options]
    )


def test_it_measures_points_and_grids(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_sam, "STOCK_RUNS", 1)
    write_frame(tmp_path)
    result = evaluate(tmp_path, "-o", str(tmp_path / "figures.json"))
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["frames"]["instances"] == 4
    assert figures["frames"]["best_of_three_iou"] > 0.8
    assert figures["static"]["f1"] > 0.7
    assert figures["static"]["particles"] == 4
    assert figures["stock_seconds_512_16_points"] > 0


def test_tiles_measure_recall_alone(tmp_path):
    write_frame(tmp_path)
    result = evaluate(tmp_path, "--tiles", "12", "-o", str(tmp_path / "recall.json"))
    assert result.exit_code == 0, result.output
    assert "12 prompts each" in result.output
    figures = json.loads((tmp_path / "recall.json").read_text())
    assert set(figures["recall"]) == {"1", "2", "4", "as needed"}
    assert figures["recall"]["as needed"] > 0.7
    assert figures["instances"] == 4


def test_a_folder_without_images_is_bad_input(tmp_path):
    (tmp_path / "images").mkdir()
    result = evaluate(tmp_path)
    assert result.exit_code == 2
    assert "expected grey images" in result.output


def test_a_missing_label_image_is_named(tmp_path):
    write_frame(tmp_path)
    (tmp_path / "labels" / "a.png").unlink()
    result = evaluate(tmp_path)
    assert result.exit_code == 2
    assert "a.png" in result.output
