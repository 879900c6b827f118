"""What the embedded SAM is trained on: views, exposures, prompts, the pool of simulated images."""

import numpy as np
import pytest
import torch

from samstar_rl.fitting.augmentation import (
    bend,
    letterbox,
    mosaic,
    pad,
    paste_instances,
    random_exposure,
    random_rendering,
    random_texture,
    random_view,
    tile_view,
    whole_view,
)
from samstar_rl.fitting.emps import load_pairs, split_names
from samstar_rl.fitting.prompt_sampling import sample_prompts
from samstar_rl.fitting.sam_trainer import TrainingConfig
from samstar_rl.fitting.samples import BatchDataset, SimulatedPool


def discs(size=160, count=9):
    rows, columns = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    pitch = size // 3
    for k in range(count):
        centre = (k // 3 * pitch + pitch // 2, k % 3 * pitch + pitch // 2)
        labels[np.hypot(rows - centre[0], columns - centre[1]) < pitch / 3] = k + 1
    image = np.where(labels > 0, 200, 60).astype(np.uint8)
    return image, labels


def test_the_split_is_disjoint_and_complete():
    parts = {part: split_names(part) for part in ("sam", "tune", "check")}
    assert {part: len(names) for part, names in parts.items()} == {
        "sam": 226,
        "tune": 70,
        "check": 70,
    }
    assert len(set().union(*parts.values())) == 366


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="part must be one of sam, tune, check"):
        split_names("test")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected grey images"):
        load_pairs(tmp_path, tmp_path)


def test_letterbox_keeps_the_aspect_ratio():
    image, labels = discs()
    view, view_labels = letterbox(image[:80], labels[:80], 64)
    assert view.shape == view_labels.shape == (32, 64)
    padded, padded_labels = pad(view, view_labels, 64)
    assert padded.shape == padded_labels.shape == (64, 64)
    assert not padded[32:].any()


@pytest.mark.parametrize("seed", range(8))
def test_views_keep_image_and_labels_together(seed):
    rng = np.random.default_rng(seed)
    view, labels = random_view(rng, *discs(400), 128)
    assert view.shape == labels.shape
    assert view.shape[0] <= 128
    assert view.shape[1] <= 128
    inside, outside = view[labels > 0], view[labels == 0]
    if len(inside) > 50 and len(outside) > 50:
        assert np.median(inside) > 150
        assert np.median(outside) < 110


@pytest.mark.parametrize("seed", range(8))
def test_exposures_keep_the_geometry(seed):
    image, labels = discs()
    exposed, exposed_labels = random_exposure(np.random.default_rng(seed), image, labels)
    assert exposed.dtype == np.uint8
    assert exposed.shape == image.shape
    # annotations only erase labels
    assert set(np.unique(exposed_labels)) <= set(np.unique(labels))
    assert ((exposed_labels == labels) | (exposed_labels == 0)).all()


def test_points_lie_in_their_instance_and_background_points_outside():
    _, labels = discs()
    prompts = sample_prompts(np.random.default_rng(0), labels, labels.shape, 64)
    is_point = prompts.labels[:, 0] == 1
    x, y = np.rint(prompts.coords_px[is_point, 0]).astype(int).clip(0, 159).T
    under = labels[y, x]
    wanted = prompts.instance[is_point]
    assert (under[wanted < 0] == 0).all()
    # points move by up to half a pixel across a rim
    assert (under[wanted > 0] == wanted[wanted > 0]).mean() > 0.9
    assert (wanted < 0).any()


def test_boxes_enclose_their_instance():
    _, labels = discs()
    prompts = sample_prompts(np.random.default_rng(1), labels, labels.shape, 200)
    boxes = np.flatnonzero(prompts.labels[:, 0] == 2)
    assert len(boxes) > 5
    for slot in boxes:
        rows, columns = np.nonzero(labels == prompts.instance[slot])
        (x0, y0), (x1, y1) = prompts.coords_px[slot]
        tolerance = 0.25 * np.ptp(columns)
        assert abs(x0 - columns.min()) < tolerance
        assert abs(y1 - rows.max()) < tolerance
        assert x1 > x0 and y1 > y0


def test_an_empty_frame_gives_no_prompts():
    assert (
        sample_prompts(np.random.default_rng(0), np.zeros((50, 50), np.int32), (50, 50), 4) is None
    )


def test_the_pool_draws_once_and_reads_the_same_again(tmp_path):
    pool = SimulatedPool(tmp_path, count=3, size=96, seed=5)
    image, labels = pool[1]
    (stored,) = pool.folder.glob("*.npz")
    written = stored.stat().st_mtime_ns
    again, labels_again = pool[1]
    assert stored.stat().st_mtime_ns == written
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)


def test_a_batch_depends_on_its_step_alone(tmp_path):
    dataset = BatchDataset(
        TrainingConfig(batch_size=2, prompts=4, seed=3),
        64,
        SimulatedPool(tmp_path, count=4, size=96, seed=5),
        [discs()],
    )
    first, other, again = dataset[7], dataset[8], dataset[7]
    assert first["image"].shape == (2, 64, 64)
    assert first["coords_px"].shape == (2, 4, 2, 2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize("seed", range(12))
def test_tiles_show_an_instance_between_8_px_and_half_the_view(seed):
    image, labels = discs(480, count=4)
    view, view_labels = tile_view(np.random.default_rng(seed), image, labels, 128)
    assert view.shape == view_labels.shape
    assert max(view.shape) == 128
    areas = np.bincount(view_labels.ravel())[1:]
    # an overlap of a third makes a body smaller than the zoom alone would
    assert 8 / 1.35 - 1 < np.sqrt(4 / np.pi * areas.max()) < 0.5 * 128 + 2
    assert np.median(view[view_labels > 0]) > 150


def test_a_frame_without_instances_is_shown_whole():
    image = np.arange(80 * 100, dtype=np.uint8).reshape(80, 100)
    view, labels = tile_view(np.random.default_rng(0), image, np.zeros((80, 100), np.int32), 50)
    assert sorted(view.shape) == [40, 50]
    assert not labels.any()


def test_tiles_of_narrow_frames_keep_within_them():
    image, labels = discs(300)
    for seed in range(10):
        view, _ = tile_view(np.random.default_rng(seed), image[:, 100:130], labels[:, 100:130], 64)
        assert max(view.shape) == 64


def test_pools_of_wide_images_lie_apart(tmp_path):
    wide = SimulatedPool(tmp_path, count=1, size=640, seed=5, wide=True)
    narrow = SimulatedPool(tmp_path, count=1, size=640, seed=5)
    assert wide.folder != narrow.folder
    image, labels = wide[0]
    assert image.shape == labels.shape == (640, 640)
    assert labels.any()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_bent_keeps_image_and_labels_together(seed):
    image, labels = discs(240)
    bent, bent_labels = bend(np.random.default_rng(seed), image, labels)
    assert bent.shape == bent_labels.shape == image.shape
    assert np.mean((bent > 130) == (bent_labels > 0)) > 0.98
    assert np.mean((bent_labels > 0) != (labels > 0)) > 0.005


def test_pasted_instances_are_new_ones_and_keep_their_contrast():
    image, labels = discs(160)
    ground = np.full((120, 200), 90, np.uint8)
    pasted, pasted_labels = paste_instances(
        np.random.default_rng(0), ground, np.zeros((120, 200), np.int32), image, labels
    )
    new = pasted_labels > 0
    assert pasted.shape == ground.shape
    assert not new[:, 160:].any()
    assert 0 < len(np.unique(pasted_labels)) - 1 < 9
    # 140 grey values above their ground there, and so here
    assert np.median(pasted[new]) == 230
    assert np.all(pasted[~new & (pasted < 160)] >= 90)
    kept, kept_labels = paste_instances(
        np.random.default_rng(0), image, labels, ground, np.zeros_like(ground, np.int32)
    )
    assert np.array_equal(kept, image)
    assert np.array_equal(kept_labels, labels)


def test_a_mosaic_shows_each_part_with_instances_of_its_own():
    parts = [whole_view(np.random.default_rng(k), *discs(160), 32) for k in range(3)]
    narrow, narrow_labels = letterbox(*(one[:80] for one in discs(160)), 32)
    image, labels = mosaic([*parts, (narrow, narrow_labels)], 70)
    assert image.shape == labels.shape == (70, 70)
    assert len(np.unique(labels)) - 1 == sum(
        len(np.unique(one)) - 1 for one in (*(labels for _, labels in parts), narrow_labels)
    )
    assert np.array_equal(image[:32, 35:67], parts[1][0])
    assert np.array_equal(labels[35:67, :32] > 0, parts[2][1] > 0)
    assert np.array_equal(image[35:51, 35:67], narrow)
    # what is left free
    assert len(np.unique(image[51:, 35:])) == 1
    assert not labels[51:, 35:].any()


def test_mosaics_bring_particles_too_small_for_other_views(tmp_path):
    def smallest_px(share):
        config = TrainingConfig(batch_size=24, prompts=4, real_share=1, mosaic_share=share)
        pool = SimulatedPool(tmp_path, count=1, size=96, seed=5)
        batch = BatchDataset(config, 128, pool, [discs(480)])[0]
        areas = [np.bincount(one.ravel())[1:] for one in batch["labels"].numpy()]
        return np.quantile(np.concatenate([one[one > 0] for one in areas]), 0.1)

    assert smallest_px(1.0) < 0.5 * smallest_px(0.0)


def test_a_random_texture_keeps_mean_and_contrast_of_a_crop():
    intensity = discs()[0].astype(np.float32) / 255
    other = random_texture(np.random.default_rng(3), intensity)
    assert other.mean() == pytest.approx(intensity.mean(), abs=1e-4)
    assert 0.2 * intensity.std() < other.std() < 1.05 * intensity.std()
    assert np.abs(other - intensity).max() > 0.01


def test_a_rendered_crop_stays_a_picture_of_the_same_things():
    image, labels = discs()
    rng = np.random.default_rng(0)
    rendered = [random_rendering(rng, image) for _ in range(40)]
    assert all(one.dtype == np.uint8 and one.shape == image.shape for one in rendered)
    assert 5 < sum(not np.array_equal(one, image) for one in rendered) < 30
    inside, outside = (
        np.array([one[where].mean() for one in rendered]) for where in (labels > 0, labels == 0)
    )
    assert np.median(inside - outside) == pytest.approx(140, abs=1)
