"""The stock generator is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.utils.amg import build_point_grid, rle_to_mask
from torch import nn

from samstar_rl.frames.intensity import to_sam_rgb
from samstar_rl.sam.load import load_sam
from samstar_rl.sam.mask_generator import MaskGenerator
from samstar_rl.simulator import SimulatedStream

FIELDS = ("bbox", "area", "predicted_iou", "point_coords", "stability_score", "crop_box")
FOLDED_TOLERANCE = 1e-6  # share of pixels that may flip where sums are taken in another order


def stock_records(sam, image, **arguments):
    try:
        return SamAutomaticMaskGenerator(sam, **arguments).generate(image)
    except IndexError:
        # segment_anything 1.0, when crops are on and nothing survives
        assert arguments.get("crop_n_layers", 0) > 0
        return []


def assert_same_records(records, expected):
    assert len(records) == len(expected)
    for record, stock in zip(records, expected, strict=True):
        assert record.keys() == stock.keys()
        for field in FIELDS:
            np.testing.assert_equal(record[field], stock[field], err_msg=field)
        np.testing.assert_array_equal(record["segmentation"], stock["segmentation"])


unit = st.one_of(st.floats(0, 1), st.integers(0, 32).map(lambda n: n / 32))


@st.composite
def arguments(draw, max_side=9):
    layers = draw(st.integers(0, 2))
    factor = draw(st.integers(1, 2))
    return {
        "points_per_side": draw(st.integers(factor**layers, max_side)),
        "points_per_batch": draw(st.sampled_from([64, 7])),
        "pred_iou_thresh": draw(unit),
        "stability_score_thresh": draw(unit),
        "stability_score_offset": draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5])),
        "box_nms_thresh": draw(unit),
        "crop_n_layers": layers,
        "crop_nms_thresh": draw(unit),
        "crop_overlap_ratio": draw(st.floats(0, 0.7)),
        "crop_n_points_downscale_factor": factor,
        "min_mask_region_area": draw(st.sampled_from([0, 0, 1, 5, 20, 100, 3000])),
    }


def random_image(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arguments(), st.integers(24, 130), st.integers(24, 130), st.integers(0, 99))
def test_the_records_are_the_stock_generators(blob_sam, arguments, height, width, seed):
    image = random_image(height, width, seed)
    expected = stock_records(blob_sam, image, **arguments)
    records = MaskGenerator(blob_sam, **arguments, arithmetic="stock").generate(image)
    assert_same_records(records, expected)


@pytest.mark.parametrize("crop_n_layers", [0, 1])
@pytest.mark.parametrize("min_mask_region_area", [0, 1, 30])
def test_more_boxes_than_torchvision_suppresses_at_once(
    blob_sam, crop_n_layers, min_mask_region_area
):
    arguments = {
        "points_per_side": 22,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "box_nms_thresh": 1.0,
        "crop_nms_thresh": 1.0,
        "crop_n_layers": crop_n_layers,
        "min_mask_region_area": min_mask_region_area,
    }
    image = random_image(60, 50, 0)
    expected = stock_records(blob_sam, image, **arguments)
    assert len(expected) > 1000
    records = MaskGenerator(blob_sam, **arguments, arithmetic="stock").generate(image)
    assert_same_records(records, expected)


def test_no_masks_are_no_records(blob_sam):
    for layers in (0, 1):
        generator = MaskGenerator(
            blob_sam,
            points_per_side=3,
            pred_iou_thresh=1.0,
            crop_n_layers=layers,
            arithmetic="stock",
        )
        assert generator.generate(random_image(40, 50, 0)) == []


def test_point_grids_replace_the_regular_ones(blob_sam):
    arguments = {
        "points_per_side": None,
        "point_grids": [build_point_grid(3)[::2], np.array([[0.3, 0.7], [0.1, 0.2]])],
        "crop_n_layers": 1,
        "pred_iou_thresh": 0.2,
        "stability_score_thresh": 0.1,
    }
    image = random_image(70, 90, 1)
    expected = stock_records(blob_sam, image, **arguments)
    assert expected
    records = MaskGenerator(blob_sam, **arguments, arithmetic="stock").generate(image)
    assert_same_records(records, expected)


def test_run_lengths_are_the_stock_generators(blob_sam):
    arguments = {
        "points_per_side": 4,
        "pred_iou_thresh": 0.1,
        "stability_score_thresh": 0.0,
        "output_mode": "uncompressed_rle",
    }
    image = random_image(50, 60, 2)
    expected = stock_records(blob_sam, image, **arguments)
    records = MaskGenerator(blob_sam, **arguments, arithmetic="stock").generate(image)
    for record, stock in zip(records, expected, strict=True):
        # rle_to_mask makes a mask that begins inside begin with an empty run, as ours
        assert record["segmentation"] == stock["segmentation"]
        assert rle_to_mask(record["segmentation"]).sum() == record["area"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"point_grids": [build_point_grid(3)]}, "exactly one"),
        ({"points_per_side": None}, "exactly one"),
        ({"output_mode": "png"}, "binary_mask, uncompressed_rle, coco_rle"),
        ({"pred_iou_thresh": 1.5}, r"pred_iou_thresh must lie in \[0, 1\]"),
        ({"arithmetic": "exact"}, "folded, stock"),
    ],
)
def test_wrong_arguments_are_refused(blob_sam, change, message):
    with pytest.raises(ValueError, match=message):
        MaskGenerator(blob_sam, **change)


class RecordedDecoder(nn.Module):
    """Remembers what a mask decoder said, so that two hundred settings need few decodings."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder
        self.recorded = {}

    def forward(self, **inputs):
        image, points = inputs["image_embeddings"], inputs["sparse_prompt_embeddings"]
        key = image.numpy().tobytes(), points.numpy().tobytes()
        if key not in self.recorded:
            self.recorded[key] = self.decoder(**inputs)
        return self.recorded[key]


class RecordedEncoder(nn.Module):
    """Remembers the embeddings of the few views that two hundred settings look at."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.img_size = encoder, encoder.img_size
        self.recorded = {}

    def forward(self, image):
        key = image.numpy().tobytes()
        if key not in self.recorded:
            self.recorded[key] = self.encoder(image)
        return self.recorded[key]


def simulated_images():
    """Five frames of drifting particles, some not square, some smaller than SAM's input."""
    shapes = [(256, 256), (200, 256), (256, 180), (120, 150), (240, 90)]
    stream = SimulatedStream("particles", seed=11, size=256, length=len(shapes))
    for item, (height, width) in zip(stream, shapes, strict=True):
        yield to_sam_rgb(item.frame.image[:height, :width])


@pytest.mark.slow
def test_two_hundred_settings_over_five_frames_of_the_embedded_sam():
    rng = np.random.default_rng(0)
    sam = load_sam("tiny")
    sam.mask_decoder = RecordedDecoder(sam.mask_decoder)
    sam.image_encoder = RecordedEncoder(sam.image_encoder)
    n_masks = 0
    for image in simulated_images():
        prompts = [(8, 0, 0.3, 1), (4, 1, 0.34, 1), (4, 2, 0.5, 2)]
        for _ in range(40):
            side, layers, overlap, factor = prompts[rng.integers(len(prompts))]
            arguments = {
                "points_per_side": side,
                "crop_n_layers": layers,
                "crop_overlap_ratio": overlap,
                "crop_n_points_downscale_factor": factor,
                "pred_iou_thresh": float(rng.choice([0, rng.uniform(0.1, 0.8)])),
                "stability_score_thresh": float(rng.choice([0, rng.uniform(0.1, 0.9)])),
                "stability_score_offset": float(rng.choice([0.25, 1.0, 2.0])),
                "box_nms_thresh": float(rng.uniform(0.1, 1)),
                "crop_nms_thresh": float(rng.uniform(0.1, 1)),
                "min_mask_region_area": int(rng.choice([0, 10, 50, 500])),
            }
            expected = stock_records(sam, image, **arguments)
            records = MaskGenerator(sam, **arguments, arithmetic="stock").generate(image)
            assert_same_records(records, expected)
            n_masks += len(expected)
        sam.mask_decoder.recorded.clear()
        sam.image_encoder.recorded.clear()
    assert n_masks > 2000


def test_folded_arithmetic_flips_at_most_one_pixel_in_a_million():
    sam = load_sam("tiny")
    arguments = {
        "points_per_side": 6,
        "pred_iou_thresh": 0.2,
        "stability_score_thresh": 0.2,
        "box_nms_thresh": 0.9,
    }
    n_pixels = n_flipped = 0
    for image in list(simulated_images())[:2]:
        expected = stock_records(sam, image, **arguments)
        records = MaskGenerator(sam, **arguments).generate(image)
        assert len(records) == len(expected)
        for record, stock in zip(records, expected, strict=True):
            assert record["point_coords"] == stock["point_coords"]
            assert record["predicted_iou"] == pytest.approx(stock["predicted_iou"], abs=1e-4)
            assert record["stability_score"] == pytest.approx(stock["stability_score"], abs=1e-2)
            n_flipped += np.count_nonzero(record["segmentation"] != stock["segmentation"])
            n_pixels += record["segmentation"].size
    print(f"{n_flipped} of {n_pixels} pixels differ from the stock generator's")
    assert n_pixels > 10**6
    assert n_flipped <= max(1, FOLDED_TOLERANCE * n_pixels)


def test_pixels_flip_only_where_the_logit_is_close_to_the_threshold(monkeypatch):
    """What "may differ" means, on the logits themselves."""
    from segment_anything import SamPredictor

    from samstar_rl.sam.engine import Floor, ProposalEngine
    from samstar_rl.sam.upsampling import LogitUpsampler

    sam = load_sam("tiny")
    image = next(iter(simulated_images()))
    engine = ProposalEngine(sam)
    embedding = engine.embed(image)
    points = build_point_grid(5) * [image.shape[1], image.shape[0]]
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    coords = predictor.transform.apply_coords(points, image.shape[:2])
    stock, _, _ = predictor.predict_torch(
        torch.as_tensor(coords)[:, None], torch.ones(len(coords), 1), return_logits=True
    )
    low = engine._decoder.begin(embedding, points, np.arange(len(points)), Floor()).finish().low
    upsampler = LogitUpsampler(sam, embedding.input_size, embedding.picture_size)
    stock = stock.flatten(0, 1).numpy()
    cuts = [-1.0, 1.0]
    masks, counts = upsampler.masks(low, 0.0, cuts)
    for number, expected in enumerate(stock):
        x0, y0, x1, y1 = masks.boxes[number]
        found = np.zeros(expected.shape, dtype=bool)
        found[y0:y1, x0:x1] = masks.window(number)
        assert masks.areas[number] == found.sum()
        assert np.abs(expected[found != (expected > 0)]).max(initial=0) < 1e-4
        for cut, count in zip(cuts, counts[number], strict=True):
            near = np.count_nonzero(np.abs(expected - cut) < 1e-4)
            assert abs(int(count) - np.count_nonzero(expected > cut)) <= near
