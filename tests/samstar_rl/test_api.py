"""From an image to particles in one call, and what can be done with them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from drawn_particles import draw, found, grid
from matplotlib import pyplot
from skimage.measure import regionprops_table

import samstar_rl
from samstar_rl.masks.particle_table import ParticleTable
from samstar_rl.segmentation.segmentation import Segmentation
from samstar_rl.settings import Settings
from samstar_rl.sources.readers.planes import FrameReadError
from samstar_rl.tasks.task import load_task

FEW = Settings(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
SHAPE = (64, 80)


@pytest.fixture
def drawn():
    frame, masks = draw(SHAPE, [(20, 20, 15), (50, 30, 21), (30, 50, 9)], pixel_size_nm=0.5)
    for step in range(-20, 21):  # not round, so that it has an orientation
        masks[1][30 + step // 3, 50 + step] = True
    return frame, masks


def test_an_array_becomes_a_segmentation(drawn):
    frame, _ = drawn
    direct = samstar_rl.segment(frame.image, tuner=FEW, sam="tiny", pixel_size_nm=0.5)
    assert isinstance(direct, Segmentation) and len(direct) > 0
    assert direct.pixel_size_nm == 0.5 and direct.settings == FEW
    engine = samstar_rl.ProposalEngine(samstar_rl.load_sam("tiny"))
    expected = engine.segment(
        frame, FEW, length_unit_px=load_task("particles").length_unit_px(frame)
    )
    np.testing.assert_array_equal(direct.to_labels(), expected.to_labels())


def test_the_tasks_static_settings_are_the_default(drawn):
    frame, _ = drawn
    assert samstar_rl.segment(frame, sam="tiny").settings == load_task("particles").static


def test_any_tuner_chooses(drawn):
    class Middle:
        name, searches, seen = "middle", True, 0

        def reset(self):
            self.seen = 0

        def propose(self, context):
            self.seen += 1
            assert context.evaluate(FEW).total <= 1
            return FEW.replace(max_overlap=0.5)

    tuner = Middle()
    stack = np.stack([drawn[0].image] * 3)
    segmentations = samstar_rl.segment_stack(stack, tuner=tuner, sam="tiny")
    first = next(segmentations)
    assert tuner.seen == 1 and first.frame_id == "image-00000"
    assert [one.settings.max_overlap for one in segmentations] == [0.5, 0.5]


def test_bad_images_are_refused():
    with pytest.raises(FrameReadError, match="a stack"):
        samstar_rl.segment(np.zeros((3, 8, 9)), sam="tiny")
    with pytest.raises(ValueError, match="pixel size"):
        samstar_rl.segment(np.eye(8, 9), task="overlap", sam="tiny")


def test_a_tuners_name_is_no_tuner():
    with pytest.raises(ValueError, match="make_tuner"):
        samstar_rl.segment(np.zeros((8, 9)), tuner="genetic", sam="tiny")


def test_the_table_has_the_names_and_values_of_regionprops(drawn):
    frame, masks = drawn
    segmentation = found(frame, masks)
    table = segmentation.to_dataframe()
    names = ParticleTable.columns
    assert list(table.columns[: len(names) + 1]) == ["frame", *names]
    ours = {"frame", "circularity", "aspect_ratio", "rim_mean", "contrast", "edge_strength",
            "touches_border", "predicted_iou", "stability_score"}  # fmt: skip
    theirs = {re.sub(r"-\d$", "", name) for name in names if name not in ours}
    expected = regionprops_table(
        segmentation.to_labels(), segmentation.proposals.scene.unit, properties=sorted(theirs)
    )
    assert set(expected) == set(names) - ours
    for name, values in expected.items():
        # their hull is one of pixel centres, their moments are rounded otherwise
        tolerance = {"solidity": 0.06, "eccentricity": 2e-3}.get(name, 1e-4)
        which = [1] if name == "orientation" else [0, 1, 2]  # discs have none
        np.testing.assert_allclose(
            table[name][which], values[which], rtol=tolerance, atol=1e-4, err_msg=name
        )
    np.testing.assert_allclose(table["area_nm2"], table["area"] / 4)
    for name in ("centroid-0", "centroid-1", "equivalent_diameter_area", "perimeter_crofton"):
        np.testing.assert_allclose(table[f"{name}_nm"], table[name] / 2)
    assert set(table["frame"]) == {frame.id}


def test_without_a_pixel_size_there_are_no_nanometres():
    frame, masks = draw((40, 40), grid((40, 40), 20, 8), pixel_size_nm=None)
    assert not [name for name in found(frame, masks).to_dataframe() if "_nm" in name]


def test_a_plot_shows_each_particle_in_colour(drawn):
    frame, masks = drawn
    axes = found(frame, masks).plot()
    grey, coloured = axes.images
    assert grey.get_array().shape == SHAPE
    np.testing.assert_array_equal(~coloured.get_array().mask, np.any(masks, axis=0))
    assert axes.get_title() == "drawn: 3 particles"
    (number,) = pyplot.get_fignums()  # which notebooks show
    assert pyplot.figure(number) is axes.figure
    pyplot.close(number)


@pytest.mark.parametrize("n_masks", [0, 3])
def test_a_notebook_shows_picture_and_facts(drawn, n_masks):
    frame, masks = drawn
    shown = found(frame, masks[:n_masks])._repr_html_()
    assert not pyplot.get_fignums()
    assert "data:image/png;base64," in shown
    assert f"<td style='text-align:left'>{n_masks}</td>" in shown
    assert ("median diameter" in shown) == (n_masks > 0) and "0.5 nm" in shown
