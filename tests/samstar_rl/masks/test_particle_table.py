from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.draw import disk, ellipse
from skimage.measure import perimeter_crofton, regionprops

from samstar_rl.frames.frame import Frame
from samstar_rl.masks.particle_table import SCHEMA_VERSION, ParticleTable, perimeter_crofton_px
from samstar_rl.segmentation.segmentation import Segmentation

windows = hnp.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


def table_of(mask, image=None):
    frame = Frame(np.zeros(mask.shape) if image is None else image)
    return Segmentation.from_masks([mask], frame).table


@given(windows)
def test_the_perimeter_is_scikit_images(window):
    expected = perimeter_crofton(np.pad(window, 1), directions=4)
    assert perimeter_crofton_px(window) == pytest.approx(expected, abs=1e-4)


@given(windows.filter(np.any))
def test_centroid_box_and_ellipse_are_scikit_images(window):
    full = np.zeros((40, 50), dtype=bool)
    full[7 : 7 + window.shape[0], 9 : 9 + window.shape[1]] = window
    table, (region,) = table_of(full), regionprops(full.astype(int))
    assert table.area[0] == region.area
    assert (table["centroid-0"][0], table["centroid-1"][0]) == pytest.approx(region.centroid)
    assert tuple(table[f"bbox-{side}"][0] for side in range(4)) == region.bbox
    # ours adds the second moment of a pixel, 1/12
    major, minor = np.array(region.inertia_tensor_eigvals) + 1 / 12
    assert table.aspect_ratio[0] == pytest.approx(np.sqrt(major / minor), rel=1e-5)
    assert 0 < table.solidity[0] <= 1
    assert 0 < table.circularity[0] <= 1


@pytest.mark.parametrize("radius", [8, 20, 60])
def test_a_disc_is_round_and_solid(radius):
    mask = np.zeros((200, 200), dtype=bool)
    mask[disk((100, 100), radius)] = True
    table = table_of(mask)
    assert table.equivalent_diameter_area[0] == pytest.approx(2 * radius, rel=0.05)
    assert table.circularity[0] > 0.96
    assert table.solidity[0] > 0.92
    assert table.aspect_ratio[0] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("rotation", [-1.2, -0.5, 0.0, 0.5, 1.2])
def test_orientation_is_scikit_images(rotation):
    mask = np.zeros((200, 200), dtype=bool)
    mask[ellipse(100, 100, 20, 60, rotation=rotation)] = True
    (region,) = regionprops(mask.astype(int))
    apart = table_of(mask).orientation[0] - region.orientation
    assert np.sin(apart) == pytest.approx(0, abs=1e-4)  # of an undirected line
    assert abs(table_of(mask).orientation[0]) <= np.pi / 2 + 1e-6


def test_contrast_is_signed_and_edges_are_measured():
    image = np.full((100, 100), 10.0)
    mask = np.zeros((100, 100), dtype=bool)
    mask[disk((50, 50), 15)] = True
    image[mask] = 20.0
    bright, dark = table_of(mask, image), table_of(mask, -image)
    assert bright.contrast[0] == pytest.approx(1, abs=0.01)
    assert dark.contrast[0] == pytest.approx(-1, abs=0.01)
    off_the_edge = np.zeros((100, 100), dtype=bool)
    off_the_edge[disk((50, 50), 8)] = True
    assert bright.edge_strength[0] > 0.2 > 0.01 > table_of(off_the_edge, image).edge_strength[0]


def test_a_mask_of_everything_has_no_contrast():
    table = table_of(np.ones((30, 30), dtype=bool), np.random.default_rng(0).random((30, 30)))
    assert table.contrast[0] == 0
    assert table.edge_strength[0] == 0
    assert table.touches_border[0]


def test_an_empty_mask_measures_nothing():
    table = table_of(np.zeros((30, 30), dtype=bool))
    for name in ParticleTable.columns:
        assert np.isfinite(table[name]).all()
    assert table.area[0] == 0


def test_the_data_frame_has_lengths_in_nm_and_says_which_schema():
    mask = np.zeros((30, 30), dtype=bool)
    mask[5:10, 5:15] = True
    data = table_of(mask).to_dataframe("a", pixel_size_nm=2.0)
    assert data["area_nm2"][0] == 200
    assert data["equivalent_diameter_area_nm"][0] == 2 * data["equivalent_diameter_area"][0]
    assert data["centroid-1_nm"][0] == 19.0
    expected = ["frame", *ParticleTable.columns, "schema_version"]
    assert list(table_of(mask).to_dataframe("a")) == expected
    assert set(data["schema_version"]) == {SCHEMA_VERSION}


def test_no_particles_make_an_empty_table():
    segmentation = Segmentation.from_masks([], Frame(np.zeros((30, 30))))
    assert len(segmentation.table.to_dataframe("a", 1.0)) == 0
    assert segmentation.union().sum() == 0
    assert segmentation.to_labels().max() == 0
    assert segmentation.overlap_matrix.shape == (0, 0)
    assert segmentation.records() == []


def test_unknown_columns_are_refused():
    table = table_of(np.ones((3, 3), dtype=bool))
    with pytest.raises(KeyError, match="solidity"):
        table["roundness"]
    with pytest.raises(AttributeError, match="solidity"):
        _ = table.roundness
