"""The foreground network turns with the image, stays in range, and survives any image."""

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from samstar_rl.foreground.network import (
    ForegroundNetwork,
    for_inference,
    load_network,
    map_particles,
    packaged_weights_path,
    particle_probability,
    working_shape,
)
from samstar_rl.frames.intensity import normalise
from samstar_rl.simulator import SimulatedStream
from samstar_rl.simulator.annotations import info_bar


def discs(height=200, width=260, *, radius=16, noise=0.08):
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:height, :width]
    truth = np.zeros((height, width), bool)
    for y in range(30, height - 20, 60):
        for x in range(30, width - 20, 55):
            truth |= np.hypot(rows - y, columns - x) < radius
    image = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 1.5)
    return image + noise * rng.standard_normal(image.shape).astype(np.float32), truth


def dice(found, true):
    return 2 * np.count_nonzero(found & true) / (np.count_nonzero(found) + np.count_nonzero(true))


@pytest.mark.parametrize("shape", [(200, 260), (512, 512), (300, 700), (256, 64)])
def test_maps_have_the_working_shape_and_are_probabilities(shape):
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    maps = particle_probability(image)
    for values in (maps.probability, maps.core):
        assert values.shape == working_shape(shape)
        assert values.dtype == np.float32
        assert 0 <= values.min() <= values.max() <= 1
    assert min(working_shape(shape)) <= 256


@pytest.mark.parametrize("shape", [(20, 30), (3, 400), (1, 1)])
def test_tiny_images_are_survived(shape):
    maps = particle_probability(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert maps.core.shape == maps.probability.shape == working_shape(shape)
    assert np.isfinite(maps.probability).all()


@pytest.mark.parametrize("shape", [(200, 260), (480, 640)])
def test_the_maps_turn_and_flip_with_the_image(shape):
    image, _ = discs(*shape)
    maps = particle_probability(image)
    for change in (np.fliplr, np.flipud, np.rot90, lambda a: np.rot90(a, 2), np.transpose):
        changed = particle_probability(np.ascontiguousarray(change(image)))
        np.testing.assert_allclose(changed.probability, change(maps.probability), atol=1e-4)
        np.testing.assert_allclose(changed.core, change(maps.core), atol=1e-4)


def test_the_same_image_gives_the_same_maps_at_any_gain():
    image, _ = discs()
    first, second = particle_probability(image), particle_probability(image)
    assert np.array_equal(first.probability, second.probability)
    scaled = particle_probability(image * 3000 + 700)
    np.testing.assert_allclose(scaled.probability, first.probability, atol=1e-3)


def test_the_number_of_threads_hardly_matters():
    image, _ = discs()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = particle_probability(image)
        torch.set_num_threads(2)
        two = particle_probability(image)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(one.probability, two.probability, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_blank_image_has_no_particles(value):
    maps = particle_probability(np.full((64, 90), value, np.float32))
    assert not maps.probability.any()
    assert not maps.core.any()


def test_missing_pixels_are_survived():
    image, _ = discs()
    image[:40] = np.nan
    assert np.isfinite(particle_probability(image).probability).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_bright_and_dark_discs_are_found_and_told_apart(sign):
    image, truth = discs()
    maps = particle_probability(sign * image)
    assert dice(maps.probability > 0.5, truth) > 0.9
    count, _ = cv2.connectedComponents((maps.core > 0.5).astype(np.uint8))
    true_count, _ = cv2.connectedComponents(truth.astype(np.uint8))
    assert abs(count - true_count) <= 1
    assert maps.core.sum() < maps.probability.sum()


def test_an_info_bar_is_no_particle():
    with SimulatedStream("particles", seed=100_050, size=512) as stream:
        labelled = stream.frame_at(0)
    image = labelled.frame.image.astype(np.uint8)
    info_bar(np.random.default_rng(0), image, labelled.truth.astype(np.int32))
    maps = particle_probability(image)
    bar = maps.probability[-12:]  # the bar is at least a twentieth of the frame
    assert (bar > 0.5).mean() < 0.05


def test_images_that_are_none_are_refused():
    with pytest.raises(ValueError, match="shape"):
        particle_probability(np.zeros((4, 4, 3)))


def test_folding_the_normalisations_changes_nothing():
    torch.manual_seed(0)
    network = ForegroundNetwork()
    network(torch.randn(4, 1, 64, 64))  # moves the running means
    network.eval()
    image = torch.randn(1, 1, 64, 96)
    with torch.no_grad():
        np.testing.assert_allclose(for_inference(network)(image), network(image), atol=1e-4)
    unit = normalise(np.random.default_rng(0).random((50, 60)))
    assert map_particles(for_inference(network), unit).probability.shape == (50, 60)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no weights of the foreground network"):
        load_network(tmp_path / "absent.safetensors")
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="does not fit the foreground network"):
        load_network(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ValueError, match="does not fit the foreground network"):
        load_network(tmp_path / "text.safetensors")


def test_the_packaged_weights_are_small():
    assert packaged_weights_path().stat().st_size < 1_000_000
