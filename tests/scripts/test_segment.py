from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from bundles import untrained_bundle
from PIL import Image

from samstar_rl import segmenter
from samstar_rl.agents.policies import bundle as bundles_module
from samstar_rl.sam.load import load_sam, packaged_weights_sha256
from samstar_rl.scripts._shared import segmenting as command
from samstar_rl.tasks.task import load_task

SHA256 = packaged_weights_sha256()


def test_every_frame_gets_its_four_files(samstar, small_task, images, tmp_path):
    out = tmp_path / "out"
    done = samstar("segment", images, "--task", small_task, "-o", out, "--pixel-size", 2)
    assert done.exit_code == 0, done.output
    assert "3 frames" in done.stdout and "mean score" in done.stdout
    for name in ("a", "b-00000", "b-00001"):
        record = json.loads((out / f"{name}.json").read_text())
        labels = tifffile.imread(out / f"{name}.labels.tif")
        table = pd.read_csv(out / f"{name}.particles.csv")
        assert labels.dtype == np.uint16 and labels.shape == (96, 96)
        assert record["n_particles"] == len(table)
        assert set(np.unique(labels)) - {0} <= set(table["label"])
        assert {"area", "circularity", "equivalent_diameter_area_nm"} <= set(table.columns)
        assert 0 <= record["score"] <= 1 and record["terms"] and record["evaluations"] == 1
        assert record["prompts_decoded"] > 0 and record["milliseconds"]["total"] > 0
        assert record["settings"]["n_prompts"] == 16
        assert Image.open(out / f"{name}.overlay.png").size[0] % 96 == 0
    run = json.loads((out / "run" / "run.json").read_text())
    assert run["config"]["tuner"] == "static" and run["command"] and run["versions"]["torch"]
    results = json.loads((out / "run" / "results.json").read_text())
    assert results["frames"] == 3 and results["failed"] == {}
    assert list((out / "run" / "tensorboard").iterdir())
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_the_defaults_are_sams_own(samstar, images, tmp_path):
    done = samstar("segment", images / "a.png", "--tuner", "default", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["settings"]["points_per_side"] == 32 and record["prompts_decoded"] == 1024


def test_images_are_independent_of_each_other(samstar, small_task, images, tmp_path):
    samstar("segment", images, "--task", small_task, "-o", tmp_path / "all")
    samstar("segment", images / "a.png", "--task", small_task, "-o", tmp_path / "one")
    for suffix in (".labels.tif", ".particles.csv"):
        assert (tmp_path / "all" / f"a{suffix}").read_bytes() == (
            tmp_path / "one" / f"a{suffix}"
        ).read_bytes()


def test_a_damaged_image_is_named_and_the_others_are_done(samstar, small_task, images, tmp_path):
    (images / "a.png").write_bytes((images / "a.png").read_bytes()[:100])
    done = samstar("segment", images, "--task", small_task, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "a.png" in done.stderr and "1 images failed" in done.stderr
    assert (tmp_path / "out" / "b-00001.json").exists()
    results = json.loads((tmp_path / "out" / "run" / "results.json").read_text())
    assert list(results["failed"]) == [str(images / "a.png")]


def test_a_blank_plane_fails_and_those_after_it_are_done(samstar, small_task, tmp_path):
    stack = np.random.default_rng(0).random((3, 64, 64))
    stack[1] = 0.0
    np.save(tmp_path / "stack.npy", stack)
    out = tmp_path / "out"
    done = samstar("segment", tmp_path / "stack.npy", "--task", small_task, "-o", out)
    assert done.exit_code == 1, done.output
    assert "stack.npy-00001: failed:" in done.stderr and "blank" in done.stderr
    assert (out / "stack-00002.json").exists() and not (out / "stack-00001.json").exists()
    results = json.loads((out / "run" / "results.json").read_text())
    assert results["frames"] == 2 and list(results["failed"]) == [f"{tmp_path}/stack.npy-00001"]


def test_model_and_policy_are_read_once(samstar, small_task, images, tmp_path, monkeypatch):
    for cached in (segmenter.load_engine, command._segmenter):
        cached.cache_clear()
    task = load_task(small_task)
    bundle = untrained_bundle(task, load_sam("tiny").prompt_encoder.embed_dim, sam_sha256=SHA256)
    path = bundle.save(tmp_path / "untrained")
    read: list[str] = []
    for module, name in ((bundles_module, "_read_sheet"), (segmenter, "load_sam")):
        function = getattr(module, name)

        def counted(*arguments, _function=function, _name=name, **options):
            read.append(_name)
            return _function(*arguments, **options)

        monkeypatch.setattr(module, name, counted)
    done = samstar("segment", images, "--tuner", path, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert sorted(read) == ["_read_sheet", "load_sam"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png"], "no file or folder missing.png"),
        (["a.png", "--task", "nothing"], "no task is called 'nothing'"),
        (["a.png", "--tuner", "nothing"], "no tuner 'nothing'"),
        (["a.png", "--tuner", "static:missing.toml"], "missing.toml"),
        (["a.png", "--task", "overlap"], "--pixel-size"),
        (["a.png", "--sam", "missing.pth"], "missing.pth"),
        (["notes.txt"], "unknown kind"),
        (["empty"], "no image"),
        (["a.png", "--pixel-size", "-1"], "pixel-size"),
    ],
)
def test_bad_input_ends_with_one_clear_message(samstar, images, monkeypatch, arguments, message):
    (images / "empty").mkdir()
    monkeypatch.chdir(images)
    done = samstar("segment", *arguments, "-o", "out")
    assert done.exit_code == 2
    assert message in done.stderr and "Traceback" not in done.output


def test_formats_are_chosen_and_the_pixel_size_comes_from_the_file(samstar, small_task, tmp_path):
    zarr = pytest.importorskip("zarr")
    writer = pytest.importorskip("ome_zarr.writer")
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in ("z", "y", "x")]
    stack = np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype(np.uint8)
    writer.write_image(
        stack,
        zarr.open_group(str(tmp_path / "a.zarr"), mode="w"),
        axes=axes,
        coordinate_transformations=[[{"type": "scale", "scale": [1.0, 0.25, 0.25]}]],
        scaler=None,
    )
    formats = ("--format", "ome-zarr", "--format", "coco", "--format", "parquet")
    out = tmp_path / "out"
    done = samstar("segment", tmp_path / "a.zarr", "--task", small_task, "-o", out, *formats)
    assert done.exit_code == 0, done.output
    for name in ("a-00000", "a-00001"):
        assert json.loads((out / f"{name}.json").read_text())["pixel_size_nm"] == 0.25
        for suffix in (".ome.zarr", ".particles.parquet", ".overlay.png"):
            assert (out / f"{name}{suffix}").exists()
        assert not (out / f"{name}.labels.tif").exists()
        assert "area_nm2" in pd.read_parquet(out / f"{name}.particles.parquet")
    assert [path.name for path in out.glob("*.coco.json")] == ["annotations.coco.json"]


def test_an_unknown_format_ends_before_any_work(samstar, images, tmp_path):
    done = samstar("segment", images, "--format", "svg", "-o", tmp_path / "out")
    assert done.exit_code == 2 and "no format 'svg'" in done.stderr
    assert not (tmp_path / "out").exists()


def particles(seed: int, shape: tuple[int, int] = (96, 96)) -> np.ndarray:
    """Bright discs on noise, two of them cut by the border."""
    image = np.random.default_rng(seed).normal(60, 3, shape)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    for y, x in ((6, 36), (36, 90), (60, 60), (62, 14)):
        image[(yy - y) ** 2 + (xx - x) ** 2 < 90] = 180 + 5 * seed
    return image.clip(0, 255).astype(np.uint8)


def test_files_of_one_name_in_several_folders_have_a_result_each(samstar, small_task, tmp_path):
    for seed in (1, 2, 3):
        (tmp_path / f"s{seed}").mkdir()
        tifffile.imwrite(tmp_path / f"s{seed}" / "img.tif", particles(seed))
    paths = [tmp_path / f"s{seed}" / "img.tif" for seed in (1, 2, 3)]
    out = tmp_path / "out"
    done = samstar("segment", *paths, "--task", small_task, "-o", out, "--format", "labels",
                   "--format", "coco")  # fmt: skip
    assert done.exit_code == 0, done.output
    records = [json.loads(path.read_text()) for path in sorted(out.glob("s?_img.json"))]
    assert [record["source"] for record in records] == [str(path) for path in paths]
    assert len(list(out.glob("*.labels.tif"))) == 3
    assert json.loads((out / "run" / "results.json").read_text())["frames"] == 3
    # one file of COCO's, by its own library and by what the images are called
    coco = pytest.importorskip("pycocotools.coco")
    (path,) = out.glob("*.coco.json")
    data = coco.COCO(str(path))
    images = data.loadImgs(data.getImgIds())
    assert [image["file_name"] for image in images] == [f"s{k}/img.tif" for k in (1, 2, 3)]
    assert len(data.anns) == sum(record["n_particles"] for record in records) > 0
    for image in images:
        for label, entry in enumerate(data.loadAnns(data.getAnnIds(imgIds=[image["id"]])), 1):
            labels = tifffile.imread(out / f"s{image['id']}_img.labels.tif")
            mask = data.annToMask(entry).astype(bool)
            assert mask.sum() == entry["area"] and mask[labels == label].all()


def test_a_run_never_takes_its_own_results_for_images(samstar, small_task, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", particles(1))
    formats = [arg for name in ("labels", "csv", "ome-zarr") for arg in ("--format", name)]
    for _ in range(2):
        done = samstar("segment", folder, "--task", small_task, "-o", folder, *formats)
        assert done.exit_code == 0, done.output
    assert {path.name for path in folder.iterdir()} == {
        "a.tif", "a.labels.tif", "a.particles.csv", "a.ome.zarr", "a.overlay.png", "a.json", "run",
    }  # fmt: skip


def test_somebody_elses_files_in_the_output_folder_stay(samstar, small_task, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", particles(1))
    out = tmp_path / "out"
    out.mkdir()
    tifffile.imwrite(out / "x.labels.tif", particles(2))
    before = (out / "x.labels.tif").read_bytes()
    done = samstar("segment", tmp_path / "x.tif", "--task", small_task, "-o", out)
    assert done.exit_code == 0, done.output
    assert (out / "x.labels.tif").read_bytes() == before
    assert (out / "x.tif.labels.tif").exists() and (out / "x.tif.json").exists()


@pytest.mark.parametrize("excluded", [False, True])
def test_particles_at_the_border_are_left_out_of_the_table(samstar, small_task, tmp_path, excluded):
    tifffile.imwrite(tmp_path / "a.tif", particles(1))
    out = tmp_path / "out"
    options = ("--exclude-border",) if excluded else ()
    done = samstar("segment", tmp_path / "a.tif", "--task", small_task, "-o", out, *options)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out / "a.particles.csv")
    labels = tifffile.imread(out / "a.labels.tif")
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    at_border = set(np.unique(rim)) - {0}
    record = json.loads((out / "a.json").read_text())
    summary = json.loads((out / "run" / "results.json").read_text())
    assert at_border and (np.unique(labels).size - 1) > len(at_border)
    assert set(table["label"]) == set(np.unique(labels)) - {0} - (at_border if excluded else set())
    n_left_out = len(at_border) if excluded else 0
    assert record["n_left_out_at_border"] == summary["left_out_at_border"] == n_left_out
    assert record["n_particles"] == summary["particles"] == len(table)
    mean = table["equivalent_diameter_area"].mean()
    assert record["equivalent_diameter"]["mean"] == pytest.approx(mean, rel=1e-4)
    assert summary["mean_equivalent_diameter"]["mean"] == pytest.approx(mean, rel=1e-4)
    assert (f"({n_left_out} at the border left out)" in done.stdout) == excluded
