"""The training loop learns, resumes and repeats itself."""

import copy

import numpy as np
import pytest
import torch
from drawn_particles import labelled_discs
from safetensors.torch import load_file, save_file

from samstar_rl.fitting.calibration import Calibration, apply_calibration
from samstar_rl.fitting.packing import UNSTATED, begin_from_weights, pack_weights
from samstar_rl.fitting.sam_trainer import Trainer, TrainingConfig
from samstar_rl.sam.architectures.tiny import TinySamConfig, build_tiny_sam
from samstar_rl.sam.load import load_sam, packaged_weights_path

NETWORK = TinySamConfig(
    image_size=64, channels=32, widths=(8, 8, 16, 16, 16), depths=(1, 1, 1, 1), mlp_channels=32
)


def trainer(tmp_path, name, images=24, begin_from=None, **changes):
    config = TrainingConfig(
        images=images, batch_size=2, prompts=4, warmup_steps=2, simulated_images=2,
        simulated_size=96, wide_images=1, wide_size=640, **changes,
    )  # fmt: skip
    return Trainer(
        config,
        tmp_path / name,
        pool_folder=tmp_path / "pool",
        real=labelled_discs(),
        validation=labelled_discs(),
        workers=0,
        network=NETWORK,
        begin_from=begin_from,
    )


def weights(sam):
    return torch.cat([value.flatten().float() for value in sam.state_dict().values()])


def test_the_same_seed_gives_the_same_network_and_another_seed_another(tmp_path):
    first = weights(trainer(tmp_path, "first").run())
    second = weights(trainer(tmp_path, "second").run())
    other = weights(trainer(tmp_path, "other", seed=1).run())
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_parts_side_by_side_learn_as_one_batch_does(tmp_path):
    """But for batch normalisation, which sees a part at a time; here it keeps its statistics."""
    together, apart = trainer(tmp_path, "one"), trainer(tmp_path, "two", parts=2)
    batch = together.dataset[0]
    for run in (together, apart):
        for sam, _ in run._replicas:
            sam.eval()
        run._train_step(batch)
    own = [run.sam.image_encoder.stem[0].weight.grad for run in (together, apart)]
    # losses are means over objects, of which the two images have different numbers
    assert torch.nn.functional.cosine_similarity(*(one.flatten() for one in own), dim=0) > 0.9
    assert (
        apart._replicas[1][0].image_encoder.stem[0].weight is apart.sam.image_encoder.stem[0].weight
    )
    assert together.sam.prompt_encoder.mask_downscaling[0].weight.grad is None
    again = weights(trainer(tmp_path, "again", parts=2).run())
    assert torch.equal(weights(trainer(tmp_path, "repeat", parts=2).run()), again)
    with pytest.raises(ValueError, match="does not divide into 3 equal parts"):
        trainer(tmp_path, "three", parts=3)


def test_a_killed_training_resumes_to_the_same_network(tmp_path):
    whole = weights(trainer(tmp_path, "whole").run())
    killed = trainer(tmp_path, "killed")
    killed.folder.mkdir()
    for batch, _ in zip(
        killed._batches(killed.dataset, killed.config.steps, workers=0, ahead=8),
        range(5),
        strict=False,
    ):
        killed._train_step(batch)
        killed.step += 1
    killed._save()
    resumed = trainer(tmp_path, "killed")
    assert torch.equal(weights(resumed.run()), whole)
    assert resumed.step == resumed.config.steps


def test_other_options_do_not_resume_a_run(tmp_path):
    trainer(tmp_path, "run", images=4).run()
    with pytest.raises(ValueError, match=r"begun with learning_rate = 0\.001, now it is 0\.01"):
        trainer(tmp_path, "run", images=4, learning_rate=0.01).run()


def test_a_run_leaves_a_curve_and_a_checkpoint(tmp_path):
    run = trainer(tmp_path, "run", images=4)
    run.run()
    assert run.checkpoint.exists()
    assert (run.folder / "validation.jsonl").read_text().count("best_of_three_iou") == 1
    assert list(run.folder.glob("events.out.tfevents.*"))
    assert not list(run.folder.glob("*.tmp"))


def test_a_training_begins_from_packed_weights_without_their_calibration(tmp_path):
    first = trainer(tmp_path, "first", images=4).run()
    calibrated = copy.deepcopy(first)
    calibration = Calibration(slope=1.25, intercept=-0.5, sharpness=4.0)
    apply_calibration(calibrated, calibration)
    pack_weights(calibrated, tmp_path / "packed.safetensors", calibration)
    begun = trainer(tmp_path, "second", begin_from=tmp_path / "packed.safetensors")
    for sam in (begun.sam, begun.average):
        for name, value in sam.state_dict().items():
            expected = first.state_dict()[name]
            torch.testing.assert_close(value, expected, rtol=4e-3, atol=2e-3, msg=name)
    assert not begun.auxiliary.maps.weight.any()
    assert begun.step == 0


def test_a_training_begins_from_the_average_of_another(tmp_path):
    earlier = trainer(tmp_path, "earlier", images=4)
    averaged = weights(earlier.run())
    begun = trainer(tmp_path, "later", images=0, begin_from=earlier.checkpoint)
    assert torch.equal(weights(begun.run()), averaged)


def test_other_files_are_no_weights_to_begin_from(tmp_path):
    torch.save({"config": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="holds no weights to begin from"):
        trainer(tmp_path, "run", begin_from=tmp_path / "checkpoint.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no weights to begin from"):
        trainer(tmp_path, "run", begin_from=tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match="holds no weights to begin from"):
        trainer(tmp_path, "run", begin_from=packaged_weights_path())


def test_weights_without_a_statement_have_the_first_calibration_taken_out(tmp_path):
    sam, raw = build_tiny_sam(), build_tiny_sam()
    sam.load_state_dict(load_sam("tiny").state_dict())
    save_file(load_file(packaged_weights_path()), tmp_path / "unstated.safetensors")
    begin_from_weights(raw, tmp_path / "unstated.safetensors")
    apply_calibration(raw, UNSTATED)
    first, again = (s.mask_decoder.iou_prediction_head.layers[-1] for s in (sam, raw))
    torch.testing.assert_close(first.weight, again.weight)
    torch.testing.assert_close(first.bias, again.bias)


@pytest.mark.slow
def test_it_learns(tmp_path):
    run = trainer(
        tmp_path, "learns", images=2600, learning_rate=3e-3, paste_share=0.0, bend_share=0.0
    )
    history = []
    for batch in run._batches(run.dataset, run.config.steps, workers=0, ahead=8):
        history.append(run._train_step(batch))
        run.step += 1
    before = np.mean([entry["loss/mask"] for entry in history[:100]])
    after = np.mean([entry["loss/mask"] for entry in history[-100:]])
    assert after < 0.9 * before
