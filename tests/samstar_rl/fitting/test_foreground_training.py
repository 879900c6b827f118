"""The training of the foreground network learns, resumes, and aims at the right maps."""

import cv2
import numpy as np
import pytest
import torch
from drawn_particles import labelled_discs

from samstar_rl.fitting.foreground import evaluation as foreground_evaluation
from samstar_rl.fitting.foreground import samples as foreground_samples
from samstar_rl.fitting.foreground.evaluation import (
    dice,
    judge_bodies,
    judging_frames,
    touching_frames,
)
from samstar_rl.fitting.foreground.samples import (
    FIRST_JUDGING_SEED,
    PARTICLE_FAMILIES,
    PARTICLE_PRESETS,
    SimulatedFrames,
    all_maps,
    diameter_map,
    draw_simulated,
    random_sample,
    rim_map,
    target_maps,
)
from samstar_rl.fitting.foreground.training import (
    ForegroundTrainer,
    ForegroundTraining,
    begin_from_packed,
    foreground_losses,
    pack,
)
from samstar_rl.foreground.network import (
    MIDDLE_DIAMETER_PX,
    ForegroundNetwork,
    load_network,
    read_maps,
)

WIDTHS = (8, 8, 8, 8, 8)


def trainer(tmp_path, name, *, steps=6, widths=WIDTHS, **changes):
    config = ForegroundTraining(
        steps=steps, batch_size=2, size=64, warmup_steps=2, simulated_frames=2, **changes
    )
    return ForegroundTrainer(
        config, tmp_path / name, pool_folder=tmp_path / "pool", real=labelled_discs(), widths=widths
    )


def weights(network):
    return torch.cat([value.flatten().float() for value in network.state_dict().values()])


def test_the_same_seed_gives_the_same_network_and_another_seed_another(tmp_path):
    first = weights(trainer(tmp_path, "first").run())
    assert torch.equal(first, weights(trainer(tmp_path, "second").run()))
    assert not torch.equal(first, weights(trainer(tmp_path, "other", seed=1).run()))


def test_a_killed_training_resumes_to_the_same_network(tmp_path):
    whole = weights(trainer(tmp_path, "whole").run())
    killed = trainer(tmp_path, "killed")
    killed.folder.mkdir()
    for step in range(3):
        killed.train_step(killed.batches[step])
    killed._save()
    resumed = trainer(tmp_path, "killed")
    assert torch.equal(weights(resumed.run()), whole)
    assert resumed.step == 6


def test_other_options_do_not_resume_a_run(tmp_path):
    trainer(tmp_path, "run", steps=2).run()
    with pytest.raises(ValueError, match=r"begun with learning_rate = 0\.003, now it is 0\.01"):
        trainer(tmp_path, "run", steps=2, learning_rate=0.01).run()


def test_training_reduces_the_loss(tmp_path):
    run = trainer(tmp_path, "learns", real_share=1.0, learning_rate=1e-2, steps=60)
    totals = [sum(run.train_step(run.batches[step]).values()) for step in range(60)]
    assert np.mean(totals[-10:]) < 0.7 * np.mean(totals[:10])


def test_a_training_by_the_clock_ends(tmp_path):
    config = ForegroundTraining(
        minutes=1 / 60, batch_size=1, size=64, warmup_steps=2, simulated_frames=2
    )
    run = ForegroundTrainer(
        config,
        tmp_path / "run",
        pool_folder=tmp_path / "pool",
        real=labelled_discs(),
        widths=WIDTHS,
    )
    run.run()
    assert run.step > 0
    assert 1 <= run.trained_s < 10
    assert run.checkpoint.exists()


@pytest.mark.parametrize("given", [{}, {"steps": 2, "minutes": 1.0}, {"minutes": -1.0}])
def test_the_length_of_a_training_must_be_clear(given):
    with pytest.raises(ValueError, match="steps or minutes"):
        ForegroundTraining(**given)


def test_the_rate_warms_up_and_falls_to_zero():
    config = ForegroundTraining(steps=1000)
    assert config.rate(0, 0.0) < 0.1 * config.learning_rate
    assert config.rate(500, 0.5) == pytest.approx(0.5 * config.learning_rate)
    assert config.rate(1000, 1.0) == pytest.approx(0, abs=1e-9)


def test_packed_weights_are_read_back(tmp_path):
    run = trainer(tmp_path, "run", steps=2, widths=None)
    network = run.run()
    pack(network, tmp_path / "packed.safetensors")
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        packed = load_network(tmp_path / "packed.safetensors")(image)
        np.testing.assert_allclose(packed, network(image), atol=0.02)


def test_images_with_few_particles_weigh_more():
    target = torch.zeros(2, 2, 32, 32)
    target[0, :, :16], target[1, :, :2, :2] = 1, 1
    wrong_of_many = torch.where(target > 0, 4.0, -4.0)
    wrong_of_few = wrong_of_many.clone()
    wrong_of_many[0] *= -1
    wrong_of_few[1] *= -1
    many, few = (foreground_losses(logits, target) for logits in (wrong_of_many, wrong_of_few))
    assert few["particle"] > many["particle"]
    assert few["dice"] > 0.4 and many["dice"] > 0.4


def test_a_core_is_the_inner_part_and_cores_of_touching_instances_are_apart():
    rows, columns = np.mgrid[:80, :120]
    labels = np.zeros((80, 120), np.int32)
    labels[np.hypot(rows - 40, columns - 40) < 20] = 1
    labels[(np.hypot(rows - 40, columns - 76) < 20) & (labels == 0)] = 2
    labels[5:7, 5:7] = 3
    particle, core = target_maps(labels)
    assert np.array_equal(particle > 0, labels > 0)
    assert not core[labels == 0].any()
    count, _ = cv2.connectedComponents(core.astype(np.uint8), connectivity=8)
    assert count - 1 == 3
    radius = np.sqrt(core[:, :58].sum() / np.pi)
    assert 13 < radius < 17.5
    assert not target_maps(np.zeros((9, 9), np.int32)).any()


def touching_discs():
    rows, columns = np.mgrid[:80, :120]
    labels = np.zeros((80, 120), np.int32)
    labels[np.hypot(rows - 40, columns - 40) < 18] = 1
    labels[(np.hypot(rows - 40, columns - 75) < 18) & (labels == 0)] = 2
    labels[np.hypot(rows - 10, columns - 110) < 6] = 3
    labels[70:, :10] = 4
    return labels


def test_a_rim_lies_between_instances_that_touch_and_nowhere_else():
    rim = rim_map(touching_discs())
    assert rim[40, 57] and rim[40, 59]
    assert not rim[:, :50].any() and not rim[:, 68:].any()
    assert not rim_map(np.zeros((9, 9), np.int32)).any()


def test_diameters_are_known_of_instances_that_the_border_does_not_cut():
    logarithm, known = diameter_map(touching_discs())
    diameter = MIDDLE_DIAMETER_PX * np.exp(logarithm)
    assert diameter[40, 40] == pytest.approx(36, rel=0.03)
    assert diameter[10, 110] == pytest.approx(12, rel=0.06)
    assert known[40, 40] == known[40, 75] == known[10, 110] == 1
    assert known[75, 5] == known[0, 0] == 0


def test_all_maps_stand_in_one_order():
    labels = touching_discs()
    maps = all_maps(labels)
    assert maps.shape == (5, 80, 120) and maps.dtype == np.float32
    np.testing.assert_array_equal(maps[:2], target_maps(labels))
    np.testing.assert_array_equal(maps[2], rim_map(labels))


def test_losses_of_four_maps_are_small_for_the_truth():
    target = torch.from_numpy(all_maps(touching_discs()))[None]
    true = torch.cat([16 * target[:, :3] - 8, target[:, 3:4]], dim=1)
    losses = foreground_losses(true, target)
    assert set(losses) == {"particle", "core", "dice", "rim", "diameter"}
    assert all(value < 0.01 for value in losses.values())
    wrong = true.clone()
    wrong[:, 3] += 0.5
    assert foreground_losses(wrong, target)["diameter"] > 0.3


def test_a_training_begins_with_the_maps_of_packed_weights(tmp_path):
    earlier = trainer(tmp_path, "earlier", steps=8, widths=None)
    pack(earlier.run(), tmp_path / "packed.safetensors")
    images = torch.cat([earlier.batches[step]["image"] for step in range(3)])
    begun = ForegroundNetwork()
    begin_from_packed(begun, tmp_path / "packed.safetensors", images)
    assert begun.training
    packed = load_network(tmp_path / "packed.safetensors")
    with torch.no_grad():
        np.testing.assert_allclose(begun.eval()(images), packed(images), atol=1e-3)
    with pytest.raises(ValueError, match="of another size"):
        begin_from_packed(ForegroundNetwork(WIDTHS), tmp_path / "packed.safetensors", images)


def test_weights_that_were_packed_first_are_still_read(tmp_path):
    pack(ForegroundNetwork(maps=2), tmp_path / "first.safetensors")
    assert load_network(tmp_path / "first.safetensors").maps == 2
    images = torch.randn(2, 1, 64, 64)
    begun = ForegroundNetwork()
    begin_from_packed(begun, tmp_path / "first.safetensors", images)
    with torch.no_grad():
        expected = load_network(tmp_path / "first.safetensors")(images)
        np.testing.assert_allclose(begun.eval()(images)[:, :2], expected, atol=1e-3)


def test_diameters_are_judged_at_the_innermost_pixel(monkeypatch):
    labels = touching_discs()
    logarithm, _ = diameter_map(labels)
    raw = np.concatenate([target_maps(labels), [rim_map(labels), logarithm]])
    monkeypatch.setattr(foreground_evaluation, "map_at_scales", lambda *_: read_maps(raw))
    result = judge_bodies(ForegroundNetwork(WIDTHS), np.zeros(labels.shape, np.uint8), labels)
    assert result.within_quarter == result.touching_within_quarter == 1
    assert result.typical_error < 0.01
    assert result.count_error == 0
    raw[3] += 0.3
    worse = judge_bodies(ForegroundNetwork(WIDTHS), np.zeros(labels.shape, np.uint8), labels)
    assert worse.within_quarter == worse.touching_within_quarter == 0


def test_simulated_frames_are_drawn_once_and_stay_below_the_judging_seeds(tmp_path, monkeypatch):
    frames = SimulatedFrames(tmp_path, 3)
    image, labels = frames[2]
    assert image.dtype == np.uint8 and labels.dtype == np.int32
    assert image.shape == labels.shape and labels.any()
    monkeypatch.setattr(foreground_samples, "draw_simulated", None)
    again, _ = frames[2]
    assert np.array_equal(image, again)
    with pytest.raises(ValueError, match="from 1 to 199999"):
        SimulatedFrames(tmp_path, 2 * FIRST_JUDGING_SEED)


def test_all_presets_and_families_occur():
    seen = {draw_simulated(index)[0].shape for index in range(6)}
    assert seen <= {(256, 256), (320, 320), (384, 384)}
    assert len(PARTICLE_PRESETS) == 5 and len(PARTICLE_FAMILIES) == 19


def test_what_is_annotated_is_background():
    image = np.full((200, 200), 90, np.uint8)
    labels = np.ones((200, 200), np.int32)
    annotated = 0
    for seed in range(60):
        _, view_labels = random_sample(np.random.default_rng(seed), image, labels, 96)
        annotated += (view_labels == 0).any()
    assert 1 <= annotated <= 25


def test_judging_frames_are_of_other_seeds():
    ((image, labels),) = judging_frames("size", seeds=[3], size=128)
    assert image.shape == labels.shape == (128, 128)
    assert dice(labels > 0, labels > 0) == 1
    assert dice(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1


def test_touching_frames_repeat_with_their_seed():
    ((image, labels),) = touching_frames(seeds=[4], size=128)
    ((again, _),) = touching_frames(seeds=[4], size=128)
    assert image.shape == labels.shape == (128, 128)
    assert np.array_equal(image, again)
